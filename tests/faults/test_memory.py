"""Memory over time: edit after edit in one process and on a server, and graphs that are cancelled at drawn moments.

What grows is told by the slope over the second half. Graphs are cancelled on a server with --cache-classic: the default
cache of ComfyUI 0.30.0 grows with each graph that is cancelled, by 300 KiB for a graph of stock nodes alone.
"""

import os
import random
import time
from itertools import islice, product

import psutil
import pytest
import torch
from comfyui_videop2p.tests.faults.operations import SOURCE, World
from comfyui_videop2p.tests.faults.served import Server, edit_graph
from comfyui_videop2p.tests.faults.states import equal, live_bytes
from comfyui_videop2p.tools.client import run_graph
from comfyui_videop2p.tools.host import Host
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit

EDITS, CYCLES = 100, 1000
HOUR = 3600
COLOURS = "blue", "green", "golden", "purple", "white", "orange", "pink"
THINGS = "rabbit", "star", "heart", "cat", "fish", "car"
PLACES = "beach", "snow", "meadow"
# Bytes that each edit may add. To tensors alive: half a latent. To what is resident, which the allocator moves by
# itself: the latents and one step's queries and keys of an edit are 100 KiB, ComfyUI's own account of a graph 20.
TENSORS, RESIDENT = 2**12, 2**16


def targets():
    """As many prompts as there are ways to say what is where."""
    for place, colour, thing in product(PLACES, COLOURS, THINGS):
        yield f"a {colour} {thing} on the {place}"


def growth(values):
    """From one value to the next, by least squares over the second half."""
    half = torch.tensor(values[len(values) // 2 :], dtype=torch.float64)
    steps = torch.arange(len(half), dtype=torch.float64)
    steps -= steps.mean()
    return (steps @ half / (steps @ steps)).item()


def told(what, values):
    return f"{what} {growth(values) / 1024:+.1f} KiB for each of {len(values)}, {values[-1] / 2**20:.0f} MiB at the end"


def resident(process):
    return psutil.Process(process).memory_info().rss


# --- in one process ---------------------------------------------------------------------------------------------------


def edited(world, target):
    asked = word_edit(world.clip, SOURCE, target, cross=0.5, temporal=0.5, blend_source=("rabbit",))
    return sample(world.model, prepare_edit(world.model, world.inversion, [asked]))


@torch.inference_mode()
def after_edits(number, edit=edited):
    """(bytes of tensors alive, bytes resident) after each. edit(world, target): what is done each time."""
    world, live, held = World(), [], []
    for target in islice(targets(), number):
        edit(world, target)
        live.append(live_bytes())
        held.append(resident(os.getpid()))
    return live, held


@pytest.mark.slow
def test_edits_in_one_process_leave_nothing_behind(measured):
    live, held = after_edits(EDITS)
    measured(f"{told('tensors alive', live)}; {told('resident', held)}")
    assert growth(live) <= TENSORS and growth(held) <= RESIDENT


def test_a_latent_left_behind_by_each_edit_is_found():
    left = []
    live, _ = after_edits(4, lambda world, target: left.append(edited(world, target).source))
    assert growth(live) > TENSORS


def test_growth_is_told_by_the_second_half():
    assert growth([0, 9, 9, 1, 2, 3]) == pytest.approx(1)
    assert growth([5, 5, 5, 7, 7, 7]) == pytest.approx(0)


def test_what_stays_of_each_edit_is_found():
    noise = [2**20 * (i % 3) for i in range(EDITS)]
    assert growth(noise) <= RESIDENT < growth([100 * 2**10 * i + value for i, value in enumerate(noise)])
    assert growth([2**30] * 8) <= TENSORS < growth([2**30 + 2 * TENSORS * i for i in range(8)])


# --- on a server ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(HOUR)
def test_edits_on_a_server_leave_nothing_behind(host, measured):
    server, held = Server(host), []
    for target in islice(targets(), EDITS):
        run_graph(server.url, edit_graph(server.info, target, blend="rabbit"))
        held.append(resident(host.process.pid))
    measured(told("resident", held))
    assert growth(held) <= RESIDENT


@pytest.mark.slow
@pytest.mark.timeout(3 * HOUR)
def test_cancelled_graphs_leave_nothing_behind(tmp_path, measured):
    """Of an inversion kept on disk and an edit of it, half of them cancelled by an interruption, half by taking another
    that waits off the queue as well."""
    with Host(host_path(), tmp_path, ["--cache-classic"]) as host:
        server, draw = Server(host), random.Random(0)
        kept = server.folder / "temp" / "videop2p"

        def graph(colour):
            return edit_graph(server.info, "a blue rabbit on the beach", keep="on disk", colour=colour)

        server.forget()
        expected = server.made(run_graph(server.url, graph(0)))
        started = time.monotonic()
        run_graph(server.url, graph(1))
        lasts = time.monotonic() - started
        assert any(kept.rglob("*"))
        held, ends = [], {"success": 0, "error": 0, None: 0}
        for cycle in range(CYCLES):
            queued = [server.queue(graph(2 + 2 * cycle + place)) for place in range(1 + cycle % 2)]
            time.sleep(draw.uniform(0, 1.2 * lasts))
            server.post("/queue", delete=queued[1:])
            server.post("/interrupt")
            server.idle()
            held.append(resident(host.process.pid))
            for prompt in queued:
                ends[server.ended(prompt)] += 1
        measured(
            f"{ends['error']} stopped at work, {ends[None]} taken off the queue, {ends['success']} done before; "
            f"{told('resident', held)}"
        )
        assert growth(held) <= RESIDENT
        assert ends["error"] and ends[None], "the moments met no graph at work or none that waited"
        server.forget()
        assert equal(server.made(run_graph(server.url, graph(0))), expected)
        server.forget()
        assert not list(kept.rglob("*"))
