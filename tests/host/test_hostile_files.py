"""Hostile files: a value, or one sentence says why not; nothing is written elsewhere and no code is run."""

import io
import json
import pickle
import shutil
import zipfile
from dataclasses import replace

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
from comfyui_videop2p.tests.host.guarded_folders import INVERSION, REFERENCE, TUNING, base, of, world
from comfyui_videop2p.tests.parity.model import load_tensors
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.host.storage import files, saved_names
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from comfyui_videop2p.videop2p_core.storage.official_checkpoint import WEIGHTS
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

__all__ = ["base", "bounded_memory", "world"]

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, that a file is unusual


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
        assert name not in saved_names.saved_names(files.TUNINGS)
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


# --- files of the pack's own ------------------------------------------------------------------------------------------


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


# --- official checkpoints ---------------------------------------------------------------------------------------------


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


# --- folders ----------------------------------------------------------------------------------------------------------

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
    listed = saved_names.saved_names(files.TUNINGS)
    for name in {"rider", *listed}:
        opened(world, of(base), name, Tuning)


def test_a_link_in_a_folder_that_leads_nowhere_is_no_change(tunings, official):
    placed(tunings, {f"rider/{IN_FOLDER}.safetensors": official[".safetensors"]})
    before = saved_names.changed(files.TUNINGS, "rider").count(",")
    (tunings / "rider" / "dead").symlink_to(tunings / "nowhere")
    assert saved_names.changed(files.TUNINGS, "rider").count(",") == before


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
