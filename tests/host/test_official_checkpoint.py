"""Checkpoints of the official code: read as tunings, written from them, and refused in a sentence."""

import json
import pickle
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tests.host.calls import control, run, sample
from comfyui_videop2p.tests.host.official_checkpoints import (
    BLOCK,
    FILE,
    QUERY,
    REFERENCE,
    base,
    load,
    official,
    predicted,
    put,
    refused,
    same_tuning,
    trained,
    tunings,
)
from comfyui_videop2p.tests.parity import g1
from comfyui_videop2p.tests.parity.model import OFFICIAL, image_model, load_json, load_tensors, predict_noise
from comfyui_videop2p.videop2p_core.diffusion.tuning import is_temporal
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate
from comfyui_videop2p.videop2p_core.host.source.tuning import tuned
from comfyui_videop2p.videop2p_core.host.storage import files, saved_names
from comfyui_videop2p.videop2p_core.host.storage import official_checkpoint as foreign
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from comfyui_videop2p.videop2p_core.storage import official_checkpoint as names_and_config
from safetensors.torch import load_file

__all__ = ["base", "official", "trained", "tunings"]

CASE = "d_oneframe"  # the smallest of the reference's forward passes


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place, name",
    [
        (f"rider/unet/{FILE}", "rider"),
        ("clips/rider/unet/diffusion_pytorch_model.bin", "clips/rider"),
        (f"unet/{FILE}", "unet"),
        ("rider.safetensors", "rider.safetensors"),
    ],
)
def test_an_official_checkpoint_predicts_what_the_official_code_does(tunings, base, official, place, name):
    put(official, tunings / place)
    put({"encoder.weight": torch.zeros(1)}, tunings / "rider" / "vae" / FILE)
    assert name in saved_names.saved_names(files.TUNINGS)
    model, tuning = load(base, name)
    assert not tuning.deltas and len(tuning.temporal) == 16 * 7
    expected = load_tensors(REFERENCE, g1.NAME)["a.eps"]
    torch.testing.assert_close(predicted(model), expected, **g1.TOLERANCE)
    assert not torch.allclose(predicted(base), expected, atol=0.01)


@pytest.mark.parametrize("spelling", ["diffusers", "ours", "a whole checkpoint's", "in parts"])
def test_what_the_official_training_changed_is_the_tuning(tunings, base, official, trained, spelling):
    ours, name = load_json(REFERENCE, "diffusers_to_ldm"), "rider.safetensors"
    if spelling == "in parts":
        name, tensors = "rider", list(trained.items())
        for part, some in enumerate((tensors[:100], tensors[100:]), 1):
            put(dict(some), tunings / "rider" / f"diffusion_pytorch_model-0000{part}-of-00002.safetensors")
    elif spelling == "diffusers":
        put(trained, tunings / name)
    else:
        prefix = "" if spelling == "ours" else "model.diffusion_model."
        put({prefix + ours[theirs]: tensor for theirs, tensor in trained.items()}, tunings / name)
    tuning = load(base, name)[1]
    changed = {ours[theirs]: trained[theirs] - official[theirs] for theirs in trained if theirs.endswith("to_q.weight")}
    changed = {name: delta for name, delta in changed.items() if not is_temporal(name)}
    temporal = {ours[theirs]: tensor for theirs, tensor in official.items() if "_temp." in theirs}
    same_tuning(tuning, replace(tuning, deltas=changed, temporal=temporal))


def test_half_precision_is_read_as_well(tunings, base, official, trained):
    put({name: tensor.bfloat16() for name, tensor in trained.items()}, tunings / "rider.safetensors")
    delta = load(base, "rider.safetensors")[1].deltas[QUERY]
    theirs = f"{BLOCK}.attn1.to_q.weight"
    torch.testing.assert_close(delta, trained[theirs] - official[theirs], atol=2**-8, rtol=0)


def test_reading_leaves_the_model_as_it_is_and_says_what_it_was_read_on(tunings, base, trained):
    put(trained, tunings / "rider.safetensors")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    _, tuning = load(base, "rider.safetensors")
    run("SaveTuning", tuning=tuning)
    again = load(base, "tuning_00001_.safetensors")[1]
    same_tuning(again, tuning, rtol=0, atol=0)
    assert again.base_model == tuning.base_model != ""
    assert all(torch.equal(before[name], value) for name, value in base.model.state_dict().items())


