"""Saving: whole files under names of their own, whoever else saves, and whatever happens meanwhile."""

import errno
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from threading import Barrier, Thread, get_ident

import folder_paths
import pytest
from comfyui_videop2p.tests.core.fuzzing import everything_in
from comfyui_videop2p.tests.host.saving import SAVE, THREADS, TIMES, together, use
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.videop2p_core.host.storage import export_tuning as export
from comfyui_videop2p.videop2p_core.host.storage import files, saved_names
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from comfyui_videop2p.videop2p_core.storage import atomic_files as places
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
DAYS = 3 * 24 * 3600
KINDS = {"tuning": files.TUNINGS, "lora": files.LORAS, "unet": files.TUNINGS}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of models of the test's own."""
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    use(tmp_path)
    return tmp_path


def value_in(path):
    """What a saved file or folder was saved of."""
    (tensor,) = (value for name, value in load_file(weights_of(path)).items() if name in ("a", "deltas.a"))
    assert tensor.numel() > 1 and (tensor == tensor[0]).all()
    return tensor[0].item()


def weights_of(path):
    return path / "unet" / "diffusion_pytorch_model.safetensors" if path.is_dir() else path


def begun_in(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


# --- at the same time -------------------------------------------------------------------------------------------------


def check_all_are_there(folder, told, values):
    """told: [(what, value, name)], as each saved value was told to be in."""
    for what in SAVE:
        found = {name: float(value) for kind, value, name in told if kind == what}
        assert sorted(found.values()) == sorted(values)  # each under a name of its own
        for name, value in found.items():
            assert value_in(folder / KINDS[what] / name) == value
    assert not begun_in(folder)


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """(folder that a second process saves in together with this one, a folder that it was killed in, what both told)"""
    shared, own = tmp_path_factory.mktemp("shared"), tmp_path_factory.mktemp("own")
    command = [sys.executable, ROOT / "tools" / "pack.py", "tests.host.saving", shared, own]
    environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
        use(shared)
        with subprocess.Popen(command, env=environment, text=True, **pipes) as other:
            assert other.stdout.readline() == "ready\n", other.stderr.read()
            other.stdin.write("1000\n")
            other.stdin.flush()
            told = together(0.0)
            out, err = other.communicate(timeout=300)
    assert other.returncode == 0, err
    return shared, own, [*told, *json.loads(out)]


def test_processes_that_save_at_the_same_time_take_names_of_their_own(process):
    shared, _, told = process
    check_all_are_there(shared, told, [first + n for first in (0.0, 1000.0) for n in range(THREADS * TIMES)])


def at_once(saves):
    """What these functions return, begun together."""
    start, results = Barrier(len(saves)), [None] * len(saves)

    def call(number, save):
        start.wait()
        results[number] = save()

    threads = [Thread(target=call, args=each) for each in enumerate(saves)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def no_links(*_):
    raise OSError(errno.EPERM, "this file system has no hard links")


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "no hard links"])
def test_the_same_number_is_taken_once(folder, monkeypatch, links):
    """All of them see the folder before any has saved: each would choose the first number."""
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    told = []
    for what, save in SAVE.items():
        seen, move, number, waited = Barrier(4), places._move, 4, set()

        def moved_together(begun, path, seen=seen, move=move, waited=waited):
            if get_ident() not in waited:
                waited.add(get_ident())
                seen.wait(timeout=60)
            move(begun, path)

        monkeypatch.setattr(places, "_move", moved_together)
        names = at_once([lambda value=value, save=save: save(float(value)) for value in range(number)])
        monkeypatch.setattr(places, "_move", move)
        told += [(what, value, name) for value, name in enumerate(names)]
        assert sorted(re.search(r"_(\d{5})_", name)[1] for name in names) == ["00001", "00002", "00003", "00004"]
    check_all_are_there(folder, told, range(4))


# --- what goes wrong --------------------------------------------------------------------------------------------------


def half_written(tensors, path, metadata):
    Path(path).write_bytes(b"half")
    raise OSError(errno.ENOSPC, "no space left")


def full(*_):
    raise OSError(errno.ENOSPC, "no space left")


def stopped(*_):
    raise KeyboardInterrupt


