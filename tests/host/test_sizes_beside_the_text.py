"""What SDXL is told in numbers beside a text, as CLIPTextEncodeSDXL does: an edit tells it what the inversion did."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import control, run, sample
from comfyui_videop2p.tests.host.family_worlds import World
from comfyui_videop2p.videop2p_core.storage.artifacts import load_inversion, save

SIZES = {"width": 2048, "height": 1536, "crop_w": 64, "crop_h": 0, "target_width": 512, "target_height": 512}


@pytest.fixture(scope="module")
def world():
    return World("sdxl")


def told(conditioning):
    return [[embedding, options | SIZES] for embedding, options in conditioning]


def inverted(world, source, null):
    inputs = {"model": world.model, "source": source, "null": null, "latent": world.latent}
    return run("DDIMInvert", **inputs, method="direct-exact", steps=2)[0]


def edited(world, inversion, null, **conditionings):
    edit = control(world.clip, cross_window=0.5)[0]
    (latent,), *_ = sample(world.model, inversion, edit, null=[null], **conditionings)
    return latent["samples"]


def test_an_edit_tells_the_sizes_that_its_inversion_was_told(world, tmp_path):
    source, target, null = (told(one) for one in (world.source, world.target, world.null))
    inversion = inverted(world, source, null)
    assert inversion.sizes == SIZES
    plain = edited(world, inversion, null)
    assert torch.equal(plain, edited(world, inversion, null, source=[source], target=[target]))
    unlike = edited(world, inverted(world, world.source, world.null), world.null)
    assert not torch.allclose(plain, unlike, atol=1e-3)
    save(inversion, tmp_path / "inversion.safetensors")
    assert load_inversion(tmp_path / "inversion.safetensors").sizes == SIZES


def test_what_is_wired_without_sizes_is_told_them_too(world):
    source, null = told(world.source), told(world.null)
    inversion = inverted(world, source, null)
    wired = edited(world, inversion, null, source=[world.source], target=[world.target])
    assert torch.equal(wired, edited(world, inversion, null))


def test_a_wired_source_of_other_sizes_is_refused_and_a_target_of_others_used(world):
    source, null = told(world.source), told(world.null)
    inversion = inverted(world, source, null)
    other = [[embedding, options | SIZES | {"width": 1024}] for embedding, options in world.source]
    with pytest.raises(
        ValueError, match="tells the model width 1024, height 1536.* inverted with told width 2048, hei"
    ):
        edited(world, inversion, null, source=[other])
    with pytest.raises(ValueError, match="width 2048.* told no sizes: connect the one that went into DDIM Invert"):
        edited(world, inverted(world, world.source, world.null), world.null, source=[source])
    target = [[embedding, options | SIZES | {"width": 1024}] for embedding, options in world.target]
    plain = edited(world, inversion, null)
    assert not torch.equal(plain, edited(world, inversion, null, target=[target]))


def test_without_sizes_nothing_is_told(world):
    assert inverted(world, world.source, world.null).sizes == {}
