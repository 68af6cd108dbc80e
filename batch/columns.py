"""A table's columns as inputs of a graph's nodes, by title or by name."""

from __future__ import annotations

import difflib
from typing import Any

from .faults import BatchError, RowError
from .graph import Graph, Place, is_link, title_of

CLIP = "clip"
NOTE = "_"  # before the name of a column that is no input: it goes into the report as it is
ALIASES = {"weights": "word_weights", "blend_words": "blend_source"}
LOADERS = {"LoadVideo": "file", "VHS_LoadVideo": "video"}  # the input that names the clip
TEXTS = ("value", "text", "string")  # what a node that holds one text calls it
YES, NO = ("true", "yes", "1"), ("false", "no", "0")


def place_of(graph: Graph, column: str) -> Place:
    """The input that a column sets: "Title.input", the title of a node that holds one text, or the name of an input
    that one node alone has. Raises BatchError, which names those that there are."""
    if column == CLIP:
        return clip_place(graph)
    sought = _plain(ALIASES.get(column, column))
    inputs = [(node, name) for node, entry in graph.items() for name in entry["inputs"]]
    settable = [place for place in inputs if not is_link(graph[place[0]]["inputs"][place[1]])]
    for form in (
        lambda node, name: f"{title_of(graph[node])}.{name}",
        lambda node, name: title_of(graph[node]) if name in TEXTS else "",
        lambda node, name: name,
    ):
        named = [place for place in settable if _plain(form(*place)) == sought]
        if len(named) == 1:
            return named[0]
        if named:
            choices = " or ".join(f"'{title_of(graph[node])}.{name}'" for node, name in named)
            raise BatchError(f"several nodes have an input '{column}': call the column {choices}")
    wired = [place for place in inputs if _plain(f"{title_of(graph[place[0]])}.{place[1]}") == sought]
    if wired:
        raise BatchError(f"another node gives '{column}' in this graph: set the input of that one")
    names = {f"{title_of(graph[node])}.{name}" for node, name in settable} | {name for _, name in settable}
    near = difflib.get_close_matches(column, sorted(names), 3, 0.5) or sorted(names)[:5]
    raise BatchError(
        f"no node of the graph has an input '{column}': write 'Title.input', for instance {', '.join(near)}, or begin "
        f"the column's name with {NOTE} for a note"
    )


def clip_place(graph: Graph) -> Place:
    """The input that takes the table's clips."""
    loaders = [(node, LOADERS[entry["class_type"]]) for node, entry in graph.items() if entry["class_type"] in LOADERS]
    titled = [place for place in loaders if _plain(title_of(graph[place[0]])) == CLIP]
    if len(titled or loaders) != 1:
        raise BatchError(
            f"the graph has {len(loaders)} nodes that load a video ({', '.join(LOADERS)}): give it one, or call "
            "the one that takes the table's clips 'Clip'"
        )
    return (titled or loaders)[0]


def converted(value: Any, like: Any, column: str) -> Any:
    """A cell as the kind of value that the input has. Raises RowError."""
    if not isinstance(value, str) or isinstance(like, str) or like is None:
        return str(value) if isinstance(like, str) else value
    text = value.strip().lower()
    if isinstance(like, bool):
        if text not in YES + NO:
            raise RowError(f"'{value}' in column '{column}' is neither true nor false: write one of them")
        return text in YES
    try:
        return int(text) if isinstance(like, int) else float(text)
    except ValueError as error:
        whole = "whole " * isinstance(like, int)
        raise RowError(f"'{value}' in column '{column}' is no {whole}number: write one") from error


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").lower().split())
