"""Memory over time: edit after edit in one process and on a server, and graphs that are cancelled at drawn moments.

What grows is told by the slope over the second half. A tensor that each edit leaves behind is found at once; memory
resident, which the allocator moves by itself, in the long form alone: the short one finds whole models.

Graphs are cancelled on a server with --cache-classic: the default cache of ComfyUI 0.30.0 grows with each graph that is
cancelled, by 300 KiB for a graph of stock nodes alone.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

import psutil
import torch

from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ..client import run_graph
from ..host import Host
from ..pack import host_path
from .faults import equal, live_bytes
from .figures import Figure
from .operations import SOURCE, World
from .served import Server, edit_graph

EDITS, CYCLES = 100, 1000
SHORT_EDITS, SHORT_CYCLES = 8, 12
COLOURS = "blue", "green", "yellow", "purple", "white", "orange", "pink"
THINGS = "ball", "star", "heart", "rabbit", "fish", "car"
PLACES = "beach", "snow", "forest"
TENSORS = 2**12  # bytes each edit may leave alive: half a latent
# Bytes that each may add to what is resident: the latents and one step's queries and keys of an edit are 100 KiB,
# ComfyUI's own account of a graph 20.
RESIDENT, RESIDENT_IN_SHORT = 2**16, 2**23


def figures(short: bool) -> Iterator[Figure]:
    number, cycles = (SHORT_EDITS, SHORT_CYCLES) if short else (EDITS, CYCLES)
    yield from in_process(number)
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder) as host:
        yield on_server(Server(host), number)
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder, ["--cache-classic"]) as host:
        yield from cancelled(Server(host), cycles)


def targets() -> Iterator[str]:
    """As many prompts as there are ways to say what is where."""
    for place, colour, thing in product(PLACES, COLOURS, THINGS):
        yield f"a {colour} {thing} on the {place}"


def slope(values: Sequence[float]) -> float:
    """Growth from one value to the next, by least squares over the second half."""
    half = torch.tensor(values[len(values) // 2 :], dtype=torch.float64)
    steps = torch.arange(len(half), dtype=torch.float64)
    steps -= steps.mean()
    return (steps @ half / (steps @ steps)).item()


def resident(process: int) -> int:
    return psutil.Process(process).memory_info().rss


def flat_resident(what: str, values: Sequence[float], unit: str) -> Figure:
    return flat(what, values, unit, RESIDENT if len(values) >= EDITS else RESIDENT_IN_SHORT)


def flat(what: str, values: Sequence[float], unit: str, bound: float) -> Figure:
    """bound: bytes that each may add."""
    grows = slope(values)
    said = f"{grows / 1024:+.1f} KiB each, {values[-1] / 2**20:.0f} MiB at the end"
    wrong = (f"{what}: grows by {grows / 1024:.0f} KiB each",) if grows > bound else ()
    return Figure(what, len(values), unit, wrong, said)


# --- in one process ---------------------------------------------------------------------------------------------------


def in_process(number: int, edit: Callable[[World, str], object] | None = None) -> Iterator[Figure]:
    """edit(world, target): what is done each time."""
    live, held = [], []
    with torch.inference_mode():
        world = World()
        for target in islice(targets(), number):
            (edit or edited)(world, target)
            live.append(live_bytes())
            held.append(resident(os.getpid()))
    yield flat("tensors alive after edits in one process", live, "edits", TENSORS)
    yield flat_resident("memory resident after edits in one process", held, "edits")


def edited(world: World, target: str):
    asked = word_edit(world.clip, SOURCE, target, cross=0.5, temporal=0.5, blend_source=("ball",))
    return sample(world.model, prepare_edit(world.model, world.inversion, [asked]))


# --- on a server ------------------------------------------------------------------------------------------------------


def on_server(server: Server, number: int) -> Figure:
    held = []
    for target in islice(targets(), number):
        run_graph(server.url, edit_graph(server.info, target, blend="ball"))
        held.append(resident(server.host.process.pid))
    return flat_resident("memory resident after edits on a server", held, "edits")


def cancelled(server: Server, cycles: int) -> Iterator[Figure]:
    """Graphs of an inversion kept on disk and an edit of it, cancelled at drawn moments: half of them by an
    interruption, half by taking another that waits off the queue as well."""
    process, draw = server.host.process.pid, random.Random(0)
    kept = server.folder / "temp" / "videop2p"

    def graph(colour):
        return edit_graph(server.info, "a blue ball on the beach", keep="on disk", colour=colour)

    server.forget()
    expected = server.made(run_graph(server.url, graph(0)))
    started = time.monotonic()
    run_graph(server.url, graph(1))
    lasts = time.monotonic() - started
    held, ends = [], {"success": 0, "error": 0, None: 0}
    wrong = [] if any(kept.rglob("*")) else ["nothing was kept on disk"]
    for cycle in range(cycles):
        queued = [server.queue(graph(2 + 2 * cycle + place)) for place in range(1 + cycle % 2)]
        time.sleep(draw.uniform(0, 1.2 * lasts))
        server.post("/queue", delete=queued[1:])
        server.post("/interrupt")
        server.idle()
        held.append(resident(process))
        for prompt in queued:
            ends[server.ended(prompt)] += 1
    yield flat_resident("memory resident after cancelled graphs", held, "cycles")
    if not (ends["error"] and ends[None]):
        wrong.append(f"the moments met no graph at work or none that waited: {ends}")
    server.forget()
    if not equal(server.made(run_graph(server.url, graph(0))), expected):
        wrong.append("after cancelled graphs the same graph gives other bits")
    server.forget()
    left = list(kept.rglob("*"))
    if left:
        wrong.append(f"cancelled graphs left {len(left)} files behind, {left[-1].name} for one")
    said = f"{ends['error']} stopped at work, {ends[None]} taken off the queue, {ends['success']} done before"
    yield Figure("graphs cancelled, then the same bits and no files", cycles, "cycles", tuple(wrong), said)
