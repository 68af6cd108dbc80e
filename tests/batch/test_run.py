"""The command on a real ComfyUI: killed in the midst, on a server that runs already, and stopped."""

import signal

import numpy as np
import pytest
from comfyui_videop2p.batch.command import STOPPED
from comfyui_videop2p.tests.batch.season import Season, gone, kill
from comfyui_videop2p.tools.host import Host
from comfyui_videop2p.tools.pack import host_path


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    return Season(tmp_path_factory.mktemp("season"), clips=1, edits=2, steps=(2, 2))


@pytest.fixture(scope="module")
def killed(season):
    """What came of a run whose ComfyUI was killed while it edited."""
    process = season.begun("killed")
    kill(season.comfyui_in("killed", "edits", process, set()))
    assert process.wait() == 0, season.said("killed")
    return season


def test_a_killed_comfyui_costs_what_it_was_at(killed):
    assert "was lost in" in killed.said("killed") and "begun again, 1 of 3" in killed.said("killed")
    (log,) = (killed.folder / "killed" / "logs").iterdir()
    text = log.read_text()
    assert text.count("Tune on Video: taken from batch/") == 1  # the tuning and the inversion were not made again
    assert text.count("DDIM Invert with Shared Null-Text: taken from batch/") == 1
    assert len(killed.frames("killed")) == killed.count


def test_the_same_command_makes_nothing_twice(killed):
    before = killed.made("killed")
    assert "2 of them there, 0 to do" in killed.run("killed")
    assert killed.made("killed") == before and len(before) == killed.count + 2


def test_a_running_server_makes_the_same_bits(killed, tmp_path):
    (tmp_path / "models").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        with Host(host_path(), tmp_path / "host", models=tmp_path / "models") as host:
            killed.run("served", "--servers", host.url)
    served, frames = killed.frames("served"), killed.frames("killed")
    assert served.keys() == frames.keys() and all(np.array_equal(served[name], frames[name]) for name in frames)
    assert len(list((tmp_path / "models" / "videop2p").glob("*/batch/*.safetensors"))) == 2


def test_a_run_that_is_stopped_ends_all_in_good_order(season):
    process = season.begun("stopped")
    season.comfyui_in("stopped", "tuning", process, set())
    process.send_signal(signal.SIGTERM)  # does what Ctrl-C does, which tests in the background never get
    assert process.wait() == STOPPED
    assert gone(season.folder / "stopped") and "the same command goes on from here" in season.said("stopped")
    assert (season.folder / "stopped" / "report.html").is_file()
