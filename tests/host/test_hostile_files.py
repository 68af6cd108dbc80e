"""Hostile names and hostile files: what is asked for lies in its folder, or one sentence says why not."""

import io
import json
import os
import pickle
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.core.fuzzing import (
    ANYTHING,
    Content,
    Malicious,
    bounded_memory,
    check_sentence,
    cut_or_grown,
    everything_in,
    flipped,
    lying,
    many,
    pickles,
    well_formed,
)
from comfyui_videop2p.tests.host.calls import FRAMES, STEPS, control, sample
from comfyui_videop2p.tests.parity.model import OFFICIAL, image_model, load_tensors
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate
from comfyui_videop2p.videop2p_core.host.storage import files
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from comfyui_videop2p.videop2p_core.storage.official_checkpoint import WEIGHTS
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

__all__ = ["bounded_memory"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, that a file is unusual

REFERENCE = Path(__file__).parents[1] / "reference"
KINDS = (files.INVERSIONS, files.TUNINGS)
TUNING = Tuning({"a.attn1.to_q.weight": torch.ones(1)}, torch.zeros(1), torch.zeros(1))
INVERSION = Inversion(
    method=inversions.DIRECT, trajectory=torch.randn(3, 2, 4, 2, 2), sigmas=torch.tensor([3.0, 1.0, 0.1]),
    source=torch.randn(1, 3, 2), initial_null=torch.randn(1, 3, 2),
)  # fmt: skip
ONE = {"a": torch.ones(1)}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with the folders that are asked for, and others beside them that are nobody's to touch."""
    world = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        for kind in (*KINDS, files.LORAS):
            name = kind if kind == files.LORAS else f"videop2p_{kind}"
            paths = [str(world / "models" / kind)], {".safetensors"} if kind == files.LORAS else set()
            patch.setitem(folder_paths.folder_names_and_paths, name, paths)
        patch.setattr(os, "fsync", lambda handle: None)  # slow, and not what is looked at here
        yield world


@pytest.fixture(scope="module")
def base():
    with torch.inference_mode():
        model = inflate(image_model(REFERENCE), OFFICIAL)
    before = {name: value.clone() for name, value in model.model.state_dict().items()}
    yield model
    assert all(torch.equal(before[name], value) for name, value in model.model.state_dict().items())


# --- names to save under ----------------------------------------------------------------------------------------------

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
        assert files.saved_names(kind) == [name]
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


def of(model):
    return lambda name: files.load_tuning(name, model)


def test_links_that_the_user_made_are_followed(world, base):
    weights.save(INVERSION, world / "elsewhere" / "secret.safetensors")
    link = world / "models" / files.INVERSIONS / "linked"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(world / "elsewhere", target_is_directory=True)
    folder_paths.filename_list_cache.clear()
    assert "linked/secret.safetensors" in files.saved_names(files.INVERSIONS)
    assert files.load_inversion("linked/secret.safetensors").steps == INVERSION.steps
    with pytest.raises(ValueError, match="'linked/a' is no place in"):
        files.save(files.INVERSIONS, INVERSION, "linked/a")


# --- what is in files -------------------------------------------------------------------------------------------------


def opened(world, load, name, kind):
    """A value of the kind, or one sentence (None); nothing else happens."""
    before = everything_in(world)
    try:
        with torch.inference_mode():
            value = load(name)
        assert isinstance(value, kind)
        if kind is Tuning:
            assert all(tensor.isfinite().all() for tensor in (*value.deltas.values(), *value.temporal.values()))
        return value
    except ValueError as error:
        check_sentence(error)
    except FileNotFoundError:
        folder_paths.filename_list_cache.clear()
        assert name not in files.saved_names(files.TUNINGS)
    finally:
        assert everything_in(world) == before
    return None


@pytest.fixture(scope="module")
def tunings(world):
    """The folder of tunings, emptied before each case by `placed`."""
    return world / "models" / files.TUNINGS


def placed(folder, content):
    """A folder with these files {path: bytes; None for a folder} and nothing else."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, part in content.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if part is None else path.write_bytes(part)
    folder_paths.filename_list_cache.clear()


def as_bytes(tensors, path, save=save_file):
    save(tensors, path)
    content = Content(path.read_bytes())
    path.unlink()
    return content


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """{kind of value: bytes of a good file}"""
    path = tmp_path_factory.mktemp("own") / "file"
    return {type(value): as_bytes(value, path, weights.save) for value in (INVERSION, TUNING)}


@many(150)
@given(data=st.data())
def test_own_files_of_other_tensors(world, own, base, data):
    kind = data.draw(st.sampled_from([Inversion, Tuning]))
    folder, load = {
        Inversion: (files.INVERSIONS, files.load_inversion), Tuning: (files.TUNINGS, of(base))
    }[kind]  # fmt: skip
    placed(world / "models" / folder, {"file.safetensors": data.draw(well_formed(own[kind]))})
    opened(world, load, "file.safetensors", kind)


NUMBERS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.int64, torch.bool, torch.complex64, torch.uint16]


@pytest.mark.parametrize("numbers", NUMBERS, ids=str)
def test_own_files_of_other_numbers_are_damaged(world, numbers):
    of_numbers = replace(INVERSION, trajectory=INVERSION.trajectory.to(numbers))
    weights.save(of_numbers, world / "models" / files.INVERSIONS / "file.safetensors")
    with pytest.raises(ValueError, match="file.safetensors is damaged .its trajectory is of torch"):
        files.load_inversion("file.safetensors")


def test_an_inverted_clip_of_other_channels_than_the_models_is_named(folders, model, clip, inversion):
    other = replace(inversion, trajectory=torch.zeros(STEPS + 1, FRAMES, 9, 16, 16))
    weights.save(other, folders / "inversions" / "file.safetensors")
    loaded = files.load_inversion("file.safetensors")
    with pytest.raises(ValueError, match="the inverted clip has 9 channels, this model takes 4: invert the clip again"):
        sample(model, loaded, control(clip)[0])


@pytest.mark.parametrize("name, shape", [("out.0.weight", (64,)), ("input_blocks.0.0.weight", (64, 4, 3, 3))])
def test_a_tuning_of_other_weights_is_refused_before_it_is_in_a_model(folders, model, tuning, name, shape):
    assert model.get_model_object("diffusion_model").state_dict()[name].shape == shape
    other = replace(tuning[1], deltas={name: torch.zeros(shape)})
    weights.save(other, folders / "tunings" / "file.safetensors")
    with pytest.raises(ValueError, match=f"it changes {name}, which one-shot tuning leaves alone"):
        files.load_tuning("file.safetensors", model)


@pytest.fixture(scope="module")
def tensors():
    """Of a whole checkpoint that the official code made."""
    return {name: tensor.bfloat16() for name, tensor in load_tensors(REFERENCE, "weights").items()}


@pytest.fixture(scope="module")
def official(tensors, tmp_path_factory):
    """{ending: bytes of a good file}: the whole checkpoint, and a few of its tensors as a pickle."""
    path = tmp_path_factory.mktemp("official") / "file"
    few = {name: tensors[name] for name in list(tensors)[:3]}
    whole = as_bytes(tensors, path, lambda tensors, path: save_file(tensors, path, {"format": "pt"}))
    return {
        ".safetensors": whole,
        ".bin": as_bytes(few, path, torch.save),
        "old .bin": as_bytes(few, path, lambda t, path: torch.save(t, path, _use_new_zipfile_serialization=False)),
    }


HEADER = 100_000  # bytes at the beginning that hold more than weights
IN_FOLDER = f"unet/{WEIGHTS}"


@many(30)
@given(data=st.data())
def test_official_files_that_something_happened_to(world, tunings, official, base, data):
    content, marker = official[".safetensors"], world / "marker"
    content = data.draw(
        flipped(content) | flipped(content, end=HEADER) | cut_or_grown(content) | lying(content) | well_formed(content)
        | pickles(marker) | st.binary(max_size=64)
    )  # fmt: skip
    name, place = data.draw(st.sampled_from([("rider.safetensors",) * 2, ("rider", f"rider/{IN_FOLDER}.safetensors")]))
    placed(tunings, {place: content})
    opened(world, of(base), name, Tuning)


def repacked(content: bytes, change) -> bytes:
    """A .bin file with another pickle in it, packed as it should be."""
    read, written = zipfile.ZipFile(io.BytesIO(content)), io.BytesIO()
    with zipfile.ZipFile(written, "w") as file:
        for entry in read.infolist():
            part = read.read(entry)
            file.writestr(entry.filename, change(part) if entry.filename.endswith("data.pkl") else part)
    return Content(written.getvalue())


STRANGE = {
    "sparse": torch.Tensor.to_sparse,
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.qint8),
    "without values": lambda tensor: tensor.to("meta"),
    "huge by repetition": lambda tensor: tensor.reshape(-1)[:1].expand(2**20, 2**20),
    "of complex numbers": lambda tensor: tensor.to(torch.complex64),
    "of whole numbers": torch.Tensor.long,
    "of a few bits": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "of no dimension": lambda tensor: tensor.sum(),
    "no tensor": torch.Tensor.tolist,
}


@many(60)
@given(data=st.data())
def test_pickled_weights_that_something_happened_to(world, tunings, official, base, data):
    marker, ending = world / "marker", data.draw(st.sampled_from([".bin", "old .bin"]))
    content = official[ending]
    kinds = [flipped(content), cut_or_grown(content), flipped(content, end=1000), pickles(marker)]
    if ending == ".bin":
        kinds.append(st.builds(repacked, st.just(content), st.just(lambda part: data.draw(flipped(part)))))
        kinds.append(st.builds(repacked, st.just(content), st.just(lambda part: data.draw(pickles(marker)))))
    placed(tunings, {f"rider/{IN_FOLDER}.bin": data.draw(st.one_of(kinds))})
    opened(world, of(base), "rider", Tuning)


@many(20)
@given(data=st.data())
def test_pickles_of_other_values(world, tunings, tensors, base, data):
    """Whole checkpoints but for some weights of a strange kind, or by a strange name, and any other value."""
    whole = dict(tensors)
    changed = data.draw(st.lists(st.sampled_from(sorted(whole)), max_size=3))
    for name in changed:
        whole[name] = STRANGE[data.draw(st.sampled_from(sorted(STRANGE)))](tensors[name])
    for name in data.draw(st.lists(st.integers() | st.none() | st.text(max_size=4), max_size=1)):
        whole[name] = torch.ones(1)
        changed.append(name)
    value, written = data.draw(st.just(whole) | ANYTHING), io.BytesIO()
    torch.save(value, written)
    placed(tunings, {f"rider/{IN_FOLDER}.bin": written.getvalue()})
    found = opened(world, of(base), "rider", Tuning)
    assert (found is not None) == (value is whole and not changed)


@pytest.mark.parametrize("kind", STRANGE)
def test_weights_of_a_strange_kind_are_refused(world, tunings, tensors, base, kind):
    """Whether tuning trains them, adds them, or leaves them alone."""
    block = "mid_block.attentions.0.transformer_blocks.0"
    for name in ("conv_in.weight", f"{block}.attn1.to_q.weight", f"{block}.attn_temp.to_q.weight"):
        placed(tunings, {})
        (tunings / "rider" / "unet").mkdir(parents=True)
        torch.save({**tensors, name: STRANGE[kind](tensors[name])}, tunings / f"rider/{IN_FOLDER}.bin")
        assert opened(world, of(base), "rider", Tuning) is None


def test_weights_that_were_being_trained_are_read_without_how(tunings, tensors, base):
    written = io.BytesIO()
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in tensors.items()}, written)
    placed(tunings, {f"rider/{IN_FOLDER}.bin": written.getvalue()})
    tuning = files.load_tuning("rider", base)
    assert tuning.temporal and not any(tensor.requires_grad for tensor in tuning.temporal.values())


def test_pickled_weights_are_not_unpacked_to_more_than_they_take_on_the_disk(tunings, official, base, monkeypatch):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", b"\0" * 10**7)
    placed(tunings, {f"rider/{IN_FOLDER}.bin": packed.getvalue()})
    unpacked = []
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: unpacked.append(args))
    with pytest.raises(ValueError, match="cannot be read as weights and nothing else"):
        files.load_tuning("rider", base)
    assert not unpacked


def test_a_pickle_that_runs_code_would_be_seen(world):
    """The marker of the cases above is made by whoever reads them as pickles."""
    pickle.loads(pickle.dumps(Malicious(world / "ran")))
    assert (world / "ran").exists()


FILES = [
    "config.json", f"{WEIGHTS}.safetensors", f"{WEIGHTS}.bin", f"{WEIGHTS}-00001-of-00002.safetensors",
    f"{WEIGHTS}-00002-of-00002.safetensors", f"{WEIGHTS}-00001-of-99999.bin", f"{WEIGHTS}.safetensors.index.json",
    "model.safetensors", "deep/er",
]  # fmt: skip


@many(30)
@given(data=st.data())
def test_folders_of_any_make(world, tunings, official, base, data):
    """Files missing, empty, of another kind, twice, and folders in their place."""
    some = st.sampled_from(sorted(official)).map(official.get)
    contents = st.none() | st.just(b"") | st.binary(max_size=30) | ANYTHING.map(lambda v: json.dumps(v).encode()) | some
    holders = st.sampled_from(["rider/", "rider/unet/", "rider/vae/", "rider/unet/unet/"])
    tree = {}
    for holder, name in data.draw(st.lists(st.tuples(holders, st.sampled_from(FILES)), max_size=5, unique=True)):
        tree[holder + name] = data.draw(contents)
    if data.draw(st.integers(0, 9)) == 0:
        tree = {"rider/unet": data.draw(st.just(b"") | some)}
    placed(tunings, tree)
    listed = files.saved_names(files.TUNINGS)
    for name in {"rider", *listed}:
        opened(world, of(base), name, Tuning)


def test_a_link_in_a_folder_that_leads_nowhere_is_no_change(tunings, official):
    placed(tunings, {f"rider/{IN_FOLDER}.safetensors": official[".safetensors"]})
    before = files.changed(files.TUNINGS, "rider").count(",")
    (tunings / "rider" / "dead").symlink_to(tunings / "nowhere")
    assert files.changed(files.TUNINGS, "rider").count(",") == before


def test_a_configuration_of_any_kind_changes_nothing(tunings, official, base):
    """It is not read: what a UNet is shows in its weights."""
    place = f"rider/{IN_FOLDER}.safetensors"
    for config in (b"", b"[" * 10**5, b'{"_class_name": "../../x"}', None):
        placed(tunings, {place: official[".safetensors"], "rider/unet/config.json": config})
        assert len(files.load_tuning("rider", base).temporal) == 112


def test_what_was_loaded_stays_when_the_file_is_written_over(tunings, own, base):
    placed(tunings, {"own.safetensors": own[Tuning]})
    whole = {name: tensor.float() for name, tensor in load_tensors(REFERENCE, "weights").items()}
    save_file(whole, tunings / "rider.safetensors")
    for name in ("rider.safetensors", "own.safetensors"):
        tuning, path = files.load_tuning(name, base), tunings / name
        tensors = {**tuning.deltas, **tuning.temporal}
        before = {key: tensor.clone() for key, tensor in tensors.items()}
        with open(path, "r+b") as file:
            file.write(b"\x55" * path.stat().st_size)
        assert tensors and all(torch.equal(tensors[key], before[key]) for key in before)
