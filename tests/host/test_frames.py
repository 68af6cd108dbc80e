"""IMAGEs that are none: a sentence in every node that takes them, and none where they are unusual."""

import re

import pytest
import torch
from comfyui_videop2p.tests.core.texts import check_sentence
from comfyui_videop2p.tests.host.calls import FRAMES, control, run
from comfyui_videop2p.videop2p_core.host.images.frames import frames_of

SIZE = 128
NOT_NUMBERS = "holds values that are not numbers (NaN or infinity): decode it anew"


def clip():
    return torch.rand(FRAMES, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))


def with_one(value):
    images = clip()
    images[-1, -1, -1, -1] = value
    return images


BROKEN = {
    "NaN": (with_one(torch.nan), NOT_NUMBERS),
    "infinity": (with_one(-torch.inf), NOT_NUMBERS),
    "a single frame": (clip()[0], "has shape [128, 128, 3]: give [frames, height, width, channels], at least one"),
    "no frames": (clip()[:0], "has shape [0, 128, 128, 3]"),
    "no area": (clip()[:, :0], "has shape [2, 0, 128, 3]"),
    "no channels": (clip()[..., :0], "has shape [2, 128, 128, 0]"),
}


@pytest.fixture
def nodes(demo, model, inverting, inversion):
    """Of each node: what its sentence calls the IMAGE, and the node at work on it."""
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, :64] = 1
    return {
        "before": ("the before video", lambda given: run("CompareVideos", before=given, after=clip())),
        "after": ("the after video", lambda given: run("CompareVideos", before=clip(), after=given)),
        "sheet": ("clip 2", lambda given: run("ContactSheet", images=[clip(), given], labels=["a", "b"])),
        "source": ("the source", lambda given: run("EditMetrics", source=given, edited=clip())),
        "edited": ("the edited clip", lambda given: run("EditMetrics", source=clip(), edited=given)),
        "region": ("the images input", lambda given: run("EditRegion", masks=mask, images=given)),
        "maps": (
            "the images input",
            lambda given: run(
                "AttentionMaps", model=model, inversion=inversion, edit=control(demo[1])[0], images=given
            ),
        ),
        "invert": ("the images input", lambda given: run("DDIMInvert", **inverting, vae=demo[2], images=given)),
    }  # fmt: skip


@pytest.mark.parametrize("node", ["before", "after", "sheet", "source", "edited", "region", "maps", "invert"])
@pytest.mark.parametrize("kind", BROKEN)
def test_images_that_are_none_are_a_sentence_before_anything_is_computed(nodes, denoised, node, kind):
    name, run_on = nodes[node]
    images, sentence = BROKEN[kind]
    with pytest.raises(ValueError, match=re.escape(f"{name} {sentence}")) as refused:
        run_on(images)
    check_sentence(refused.value)
    assert not denoised


@pytest.fixture
def denoised(monkeypatch):
    """The calls of the denoising model."""
    from comfy.model_base import BaseModel

    calls, apply = [], BaseModel.apply_model
    monkeypatch.setattr(
        BaseModel, "apply_model", lambda *given, **named: (calls.append(given), apply(*given, **named))[1]
    )
    return calls


def test_whole_numbers_are_no_image():
    with pytest.raises(ValueError, match="the source holds uint8: give values of 0 to 1"):
        frames_of((255 * clip()).byte(), "the source")


def test_nothing_is_no_image():
    with pytest.raises(ValueError, match=re.escape("the source has shape []: give [frames,")):
        frames_of(None, "the source")


def test_images_of_any_channels_are_taken_in_colour():
    images = clip()
    assert torch.equal(frames_of(images, "it"), images)
    assert torch.equal(frames_of(torch.cat([images, images[..., :1]], dim=-1), "it"), images)
    assert torch.equal(frames_of(images[..., :1], "it"), images[..., :1].expand_as(images))
    assert frames_of(300 * images.half() - 100, "it").dtype == torch.half  # beyond 0 and 1, as decoders give it
