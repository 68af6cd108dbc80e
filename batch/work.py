"""One job on one ComfyUI: its sources from kept work or anew, then its edits, each put among the results when it is
whole."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from PIL import Image, ImageOps, ImageSequence

from ..tools.client import ConnectionLostError, GraphError, Ran
from ..videop2p_core.oom_detection import says_out_of_memory
from .clips import content_of
from .columns import CLIP
from .faults import BatchError, LostError, RowError
from .graph import Graph, title_of, with_values
from .plan import Edit, Job
from .servers import RunningServer
from .smaller import modes_of, smaller
from .stages import MOST, SAVE, edits_graph, keys, row_of, shares_pass, source_graph
from .store import DONE, LOGS, Store
from .template import Template

KEY = 32  # letters of a key that kept work is called by
PREVIEW = 360, 16  # pixels across and frames of what the report shows
NO_SPACE = "No space left on device"
DONE_STATE, FAILED_STATE = "done", "failed"
Outcome = dict[str, Any]  # what the report says of one edit


class Work:
    """stage: what it is at; outcomes: of the edits so far."""

    def __init__(self, job: Job, template: Template, server: RunningServer, store: Store) -> None:
        self.job, self.template, self.server, self.store = job, template, server, store
        self.stage, self.outcomes = "clip", []

    def done(self, level: int = 0) -> list[Outcome]:
        """Raises LostError where ComfyUI goes, BatchError where no job can be done."""
        edits = [edit for edit in self.job.edits if not self.store.has_result(edit.name)]
        if not edits:
            return []
        self.log(f"{len(edits)} edits of {self.job.clip}, by {self.server.label}")
        try:
            self.server.give_clip(self.job.file, content_of(self.job.clip))
            self._in_a_mode_that_fits(edits, level)
        except RowError as error:
            self._fail(self._open(edits), str(error))
        except ConnectionLostError as error:
            raise LostError(str(error), self.stage) from error
        self.server.tidy()
        return self.outcomes

    def log(self, sentence: str) -> None:
        """A line in the job's log."""
        self.store.append(f"{LOGS}/{self.job.name}.log", f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {sentence}\n")

    def _in_a_mode_that_fits(self, edits: Sequence[Edit], level: int) -> None:
        """Those that memory ran out in are begun again in the next smaller mode that the graph has."""
        modes = modes_of(self.template.graph)
        place = min(level, len(modes) - 1)
        while edits:
            graphs = [with_values(self.template.graph, edit.values) for edit in edits]
            try:
                self._edit(edits, [smaller(graph, modes[place]) for graph in graphs], modes[place])
                return
            except _OutOfMemory as error:
                place += 1
                if place == len(modes):
                    raise RowError(f"{error}: give it fewer or smaller frames") from error
                self.log(f"begun again with {modes[place]}")
                edits = self._open(edits)

    def _open(self, edits: Sequence[Edit]) -> list[Edit]:
        """Those that have no outcome yet."""
        closed = {outcome["name"] for outcome in self.outcomes}
        return [edit for edit in edits if edit.name not in closed]

    def _edit(self, edits: Sequence[Edit], graphs: Sequence[Graph], mode: str) -> None:
        names = self._sources(graphs[0])
        while edits:
            count = len(edits) if shares_pass(self.template, graphs) else 1
            count = min(count, MOST)
            some, edits = edits[:count], edits[count:]
            ours, graphs = graphs[:count], graphs[count:]
            self._pass(some, ours, names, mode)

    def _sources(self, graph: Graph) -> dict[str, str]:
        """The file of every source, made where it is not there."""
        names: dict[str, str] = {}
        for node, key in keys(self.template, graph).items():
            kind, title = graph[node]["class_type"], title_of(graph[node])
            self.stage = title
            name = self.server.artefact_name(kind, key[:KEY])
            if name is None:
                prefix = f"batch/{key[:KEY]}"
                ran = self._run(source_graph(graph, node, names, prefix), title)
                name = ran.outputs[SAVE]["text"][0].splitlines()[0]
                self.server.keep(kind, name)
            else:
                self.log(f"{title}: taken from {name}")
            names[node] = name
        return names

    def _pass(self, edits: Sequence[Edit], graphs: Sequence[Graph], names: dict[str, str], mode: str) -> None:
        """Edits in one graph. One that has a fault is left out, and the others are begun again; where none can be told
        from the others, each is run alone."""
        edits, graphs = list(edits), list(graphs)
        while edits:
            self.stage, begun = "edits", time.monotonic()
            try:
                graph = edits_graph(self.template, graphs, names)
                ran = self._run(graph, f"{len(edits)} edits in a pass")
            except RowError as error:
                number = row_of(getattr(error.__cause__, "node", None))
                if number is None and len(edits) > 1:
                    for edit, graph in zip(edits, graphs, strict=True):
                        self._pass([edit], [graph], names, mode)
                    return
                self._fail([edits.pop(number or 0)], str(error))
                graphs.pop(number or 0)
                continue
            seconds = (time.monotonic() - begun) / len(edits)
            for number, (edit, graph) in enumerate(zip(edits, graphs, strict=True)):
                self._put(edit, self._files(edit, graph, ran, number, len(edits)), seconds, mode)
            return

    def _run(self, graph: Graph, label: str) -> Ran:
        begun, announced = time.monotonic(), {"node": ""}

        def progress(node: str, _step: int, steps: int) -> None:
            if announced["node"] != node:
                announced["node"] = node
                self.log(f"{title_of(graph[node])}: {steps} steps")

        try:
            ran = self.server.run(graph, progress)
        except ConnectionLostError:
            raise
        except GraphError as error:
            self.log(f"{label}: {error}")
            if NO_SPACE in str(error):
                raise BatchError(
                    f"ComfyUI's disk is full ({error}): free some and run the same command again"
                ) from error
            if says_out_of_memory(str(error)):
                raise _OutOfMemory(str(error)) from error
            raise RowError(str(error)) from error
        self.log(f"{label}: {time.monotonic() - begun:.1f} s")
        return ran

    def _files(self, edit: Edit, graph: Graph, ran: Ran, number: int, count: int) -> dict[str, bytes]:
        """What a result holds, but for DONE."""
        results = self.server.files(ran.outputs.get(self.template.result, {}))
        if len(results) != count:
            raise RowError(f"the graph saved {len(results)} clips for {count} edits: let it save one for each")
        name, content = results[number]
        opened = with_values(graph, {self.template.clip: PurePosixPath(self.job.clip).name})
        files = {f"edited{PurePosixPath(name).suffix}": content, "graph.json": json.dumps(opened, indent=1).encode()}
        if self.template.comparison in ran.outputs:
            moving = self.server.files(ran.outputs[self.template.comparison])
            if len(moving) == count:
                files["before_after.webp"] = preview(moving[number][1])
        if self.template.figures in ran.outputs:
            files["figures.json"] = ran.outputs[self.template.figures]["text"][number].encode()
        return files

    def _put(self, edit: Edit, files: dict[str, bytes], seconds: float, mode: str) -> None:
        outcome = {
            "state": DONE_STATE,
            "name": edit.name,
            "where": edit.where,
            **table_cells(edit, self.job.clip),
            "figures": json.loads(files.get("figures.json", b"{}")),
            "seconds": round(seconds, 2),
            "mode": mode,
            "files": sorted(files),
        }
        files = files | {DONE: json.dumps(outcome, indent=1).encode()}
        self.log(f"{edit.name}: {'put among the results' if self.store.put_result(edit.name, files) else 'was there'}")
        self.outcomes.append(outcome)

    def _fail(self, edits: Sequence[Edit], sentence: str) -> None:
        self.log(f"not done: {sentence}")
        self.outcomes += [failed(edit, self.job.clip, sentence) for edit in edits]


class _OutOfMemory(Exception):  # noqa: N818  it is no fault yet
    """The message is ComfyUI's."""


def failed(edit: Edit, clip: str, sentence: str) -> Outcome:
    """Of an edit that is not done, and why."""
    return {
        "state": FAILED_STATE, "name": edit.name, "where": edit.where, **table_cells(edit, clip), "sentence": sentence,
    }  # fmt: skip


def table_cells(edit: Edit, clip: str) -> dict[str, Any]:
    """What the table says of an edit, and where its clip lies."""
    return {"table": {name: value for name, value in edit.cells.items() if name != CLIP}, CLIP: clip}


def preview(animation: bytes) -> bytes:
    """A moving picture small enough for a report of thousands."""
    across, most = PREVIEW
    with Image.open(BytesIO(animation)) as picture:
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)][:most]
        lasting = picture.info.get("duration", 125)
    size = across, max(1, round(frames[0].height * across / frames[0].width))
    small = [ImageOps.contain(frame, size) for frame in frames]
    file = BytesIO()
    small[0].save(file, "WEBP", save_all=True, append_images=small[1:], duration=lasting, loop=0, quality=70, method=2)
    return file.getvalue()