@pytest.mark.parametrize("merged", [True, False], ids=["tuned with the LoRA", "tuned without it"])
def test_a_lora_before_it_is_reckoned_with(tunings, official, trained, merged):
    """Of what it changes tuning alone leaves no more than queries alone."""
    key, lora = f"{BLOCK}.attn1.to_k.weight", torch.full((96, 96), 0.1)
    model = image_model(REFERENCE)
    with_lora = model.clone()
    own = load_json(REFERENCE, "diffusers_to_ldm")
    with_lora.add_patches({f"diffusion_model.{name}": ("diff", (lora,)) for name in (own[key], QUERY)})
    with_lora = inflate(with_lora, OFFICIAL)
    query = f"{BLOCK}.attn1.to_q.weight"
    put(
        trained | ({name: trained[name] + lora for name in (key, query)} if merged else {}),
        tunings / "rider.safetensors",
    )
    loaded, tuning = load(with_lora, "rider.safetensors")
    torch.testing.assert_close(tuning.deltas[QUERY], trained[query] - official[query])
    torch.testing.assert_close(foreign.Weights(loaded, patched=True)[QUERY], trained[query] + lora)


def test_a_folder_that_changed_is_read_again(tunings, official):
    put(official, tunings / "rider" / "unet" / FILE)
    before = saved_names.changed(files.TUNINGS, "rider")
    assert saved_names.changed(files.TUNINGS, "rider") == before
    put(dict(list(official.items())[1:]), tunings / "rider" / "unet" / FILE)
    assert saved_names.changed(files.TUNINGS, "rider") != before


# --- refused ----------------------------------------------------------------------------------------------------------


def without(tensors, *ends):
    return {name: tensor for name, tensor in tensors.items() if not name.endswith(ends)}


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            lambda t: t | {name: 1.5 * tensor for name, tensor in t.items() if "to_k" in name},
            r"rider.safetensors was tuned on another base model: 32 of the weights that tuning leaves alone differ "
            r"from the connected model's, by 50.0% in \w+_block.*; load the checkpoint that it was tuned on",
        ),
        (lambda t: without(t, "conv_in.weight"), "rider.safetensors lacks conv_in.weight: a whole UNet is needed"),
        (lambda t: without(t, "norm_temp.bias"), r"lacks down_blocks.*norm_temp.bias, .* and 13 more"),
        (lambda t: t | {"motion.weight": torch.zeros(1)}, "holds what this model's UNet has not, motion.weight"),
        (lambda t: {f"lora_unet_{name}": t[name] for name in t}, "no weight of this model's UNet, but lora_unet_"),
        (lambda t: t | {"conv_in.weight": torch.zeros(64, 4, 3, 3)}, "a UNet of another size, with input_blocks.0"),
        (lambda t: t | {f"{BLOCK}.norm_temp.bias": torch.full((96,), torch.nan)}, "tune on the clip again"),
    ],
)  # fmt: skip
def test_checkpoints_that_do_not_fit_are_named(tunings, base, official, change, sentence):
    put(change(official), tunings / "rider.safetensors")
    with refused(sentence):
        load(base, "rider.safetensors")


class Malicious:
    def __reduce__(self):
        return (exec, ("import pathlib; pathlib.Path('ran').touch()",))


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda path: torch.save({"conv_in.weight": Malicious()}, path), "holds code, which is never run"),
        (lambda path: path.write_bytes(pickle.dumps(Malicious(), protocol=2)), "holds code, which is never run"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), "it is damaged, or holds code"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1"), "it is damaged, or holds code"),
        (lambda path: torch.save({"step": 3}, path), "holds something else than weights by their names"),
    ],
)
def test_bin_files_are_read_as_weights_and_nothing_else(tunings, base, official, spoil, sentence, monkeypatch):
    monkeypatch.chdir(tunings.parent)
    path = tunings / "rider" / "unet" / "diffusion_pytorch_model.bin"
    put(official, path)
    spoil(path)
    with refused(sentence):
        load(base, "rider")
    assert not Path("ran").exists()


def test_files_that_are_cut_off_or_gone_are_named(tunings, base, official):
    path = tunings / "rider" / "unet" / FILE
    put(official, path)
    saved_names.saved_names(files.TUNINGS)
    path.write_bytes(path.read_bytes()[:-10])
    with refused("is not a complete safetensors file"):
        load(base, "rider")
    shutil.copy(path, tunings / "rider.safetensors")
    with refused("rider.safetensors is not a complete safetensors file"):
        load(base, "rider.safetensors")
    path.rename(path.with_name("model.safetensors"))
    with pytest.raises(FileNotFoundError, match="there is no rider in models/videop2p/tunings"):
        load(base, "rider")
    with refused("rider holds no diffusion_pytorch_model.safetensors and no diffusion_pytorch_model.bin"):
        foreign.load(tunings / "rider", base)


