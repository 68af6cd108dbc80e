"""The edits that are asked for: a table in CSV, JSON lines or Parquet, or a folder of clips with a text beside each."""

from __future__ import annotations

import csv
import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .columns import CLIP
from .faults import BatchError
from .sets import set_in

CLIPS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
SIDECARS = (".jsonl", ".txt")


@dataclass(frozen=True, slots=True)
class Row:
    """where: what a sentence calls it; values: by column, without those that are left as the graph has them; fault:
    why it has none."""

    where: str
    values: dict[str, Any]
    fault: str = ""


def read(path: Path) -> list[Row]:
    """Raises BatchError where there is nothing to read at all."""
    if not path.exists():
        raise BatchError(f"there is no table {path}: name a CSV, JSONL or Parquet file, or a folder of clips")
    reader = _folder if path.is_dir() else READERS.get(path.suffix.lower())
    if reader is None:
        raise BatchError(f"{path.name} is no table that is read here: {', '.join(READERS)}, or a folder of clips")
    try:
        rows = list(reader(path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BatchError(f"{path} cannot be read ({error}): save it as UTF-8 text") from error
    if not rows:
        raise BatchError(f"{path} holds no edit: give each a row, or each clip a text beside it")
    return rows


def columns(rows: list[Row]) -> list[str]:
    """All that any row sets, in the order of their first appearance."""
    return list(dict.fromkeys(column for row in rows for column in row.values))


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        heading = [name.strip() for name in next(lines, [])]
        for cells in lines:
            if not any(cells):
                continue
            where = f"{path.name}, line {lines.line_num}"
            if len(cells) > len(heading):
                fault = (
                    f"it has {len(cells)} cells and the table {len(heading)} columns: put cells with commas in quotes"
                )
                yield Row(where, {}, fault)
            else:
                yield Row(where, {name: cell for name, cell in zip(heading, cells, strict=False) if cell.strip()})


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(line, f"{path.name}, line {number}")


def _parsed(text: str, where: str) -> Row:
    try:
        values = json.loads(text)
    except ValueError as error:
        return Row(where, {}, f"it is no JSON ({error}): write one object a line")
    if not isinstance(values, dict):
        return Row(where, {}, f'it is no object but {text.strip():.40}: write {{"clip": ..., "target_prompt": ...}}')
    return Row(where, {name: value for name, value in values.items() if value is not None})


def _parquet(path: Path) -> Iterator[Row]:
    if importlib.util.find_spec("pyarrow") is None:
        raise BatchError(f"{path.name} needs pyarrow: pip install pyarrow, or save the table as CSV or JSONL")
    from pyarrow import ArrowException, parquet

    try:
        lines = parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise BatchError(f"{path} is no Parquet file ({error}): save it again") from error
    for number, values in enumerate(lines, 1):
        yield Row(f"{path.name}, row {number}", {name: value for name, value in values.items() if value is not None})


def _folder(path: Path) -> Iterator[Row]:
    """A public set; or else beside each clip a text of the same name: JSON lines, or plain text with the source prompt
    in the first line and a target prompt in each further one."""
    edits = set_in(path)
    if edits is not None:
        yield from (Row(f"{path.name}, edit {number}", cells) for number, cells in enumerate(edits, 1))
        return
    for clip in sorted(file for file in path.iterdir() if file.suffix.lower() in CLIPS):
        texts = [file for ending in SIDECARS if (file := clip.with_suffix(ending)).is_file()]
        if not texts:
            yield Row(clip.name, {}, f"there is no text beside it: write {clip.stem}.txt, first the source prompt")
            continue
        lines = [line.strip() for line in texts[0].read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        if texts[0].suffix == ".txt":
            source, *targets = lines or [""]
            rows = [Row(f"{texts[0].name}, line {n}", {"source_prompt": source, "target_prompt": target})
                    for n, target in enumerate(targets, 2)]  # fmt: skip
            fault = f"{texts[0].name} has no target prompt: write one a line below the source prompt"
            rows = rows or [Row(clip.name, {}, fault)]
        else:
            rows = [_parsed(line, f"{texts[0].name}, line {n}") for n, line in enumerate(lines, 1)]
        yield from (Row(row.where, {CLIP: clip.name, **row.values}, row.fault) for row in rows)


READERS = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet}
