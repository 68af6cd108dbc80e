"""Public sets of clips with prompts, in the layouts that they are handed out in.

LOVEU-TGVE-2023 (arXiv 2310.16003), FiVE-Bench (arXiv 2503.13684), V2VBench (arXiv 2407.07111), and DAVIS (arXiv
1704.00675) with a table of captions.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from .faults import BatchError
from .store import sentence

Cells = dict[str, Any]
KIND = "_kind"  # of edit: a note
TGVE, TGVE_SOURCE = "LOVEU-TGVE-2023_Dataset.csv", "Our GT caption"
TGVE_TARGETS = {
    "style": "Style Change Caption",
    "object": "Object Change Caption",
    "background": "Background Change Caption",
    "multiple": "Multiple Changes Caption",
}


def tgve(folder: Path) -> Iterator[Cells]:
    """One line a clip with four targets; a line "DAVIS Videos:" says where the clips of those below it lie."""
    part = ""
    with (folder / TGVE).open(encoding="utf-8-sig", newline="") as file:
        for line in csv.DictReader(file):
            name = (line.get("Video name") or "").strip()
            if name.endswith("Videos:"):
                part = name.split()[0]
                part = part if part == "DAVIS" else part.lower()
            elif name:
                clip = f"{part}_480p/480p_videos/{name}.mp4"
                for kind, column in TGVE_TARGETS.items():
                    yield _cells(clip, line[TGVE_SOURCE], line[column], kind)


def five(folder: Path) -> Iterator[Cells]:
    """A file for each kind of edit: a list of video_name, source_prompt and target_prompt."""
    for path in sorted((folder / "edit_prompt").glob("*.json")):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            clip = _clip(folder, f"videos/{entry['video_name']}.mp4", f"images/{entry['video_name']}")
            yield _cells(clip, entry["source_prompt"], entry["target_prompt"], path.stem.partition("_")[0])


def v2v(folder: Path) -> Iterator[Cells]:
    """One entry a clip: video_id, prompt, and a list of edits with a prompt each."""
    for entry in yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))["data"]:
        clip = _clip(
            folder, f"videos/{entry['video_id']}.mp4", f"{entry['video_id']}.mp4", f"videos/{entry['video_id']}"
        )
        for number, edit in enumerate(entry["edit"]):
            yield _cells(clip, entry.get("prompt"), edit["prompt"], f"edit {number}")


def davis(folder: Path) -> Iterator[Cells]:
    """captions.csv beside JPEGImages: a table whose clips are named as their folders of frames are."""
    with (folder / "captions.csv").open(encoding="utf-8-sig", newline="") as file:
        for line in csv.DictReader(file):
            yield {name: cell for name, cell in line.items() if cell} | {"clip": f"JPEGImages/480p/{line['clip']}"}


SETS: Mapping[str, Callable[[Path], Iterator[Cells]]] = {
    TGVE: tgve,
    "edit_prompt": five,
    "config.yaml": v2v,
    "JPEGImages": davis,
}


def set_in(folder: Path) -> list[Cells] | None:
    """The edits of the set that a folder holds; None where it holds none of these. Raises BatchError where its files
    are not as they are handed out."""
    for name, reader in SETS.items():
        if (folder / name).exists():
            try:
                return list(reader(folder))
            except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
                why = f"{type(error).__name__}: {sentence(error)}"
                raise BatchError(f"{folder / name} is not as its set has it ({why}): unpack it again") from error
    return None


def _cells(clip: str, source: str | None, target: str | None, kind: str) -> Cells:
    cells = {"clip": clip, "source_prompt": (source or "").strip(), "target_prompt": (target or "").strip(), KIND: kind}
    return {name: cell for name, cell in cells.items() if cell}


def _clip(folder: Path, *places: str) -> str:
    """The first place that is there, or else the first."""
    return next((place for place in places if (folder / place).exists()), places[0])
