"""A workflow in ComfyUI's API form: its nodes, its links, and what a node is computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from ..tools.pack import ROOT
from .faults import BatchError

Graph = dict[str, dict[str, Any]]
Place = tuple[str, str]  # id of a node, name of its input

SHIPPED = ROOT / "workflows" / "api"


def read(name: str) -> Graph:
    """A graph by the path of its file, or by the name of one in workflows/api. Every node has a title."""
    path = Path(name) if name.endswith(".json") else SHIPPED / f"{name}.json"
    try:
        graph = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.json")))
        raise BatchError(f"there is no graph {path} ({error.strerror}): name a file, or one of {shipped}") from error
    except ValueError as error:
        raise BatchError(f"{path} is no JSON ({error}): export the graph from ComfyUI in its API form") from error
    if not isinstance(graph, dict) or not all(
        isinstance(entry, dict) and "inputs" in entry for entry in graph.values()
    ):
        raise BatchError(f"{path} is no graph in ComfyUI's API form: export it by File, Export (API)")
    return {node: entry | {"_meta": {"title": title_of(entry)}} for node, entry in graph.items()}


def title_of(entry: Mapping[str, Any]) -> str:
    """Of a node; where nobody gave it one, its class."""
    return entry.get("_meta", {}).get("title") or entry["class_type"]


def is_link(value: Any) -> TypeGuard[list[Any]]:
    """Whether an input comes from another node."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)


def links(graph: Graph) -> Iterator[tuple[Place, tuple[str, int]]]:
    """(the input that takes it, (node, output)) of every link."""
    for node, entry in graph.items():
        for name, value in entry["inputs"].items():
            if is_link(value):
                yield (node, name), (value[0], value[1])


def ancestors(graph: Graph, nodes: Iterable[str]) -> set[str]:
    """The nodes and all that they are computed from."""
    met, waiting = set(), list(nodes)
    while waiting:
        if (node := waiting.pop()) not in met:
            met.add(node)
            waiting += [value[0] for value in graph[node]["inputs"].values() if is_link(value)]
    return met


def pruned(graph: Graph, nodes: Iterable[str]) -> Graph:
    """The part that the nodes are computed from."""
    needed = ancestors(graph, nodes)
    return {node: entry for node, entry in graph.items() if node in needed}


def with_values(graph: Graph, values: Mapping[Place, Any]) -> Graph:
    """The graph with other values in some inputs; the rest of it is shared."""
    changed = dict(graph)
    for (node, name), value in values.items():
        entry = changed[node]
        changed[node] = entry | {"inputs": entry["inputs"] | {name: value}}
    return changed


def in_place(graph: Graph, node: str, class_type: str, inputs: Mapping[str, Any]) -> Graph:
    """The graph with another node in the place of one, under the same id and title."""
    return graph | {node: {"class_type": class_type, "inputs": dict(inputs), "_meta": graph[node]["_meta"]}}


def added(graph: Graph, node: str, class_type: str, inputs: Mapping[str, Any]) -> Graph:
    """The graph with one node more, whose title is its id."""
    return graph | {node: {"class_type": class_type, "inputs": dict(inputs), "_meta": {"title": node}}}


def signatures(graph: Graph, nodes: Iterable[str]) -> list[str]:
    """Of each node the sha256 of its class, its values and, by theirs, of all that it is computed from. The same
    wherever nodes stand, whatever their numbers and titles are."""

    @cache
    def signature(node: str) -> str:
        entry = graph[node]
        inputs = {
            name: [signature(value[0]), value[1]] if is_link(value) else {"value": value}
            for name, value in sorted(entry["inputs"].items())
        }
        return hashlib.sha256(json.dumps([entry["class_type"], inputs], sort_keys=True).encode()).hexdigest()

    return [signature(node) for node in nodes]
