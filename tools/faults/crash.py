"""A real ComfyUI killed in the midst of a tuning or an inversion: started again, and queued the same graph, it goes on
from where it was, to the same file that it saves without the crash. The short form kills one tuning once."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor

from ...videop2p_core.storage import artifacts as weights
from ..client import run_graph
from ..host import Host
from ..pack import host_path
from ..workflows.forms import api_form
from .figures import Figure
from .served import Api, Clip, Server

PATIENCE = 120  # seconds until a state has to be written
SAID = "this one goes on from where it stopped"


def figures(short: bool) -> Iterator[Figure]:
    moments, runs = (1, 2, 3), {"tuning": tuned(160), "inversion": inverted, "null_text": optimised}
    if short:
        moments, runs = (1,), {"tuning": tuned(60)}
    for kind, graph in runs.items():
        # Several threads would add up in another order each time.
        with tempfile.TemporaryDirectory() as folder, patch.dict(os.environ, OMP_NUM_THREADS="1"):
            wrong = tuple(crashes(kind, graph, moments, folder))
        yield Figure(f"{kind}, server killed", len(moments), "crashes", wrong)


def crashes(kind: str, work: Callable[[Clip], None], moments, folder) -> Iterator[str]:
    """What was wrong after a server was killed at each of the moments, when so many states were written."""
    models = Path(folder, "models")
    models.mkdir()

    def server():
        return Host(host_path(), Path(folder, "host"), models=models)

    def saved():
        return [weights.read(file) for file in sorted(models.rglob("*_0*.safetensors"))]

    def same(found):
        (tensors, settings), (others, other_settings) = expected, found
        return settings == other_settings and tensors.keys() == others.keys() and equal(tensors, others)

    unfinished = Path(folder, "host", "user", "__videop2p", "unfinished")
    with server() as host:
        graph = graph_of(work, host.get("/object_info"))
        run_graph(host.url, graph)
    (expected,) = saved()
    for moment in moments:
        with server() as host:
            Server(host).queue(graph)
            wait_for_states(unfinished, kind, moment)
            host.process.kill()
            host.process.wait()
        if len(saved()) != 1:
            yield f"{kind}, killed after {moment} states: it was done before"
        with server() as host:
            run_graph(host.url, graph)
            if SAID not in host.log_text():
                yield f"{kind}, killed after {moment} states: it began anew"
        if not all(map(same, saved())):
            yield f"{kind}, killed after {moment} states: it saves something else"
        if left := list(unfinished.glob("*.safetensors")):
            yield f"{kind}, killed after {moment} states: {len(left)} files are left"
        sorted(models.rglob("*_0*.safetensors"))[-1].unlink()


def equal(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, others[name]) for name, tensor in some.items())


def wait_for_states(folder, kind, number):
    """Until so many were written, one in the place of the other."""
    met, deadline = set(), time.monotonic() + PATIENCE
    while len(met) < number:
        met |= {file.stat().st_mtime_ns for file in folder.glob(f"*_{kind}_*")}
        if time.monotonic() > deadline:
            raise TimeoutError(f"{kind}: {len(met)} states were written in {PATIENCE} s")
        time.sleep(0.01)


def graph_of(work: Callable[[Clip], None], info: Api) -> Api:
    clip = Clip(info)
    work(clip)
    return api_form(clip.graph)


def tuned(steps: int) -> Callable[[Clip], None]:
    def work(clip):
        model = clip.graph.add("VP2P_InflateUNet", model=clip.model)
        _, tuning, _ = clip.graph.add(
            "VP2P_TuneOnVideo", model=model, positive=clip.source, latent=clip.latent, steps=steps, learning_rate=1e-4,
            patience=steps,
        )  # fmt: skip
        clip.graph.add("VP2P_SaveTuning", tuning=tuning)

    return work


def inverted(clip: Clip, **settings) -> None:
    settings = {"method": "direct", "steps": 99, "rounds": 3} | settings
    model = clip.graph.add("VP2P_InflateUNet", model=clip.model)
    given = {"model": model, "source": clip.source, "null": clip.null, "latent": clip.latent}
    clip.graph.add("VP2P_SaveInversion", inversion=clip.graph.add("VP2P_DDIMInvert", **given, **settings))


def optimised(clip: Clip) -> None:
    inverted(clip, method="shared null-text", steps=30, rounds=0, epsilon=1e-6)