POINTS = {
    "half written": (weights, "save_file", half_written),
    "not synced": (os, "fsync", full),
    "no room for a name": (places, "_move", full),
    "stopped": (places, "_move", stopped),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("what", SAVE)
def test_a_save_that_fails_leaves_what_was_there(folder, monkeypatch, what, point):
    name = SAVE[what](1.0)
    before = everything_in(folder)
    with monkeypatch.context() as patch:
        patch.setattr(*POINTS[point])
        with pytest.raises((OSError, KeyboardInterrupt)):
            SAVE[what](2.0)
    assert everything_in(folder) == before and value_in(folder / KINDS[what] / name) == 1.0


def test_without_links_a_name_that_was_taken_is_given_back(folder, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space left"):
        SAVE["lora"](1.0)
    assert not [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.skipif(os.name == "nt", reason="there is no fork")
def test_what_a_killed_process_left_is_not_listed_and_removed_a_day_later(process, monkeypatch):
    _, folder, _ = process
    monkeypatch.setattr(folder_paths, "folder_names_and_paths", dict(folder_paths.folder_names_and_paths))
    use(folder)
    tunings = folder / files.TUNINGS
    listed = saved_names.saved_names(files.TUNINGS)
    assert listed == ["clips/a_00001_.safetensors", "clips/u_00001_"]  # the one that had its name already
    assert all(value_in(tunings / name) == 1.0 for name in listed)
    assert value_in(folder / files.LORAS / "clips" / "a_00001_.safetensors") == 1.0
    left = begun_in(folder)
    assert len(left) >= 9
    SAVE["tuning"](2.0)
    assert set(left) <= set(begun_in(folder))  # somebody may still be writing
    for path in reversed(left):
        os.utime(path, (time.time() - DAYS,) * 2)
    for save in SAVE.values():
        save(3.0)
    assert not begun_in(folder)


# --- on the disk ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="folders are not synced there")
@pytest.mark.parametrize("what", SAVE)
def test_all_of_it_is_on_the_disk_before_its_name_and_the_name_before_it_is_told(folder, monkeypatch, what):
    synced, move, fsync = [], places._move, os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(os.fstat(handle).st_ino), fsync(handle)))
    monkeypatch.setattr(places, "_move", lambda *paths: (synced.append("named"), move(*paths)))
    path = folder / KINDS[what] / SAVE[what](1.0)
    parts = [path, *path.rglob("*")]
    before, after = synced[: synced.index("named")], synced[synced.index("named") :]
    assert {part.stat().st_ino for part in parts} <= set(before)
    assert path.parent.stat().st_ino in after


def test_a_folder_that_may_not_be_synced_is_no_reason_to_fail(tmp_path, monkeypatch):
    def refuse(handle):
        raise OSError(errno.EINVAL, "not of folders")

    monkeypatch.setattr(os, "fsync", refuse)
    places.sync(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="not of folders"):
        places.sync(tmp_path / "file")


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("strange", ["a_99999999999999999999999_.safetensors", "a_-7_.safetensors", "a_x_.safetensors"])
def test_numbers_that_are_none_of_ours_are_passed_over(folder, strange):
    place = folder / files.LORAS / "clips"
    place.mkdir(parents=True)
    (place / strange).touch()
    assert [SAVE["lora"](1.0) for _ in range(2)] == ["clips/a_00001_.safetensors", "clips/a_00002_.safetensors"]


def test_an_empty_folder_or_a_dead_link_has_its_name_too(tmp_path):
    """Whether it was there before, or came meanwhile: a folder could be moved onto an empty one."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    for name, make in (("file", Path.touch), ("folder", Path.mkdir)):
        with places.begun(tmp_path) as begun:
            make(begun)
            assert places.put_new(begun, tmp_path, ["empty", "dead", name]) == tmp_path / name
    assert everything_in(tmp_path) == {"empty", "dead", "file", "folder"}


def test_a_prefix_too_long_for_the_temporal_part_is_refused_before_the_work(folder, monkeypatch):
    monkeypatch.setattr(export.lora, "temporal_part", lambda model: object())
    monkeypatch.setattr(export.lora, "export", None)
    with pytest.raises(ValueError, match="takes 204 bytes, 200 are the most: shorten it"):
        export.as_lora(None, 4, "a" * 195)
    assert not [path for path in folder.rglob("*") if path.is_file()]