def test_a_model_for_it_has_to_be_inflated_and_not_yet_tuned(tunings, base, official):
    put(official, tunings / "rider.safetensors")
    image = image_model(REFERENCE)
    with refused("put Inflate UNet before it"):
        load(image, "rider.safetensors")
    with refused("the model is tuned already: connect it as it comes from Inflate UNet"):
        load(load(base, "rider.safetensors")[0], "rider.safetensors")
    with refused("turn them on in Inflate UNet"):
        load(inflate(image, replace(OFFICIAL, temporal_layers=False)), "rider.safetensors")


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def exported(tunings, base, trained):
    """(tuned MODEL, its tuning, the folder that was written of it)"""
    put(trained, tunings / "rider.safetensors")
    model, tuning = load(base, "rider.safetensors")
    run("ExportTuning", model=model, layout="diffusers", filename_prefix="clips/rider")
    return model, tuning, tunings / "clips" / "rider_00001_"


def test_what_is_written_is_the_checkpoint_again(exported, trained, base):
    model, tuning, folder = exported
    written = load_file(folder / "unet" / FILE)
    assert written.keys() == trained.keys()
    for name, tensor in trained.items():
        torch.testing.assert_close(written[name], tensor)
    again, value = load(base, "clips/rider_00001_")
    same_tuning(value, tuning, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(predicted(again), predicted(model), atol=1e-5, rtol=1e-5)


def test_its_configuration_is_the_official_one(exported):
    written = json.loads((exported[-1] / "unet" / "config.json").read_text(encoding="utf-8"))
    expected = load_json(REFERENCE, "unet_config")
    assert {name: written[name] for name in expected} == expected
    assert written["_class_name"] == "UNet3DConditionModel"
    assert written["down_block_types"] == [*["CrossAttnDownBlock3D"] * 3, "DownBlock3D"]
    assert written["up_block_types"] == ["UpBlock3D", *["CrossAttnUpBlock3D"] * 3]


def test_the_diffusers_library_reads_what_is_written_and_predicts_the_same(exported, trained):
    from diffusers import UNet2DConditionModel

    folder = exported[-1] / "unet"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    unet = UNet2DConditionModel.from_config(names_and_config.image_config(config))
    unet.load_state_dict({name: value for name, value in load_file(folder / FILE).items() if "_temp." not in name})
    image = image_model(REFERENCE)
    image.add_patches({f"diffusion_model.{name}": ("diff", (delta,)) for name, delta in exported[1].deltas.items()})
    tensors = load_tensors(REFERENCE, g1.NAME)
    video, timestep, context = (tensors[f"{CASE}.{part}"][:1] for part in ("sample", "timestep", "context"))
    with torch.inference_mode():
        expected = unet(video[:, :, 0], timestep, context).sample
        found = predict_noise(image, video[:, :, :1], timestep, context)[:, :, 0]
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)


def test_nothing_is_overwritten_and_a_failure_leaves_no_litter(exported, monkeypatch):
    model, _, folder = exported
    run("ExportTuning", model=model, layout="diffusers", filename_prefix="clips/rider")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["rider_00001_", "rider_00002_"]

    def break_off(tensors, name, metadata):
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(weights, "save_file", break_off)
    with pytest.raises(OSError, match="disk full"):
        run("ExportTuning", model=model, layout="diffusers", filename_prefix="clips/rider")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["rider_00001_", "rider_00002_"]


def test_what_cannot_be_written_is_named(folders, base, model, tuning, monkeypatch):
    with refused("the model is not tuned: connect the model from Tune on Video or Load Tuning"):
        run("ExportTuning", model=model, layout="diffusers")
    with refused("the official code could not read this model: .* export a LoRA"):
        run("ExportTuning", model=tuning[0], layout="diffusers")
    still = tuned(model, replace(tuning[1], temporal={}))
    with refused("the tuning has no temporal layers, which the official layout needs"):
        run("ExportTuning", model=still, layout="diffusers")
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with refused("written with the diffusers library, which is missing: pip install diffusers"):
        run("ExportTuning", model=tuning[0], layout="diffusers")
    assert not list(folders.rglob("*.safetensors"))


def test_an_edit_with_what_was_written_is_the_same(tunings, model, tuning, inverting, clip):
    """The demo model is of no layout that the official code reads, but has its names."""
    layout, own = foreign.Layout(model), foreign.Weights(tuning[0], patched=True)
    written = {
        theirs: tuning[1].temporal[name] if is_temporal(name) else own[name] for theirs, name in layout.names.items()
    }
    put(written, tunings / "rabbit.safetensors")
    loaded, value = load(model, "rabbit.safetensors")
    same_tuning(value, tuning[1], atol=1e-6, rtol=1e-4)
    edited = []
    for tuned_model in (tuning[0], loaded):
        inversion = run("DDIMInvert", **inverting | {"model": tuned_model})[0]
        edited.append(sample(tuned_model, inversion, control(clip)[0])[0][0]["samples"])
    assert (edited[0] - edited[1]).abs().max() < 1e-3 * edited[0].std()
