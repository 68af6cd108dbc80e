"""Sets of clips whose edits are compared: the demo world's, or a public set in a folder."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from .columns import CLIP
from .faults import BatchError
from .plan import has_input
from .store import RESULTS, Store
from .table import Row
from .template import Template
from .work import DONE_STATE, Outcome

DEMO, FOLDER = "demo", "folder"
COMPARISON = "benchmark.md"


def demo() -> Any:
    """The demo world, which the published pack comes without."""
    try:
        return importlib.import_module("..demo.benchmark", __package__)
    except ModuleNotFoundError as error:
        raise BatchError(
            "the demo world's benchmark is part of the repository alone: check it out, or name a folder with a set"
        ) from error


def rows_for(cells: list[dict[str, Any]], template: Template) -> list[Row]:
    """A method's rows, without what its graph has no input for."""
    return [
        Row(
            f"edit {number}",
            {name: value for name, value in row.items() if name[0] == "_" or has_input(template.graph, name)},
        )
        for number, row in enumerate(cells, 1)
    ]


def figures_of(outcomes: list[Outcome], store: Store, clips: Path) -> list[dict[str, float]]:
    """Of every edit that is done Edit Metrics' figures and the ground truth's."""
    measured = []
    for outcome in outcomes:
        if outcome["state"] == DONE_STATE:
            video = next(file for file in outcome["files"] if file.startswith("edited"))
            edited = store.read(f"{RESULTS}/{outcome['name']}/{video}") or b""
            source = (clips / Path(outcome[CLIP]).name).read_bytes()
            truth = demo().judged(outcome["table"], source, edited)
            measured.append({name: value for name, value in outcome["figures"].items() if name != "missing"} | truth)
    return measured
