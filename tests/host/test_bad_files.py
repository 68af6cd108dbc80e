"""Files that are no inversion, and tunings that do not fit the model, are told in a sentence."""

import json
import pickle
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tests.host.calls import STEPS, run
from comfyui_videop2p.tests.host.refusals import ATTENTION, idle, refused
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from safetensors.torch import save_file

__all__ = ["idle"]


def cut_off(path: Path):
    path.write_bytes(path.read_bytes()[:-10])


def with_settings(path, **changes):
    """The file again with other settings in its metadata."""
    inversion = weights.load_inversion(path)
    tensors = {name: getattr(inversion, name) for name in ("trajectory", "sigmas", "source", "initial_null")}
    metadata = {"video_p2p": "inversion", "version": "1", "settings": json.dumps({"method": "direct"} | changes)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def with_tensors(path, **changes):
    weights.save(replace(weights.load_inversion(path), **changes), path)


NO_FILE = "file.safetensors is not a complete safetensors file"


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda path: path.unlink(), "there is no file.safetensors in models/videop2p/inversions: choose another"),
        (lambda path: (path.unlink(), path.mkdir()), "there is no file.safetensors"),
        (lambda path: path.write_bytes(b""), NO_FILE),
        (lambda path: path.write_bytes(b"no safetensors at all"), NO_FILE),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), NO_FILE),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), NO_FILE),
        (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"), NO_FILE),
        (lambda path: path.write_bytes(struct.pack("<Q", 90_000_000) + b"{}"), NO_FILE),
        (cut_off, NO_FILE),
        (
            lambda path: save_file({"weight": torch.zeros(2)}, path),
            "file.safetensors is no file of Video-P2P: choose one that Save Inversion wrote",
        ),
        (
            lambda path: weights.save(Tuning({}, torch.zeros(1), torch.zeros(1)), path),
            "file.safetensors holds a saved tuning: open it with Load Tuning",
        ),
        (lambda path: with_settings(path, method="magic"), "file.safetensors is damaged ('magic' is not an inversion"),
        (lambda path: with_settings(path, cfg="7.5"), "file.safetensors is damaged (its cfg is '7.5'): make and save"),
        (lambda path: with_settings(path, losses=3), "file.safetensors is damaged"),
        (lambda path: with_settings(path, colour="red"), "file.safetensors is damaged"),
        (
            lambda path: with_tensors(path, trajectory=torch.zeros(STEPS + 1, 4, 16, 16)),
            "file.safetensors is damaged (its tensors have [4, 1, 3, 3] dimensions): invert the clip again",
        ),
        (
            lambda path: with_tensors(path, sigmas=torch.full((STEPS + 1,), torch.nan)),
            "file.safetensors holds values that are not numbers (NaN or infinity): invert the clip again",
        ),
    ],
)
def test_files_that_are_no_inversion(folders, inversion, spoil, sentence):
    path = folders / "inversions" / "file.safetensors"
    weights.save(inversion, path)
    spoil(path)
    with refused(sentence):
        run("LoadInversion", inversion_name=path.name)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"base_model": "SD15 12345678"}, "the tuning was made on SD15 12345678, but the model connected is DemoSD15"),
        ({"deltas": {ATTENTION: torch.zeros(8, 8)}}, f"the tuning does not fit this model: {ATTENTION} and 0 more"),
        ({"temporal": {"middle_block.attn_temp.x": torch.zeros(8)}}, "the tuning does not fit this model"),
        (
            {"deltas": {ATTENTION: torch.full((128, 128), torch.nan)}},
            "infinity): tune on the clip again",
        ),
    ],
)
def test_tunings_that_do_not_fit(folders, idle, tuning, changes, sentence):
    weights.save(replace(tuning[1], **{"base_model": ""} | changes), folders / "tunings" / "file.safetensors")
    with refused(sentence):
        run("LoadTuning", model=idle, tuning_name="file.safetensors")


def test_a_tuning_of_temporal_layers_for_a_model_without(folders, demo, tuning):
    run("SaveTuning", tuning=tuning[1])
    still = run("InflateUNet", model=demo[0], temporal_layers=False)[0]
    with refused("the tuning trained temporal layers: turn them on in Inflate UNet"):
        run("LoadTuning", model=still, tuning_name="tuning_00001_.safetensors")
