"""A real ComfyUI killed in the midst of a tuning or an inversion: started again, and queued the same graph, it goes on
from where it was, to the same file that it saves without the crash. The short form kills one tuning once."""

from __future__ import annotations

import json
import os
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from ...videop2p_core import weights
from ..client import run_graph
from ..host import LOCAL, Host
from ..pack import host_path
from .figures import Figure

PATIENCE = 120  # seconds until a state has to be written
SAID = "this one goes on from where it stopped"


def figures(short: bool) -> Iterator[Figure]:
    # Several threads would add up in another order each time.
    os.environ["OMP_NUM_THREADS"] = "1"
    moments = (1,) if short else (1, 2, 3)
    runs = {"tuning": tuning(60)}
    if not short:
        runs = {"tuning": tuning(160), "inversion": inversion(), "null_text": null_text()}
    for kind, graph in runs.items():
        with tempfile.TemporaryDirectory() as folder:
            wrong = tuple(crashes(kind, graph, moments, folder))
        yield Figure(f"{kind}, server killed", len(moments), "crashes", wrong)


def crashes(kind, graph, moments, folder) -> Iterator[str]:
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
        graph = with_defaults(graph, host.get("/object_info"))
        run_graph(host.url, graph)
    (expected,) = saved()
    for moment in moments:
        with server() as host:
            queue(host, graph)
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


def queue(host, graph):
    """Without a look at what becomes of it."""
    body = json.dumps({"prompt": graph}).encode()
    LOCAL.open(urllib.request.Request(f"{host.url}/prompt", body, {"Content-Type": "application/json"})).close()


def wait_for_states(folder, kind, number):
    """Until so many were written, one in the place of the other."""
    met, deadline = set(), time.monotonic() + PATIENCE
    while len(met) < number:
        met |= {file.stat().st_mtime_ns for file in folder.glob(f"*_{kind}_*")}
        if time.monotonic() > deadline:
            raise TimeoutError(f"{kind}: {len(met)} states were written in {PATIENCE} s")
        time.sleep(0.01)


def with_defaults(graph, info):
    """The graph, required inputs that it does not give being their node's own."""
    complete = {}
    for name, (kind, given) in graph.items():
        required = info[kind]["input"].get("required", {})
        defaults = {key: options[1]["default"] for key, options in required.items() if "default" in (*options, {})[1]}
        complete[name] = {"class_type": kind, "inputs": defaults | given, "_meta": {"title": name}}
    return complete


CLIP = {
    "load": ("VP2P_LoadDemoModel", {}),
    "inflate": ("VP2P_InflateUNet", {"model": ["load", 0]}),
    "picture": ("EmptyImage", {"width": 64, "height": 64, "batch_size": 2, "color": 0x60A0E0}),
    "encode": ("VAEEncode", {"pixels": ["picture", 0], "vae": ["load", 2]}),
    "source": ("CLIPTextEncode", {"text": "a red ball on the beach", "clip": ["load", 1]}),
    "null": ("CLIPTextEncode", {"text": "", "clip": ["load", 1]}),
}


def tuning(steps):
    inputs = {"model": ["inflate", 0], "positive": ["source", 0], "latent": ["encode", 0]}
    save = {"tuning": ["tune", 1], "filename_prefix": "kept"}
    return CLIP | {
        "tune": ("VP2P_TuneOnVideo", inputs | {"steps": steps, "learning_rate": 1e-4, "patience": steps}),
        "save": ("VP2P_SaveTuning", save),
    }


def inverted(**settings):
    inputs = {"model": ["inflate", 0], "source": ["source", 0], "null": ["null", 0], "latent": ["encode", 0]}
    save = {"inversion": ["invert", 0], "filename_prefix": "kept"}
    return CLIP | {"invert": ("VP2P_DDIMInvert", inputs | settings), "save": ("VP2P_SaveInversion", save)}


def inversion():
    return inverted(method="direct", steps=99, rounds=3)


def null_text():
    return inverted(method="shared null-text", steps=30, epsilon=1e-6)
