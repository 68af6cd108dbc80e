"""A real ComfyUI killed in the midst of a tuning or an inversion: started again, and queued the same graph, it goes on
from where it was, to the same file that it saves without the crash."""

import time
from functools import partial

import pytest
import torch
from comfyui_videop2p.tests.faults.served import Clip, Server
from comfyui_videop2p.tools.client import run_graph
from comfyui_videop2p.tools.host import Host
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.tools.workflows.forms import api_form
from comfyui_videop2p.videop2p_core.storage import artifacts

PATIENCE = 120  # seconds until a state has to be written
SAID = "this one goes on from where it stopped"


def tuned(clip):
    model = clip.graph.add("VP2P_InflateUNet", model=clip.model)
    _, tuning, _ = clip.graph.add(
        "VP2P_TuneOnVideo", model=model, positive=clip.source, latent=clip.latent, steps=160, learning_rate=1e-4,
        patience=160,
    )  # fmt: skip
    clip.graph.add("VP2P_SaveTuning", tuning=tuning)


def inverted(clip, **settings):
    model = clip.graph.add("VP2P_InflateUNet", model=clip.model)
    given = {"model": model, "source": clip.source, "null": clip.null, "latent": clip.latent}
    clip.graph.add("VP2P_SaveInversion", inversion=clip.graph.add("VP2P_DDIMInvert", **given, **settings))


WORKS = {  # by the kind of state that is written meanwhile
    "tuning": tuned,
    "inversion": partial(inverted, method="direct", steps=99, rounds=3),
    "null_text": partial(inverted, method="shared null-text", steps=30, rounds=0, epsilon=1e-6),
}


class Works:
    """One of them on servers that share their folders, each started anew."""

    def __init__(self, kind, folder):
        self.kind, self.folder, self.models = kind, folder, folder / "models"
        self.models.mkdir()
        self.unfinished = folder / "host" / "user" / "__videop2p" / "unfinished"
        with self.server() as host:
            clip = Clip(host.get("/object_info"))
            WORKS[kind](clip)
            self.graph = api_form(clip.graph)
            run_graph(host.url, self.graph)
        self.expected = self.saved()

    def server(self):
        return Host(host_path(), self.folder / "host", models=self.models)

    def saved(self):
        """(tensors, settings) of the one file that was saved, which is taken away."""
        (file,) = self.models.rglob("*_0*.safetensors")
        found = artifacts.read(file)
        file.unlink()
        return found

    def wait_for_states(self, number):
        """Until so many were written, one in the place of the other."""
        met, deadline = set(), time.monotonic() + PATIENCE
        while len(met) < number:
            met |= {file.stat().st_mtime_ns for file in self.unfinished.glob(f"*_{self.kind}_*")}
            assert time.monotonic() < deadline, f"{len(met)} states were written in {PATIENCE} s"
            time.sleep(0.01)


@pytest.fixture(scope="module", params=WORKS)
def works(request, tmp_path_factory):
    # Several threads would add up in another order each time.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield Works(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.slow
@pytest.mark.parametrize("states", [1, 2, 3])
def test_a_server_that_was_killed_after_so_many_states_goes_on(works, states):
    with works.server() as host:
        Server(host).queue(works.graph)
        works.wait_for_states(states)
        host.process.kill()
        host.process.wait()
    assert not list(works.models.rglob("*_0*.safetensors")), "it was done before"
    with works.server() as host:
        run_graph(host.url, works.graph)
        assert SAID in host.log_text(), "it began anew"
    (tensors, settings), (expected, expected_settings) = works.saved(), works.expected
    assert settings == expected_settings and tensors.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    assert not list(works.unfinished.glob("*.safetensors"))
