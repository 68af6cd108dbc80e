"""Hostile names: what is asked for lies in its folder, or one sentence says why not."""

import shutil
from pathlib import Path

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.core.fuzzing import (
    bounded_memory,
    check_sentence,
    everything_in,
    many,
)
from comfyui_videop2p.tests.host.calls import NODES, run
from comfyui_videop2p.tests.host.guarded_folders import INVERSION, KINDS, TUNING, base, of, world
from comfyui_videop2p.videop2p_core.host.storage import files, saved_names
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from hypothesis import given
from hypothesis import strategies as st

__all__ = ["base", "bounded_memory", "world"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, that a file is unusual


# --- names to save under ----------------------------------------------------------------------------------------------

ONE = {"a": torch.ones(1)}
PARTS = st.sampled_from([
    "..", ".", "...", "", " ", "a", "clips", "C:", "C:a", "CON", "nul.txt", "com1 ", "%year%", "%date:yyyy%",
    "%width%x%height%", "%", "a" * 180, "a" * 250, "é" * 130, "界" * 60, "v1.", "v1. ", ".hidden", "a\0b", "a\nb",
    "\ud800", "\udc80", "~", "-rf", "$HOME", "{0}", "a_00001_", "a_99999999999999999999_", "a?", "𓀀", "e\u0301",
])  # fmt: skip
DEEP = "a/" * 3000


def prefixes(world):
    joined = st.builds(
        lambda parts, by: by.join(parts), st.lists(PARTS | st.text(max_size=6), max_size=5), st.sampled_from("/\\")
    )
    starts = st.sampled_from(["", "", "", "/", "\\", "//host/share/", "C:/", f"{world}/", f"{world}/models/tunings/"])
    return st.builds(str.__add__, starts, joined) | st.text(max_size=20) | st.just(DEEP)


SAVE = {
    "inversion": (files.INVERSIONS, lambda prefix: files.save(files.INVERSIONS, INVERSION, prefix)),
    "tuning": (files.TUNINGS, lambda prefix: files.save(files.TUNINGS, TUNING, prefix)),
    "lora": (files.LORAS, lambda prefix: files.save_lora(ONE, {}, prefix)),
    "unet": (files.TUNINGS, lambda prefix: files.save_unet({}, ONE, prefix)),
}


@many(150)
@given(data=st.data())
def test_a_prefix_is_a_new_name_in_the_folder_or_refused(world, data):
    shutil.rmtree(world / "models", ignore_errors=True)
    before = everything_in(world)
    prefix = data.draw(prefixes(world))
    kind, save = SAVE[data.draw(st.sampled_from(sorted(SAVE)))]
    try:
        name = save(prefix)
    except ValueError as error:
        check_sentence(error)
        assert everything_in(world) == before
        with pytest.raises(ValueError):
            files.check_prefix(kind, prefix)
        return
    root = world / "models" / kind
    files.check_prefix(kind, prefix or "a")
    assert Path(name).parts and ".." not in Path(name).parts and not Path(name).is_absolute()
    made = {path for path in everything_in(world) - before if (world / path).is_file()}
    inside = (root / name).resolve().relative_to(world.resolve()).as_posix()
    assert made and all(f"{path}/".startswith(f"{inside}/") for path in made)
    assert inside.startswith(f"models/{kind}/")
    if kind != files.LORAS:
        folder_paths.filename_list_cache.clear()
        assert saved_names.saved_names(kind) == [name]
    assert save(prefix) != name


# --- names to load ----------------------------------------------------------------------------------------------------


def names(world):
    climbing = st.builds(
        lambda up, by, name: by.join([*[".."] * up, *name.split("/")]),
        st.integers(0, 8), st.sampled_from("/\\"),
        st.sampled_from(["elsewhere/secret.safetensors", "elsewhere", "etc/passwd", "good.safetensors", ""]),
    )  # fmt: skip
    absolute = st.sampled_from([f"{world}/elsewhere/secret.safetensors", f"{world}/elsewhere", "/etc/passwd", "/", ""])
    detours = st.builds("{}/../{}".format, st.sampled_from(["clips", "good.safetensors", "nothing"]), climbing)
    joined = st.builds("/".join, st.lists(PARTS | st.text(max_size=6), max_size=5))
    return climbing | absolute | detours | joined | st.just(DEEP)


@many(100)
@given(data=st.data())
def test_a_name_is_of_a_file_in_the_folder_or_of_none(world, base, data):
    weights.save(INVERSION, world / "elsewhere" / "secret.safetensors")
    for kind in KINDS:
        weights.save(INVERSION, world / "models" / kind / "good.safetensors")
    before, name = everything_in(world), data.draw(names(world))
    for kind, load in ((files.INVERSIONS, files.load_inversion), (files.TUNINGS, of(base))):
        try:
            path = files.path_of(kind, name)
        except FileNotFoundError:
            with pytest.raises(FileNotFoundError, match="choose another"):
                load(name)
        else:
            assert Path(path).resolve() == (world / "models" / kind / "good.safetensors").resolve()
    assert everything_in(world) == before


def test_links_that_the_user_made_are_followed(world, base):
    weights.save(INVERSION, world / "elsewhere" / "secret.safetensors")
    link = world / "models" / files.INVERSIONS / "linked"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(world / "elsewhere", target_is_directory=True)
    folder_paths.filename_list_cache.clear()
    assert "linked/secret.safetensors" in saved_names.saved_names(files.INVERSIONS)
    assert files.load_inversion("linked/secret.safetensors").steps == INVERSION.steps
    with pytest.raises(ValueError, match="'linked/a' is no place in"):
        files.save(files.INVERSIONS, INVERSION, "linked/a")


@pytest.mark.parametrize("asked", ["Clips\\Süß.safetensors", "clips/SÜß.safetensors", "Clips/Su\u0308ß.safetensors"])
def test_a_name_from_another_system_is_the_file_that_is_meant(world, asked):
    shutil.rmtree(world / "models", ignore_errors=True)
    weights.save(INVERSION, world / "models" / files.INVERSIONS / "Clips" / "Süß.safetensors")
    folder_paths.filename_list_cache.clear()
    assert run("LoadInversion", inversion_name=asked)[0].steps == INVERSION.steps
    assert NODES["VP2P_LoadInversion"].validate_inputs(asked) is True


def test_of_names_that_are_alike_the_one_that_is_asked_for_is_loaded(world):
    shutil.rmtree(world / "models", ignore_errors=True)
    for name in ("a", "A"):
        weights.save(INVERSION, world / "models" / files.INVERSIONS / f"{name}.safetensors")
    folder_paths.filename_list_cache.clear()
    assert Path(files.path_of(files.INVERSIONS, "A.safetensors")).name == "A.safetensors"
    sentence = NODES["VP2P_LoadInversion"].validate_inputs("b.safetensors")
    assert sentence == "there is no b.safetensors in models/videop2p/inversions: choose another, or copy it there"
