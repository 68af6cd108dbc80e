"""What is to be done: rows as edits, edits that share their source's tuning and inversion as jobs. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from .columns import CLIP, NOTE, converted, place_of
from .faults import BatchError, RowError
from .graph import Graph, Place, signatures, with_values
from .stages import keys
from .table import Row, columns
from .template import Template

NEEDED = (CLIP, "source_prompt", "target_prompt")
FRAMES = ".mp4"  # what a folder of them becomes
KEY = 12  # letters of a key that a name ends in
Digest = Callable[[str], str]  # of a clip's bytes, by its path; raises RowError


@dataclass(frozen=True, slots=True)
class Edit:
    """One row. name: of its folder among the results; values: what it sets in the graph; said: its cells, for the
    report."""

    where: str
    name: str
    values: Mapping[Place, Any]
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """Edits of one clip that share its sources. clip: its path; file: what it is called in ComfyUI's input folder."""

    name: str
    clip: str
    file: str
    edits: tuple[Edit, ...]

    def graphs(self, template: Template) -> list[Graph]:
        return [with_values(template.graph, edit.values) for edit in self.edits]


@dataclass
class Plan:
    """refused: (row, why); twice: how many rows say what an earlier one says."""

    jobs: list[Job]
    refused: list[tuple[Row, str]] = field(default_factory=list)
    twice: int = 0

    @property
    def edits(self) -> list[Edit]:
        return [edit for job in self.jobs for edit in job.edits]


def plan(rows: Sequence[Row], template: Template, clip_path: Callable[[str], str], digest: Digest) -> Plan:
    """clip_path: where a clip lies that a cell names. Raises BatchError where a column belongs to no input; what is
    wrong with a row is among the refused."""
    places = {name: place_of(template.graph, name) for name in columns(list(rows)) if not name.startswith(NOTE)}
    needed = [name for name in NEEDED if name in places or has_input(template.graph, name)]
    if missing := [name for name in needed if name not in places]:
        raise BatchError(f"the table has no column {', '.join(missing)}: the graph's own are of another clip")
    done, groups, names = Plan([]), {}, set()
    for row in rows:
        try:
            edit, clip, group = _edit(row, template, places, needed, clip_path, digest)
        except RowError as error:
            done.refused.append((row, str(error)))
            continue
        if edit.name in names:
            done.twice += 1
            continue
        names.add(edit.name)
        groups.setdefault(group, (clip, []))[1].append(edit)
    done.jobs = [_job(group, clip, edits, template) for group, (clip, edits) in groups.items()]
    return done


def _edit(
    row: Row,
    template: Template,
    places: Mapping[str, Place],
    needed: Sequence[str],
    clip_path: Callable[[str], str],
    digest: Digest,
) -> tuple[Edit, str, tuple[str, ...]]:
    """(edit, path of its clip, what the edits have alike that share a job)"""
    if row.fault:
        raise RowError(row.fault)
    if missing := [name for name in needed if name not in row.values]:
        raise RowError(f"it has no {', '.join(missing)}: fill the cell in")
    clip = clip_path(str(row.values[CLIP]))
    content = digest(clip)
    values = {
        places[name]: converted(value, template.graph[places[name][0]]["inputs"][places[name][1]], name)
        for name, value in row.values.items()
        if name in places and name != CLIP
    }
    values[template.clip] = f"{content[:32]}{PurePosixPath(clip).suffix.lower() or FRAMES}"
    graph = with_values(template.graph, values)
    key = signatures(graph, [template.result])[0]
    words = _slug(f"{PurePosixPath(clip).stem[:30]} {row.values.get('target_prompt', '')}")
    return Edit(row.where, f"{words}_{key[:KEY]}", values, row.values), clip, (content, *keys(template, graph).values())


def _job(group: tuple[str, ...], clip: str, edits: list[Edit], template: Template) -> Job:
    name = f"{_slug(PurePosixPath(clip).stem[:30])}_{group[-1][:KEY]}"
    return Job(name, clip, edits[0].values[template.clip], tuple(edits))


def left(jobs: Sequence[Job], done: set[str]) -> list[Job]:
    """The jobs without the edits that there are."""
    open_jobs = ((job, tuple(edit for edit in job.edits if edit.name not in done)) for job in jobs)
    return [Job(job.name, job.clip, job.file, edits) for job, edits in open_jobs if edits]


def has_input(graph: Graph, column: str) -> bool:
    """Whether a column would find its input."""
    try:
        place_of(graph, column)
    except BatchError:
        return False
    return True


def _slug(text: str) -> str:
    return re.sub(r"[^\w]+", "-", text, flags=re.ASCII).strip("-").lower()[:60] or "clip"
