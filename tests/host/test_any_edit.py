"""Whole edits on the demo model from numbers of every kind: clips without NaN, or one sentence before the model is run.
VP2P_FUZZ=30 tries thirty times as many."""

from types import SimpleNamespace

import pytest
import torch
from comfyui_videop2p.tests.core.fuzzing import many
from comfyui_videop2p.tests.core.test_any_prompt import masks
from comfyui_videop2p.tests.core.texts import (
    SHARES,
    WEIGHTS,
    Drawn,
    answer,
    check_sentence,
    images,
    listed,
    often,
    texts,
    words_of,
)
from comfyui_videop2p.tests.faults.injected import Calls, calls_of_models
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, TARGET, control, encode, run, sample
from comfyui_videop2p.videop2p_core.diffusion.inversion import METHODS
from comfyui_videop2p.videop2p_core.edit.alignment import KINDS
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import WordEdit
from comfyui_videop2p.videop2p_core.host.families.wan import chosen_blocks
from comfyui_videop2p.videop2p_core.host.images.edit_region import edit_region
from hypothesis import given
from hypothesis import strategies as st

TARGETS = st.sampled_from(
    [TARGET, SOURCE, "a blue star on the beach", "a red rabbit", "a (blue:1.2) rabbit on the beach"]
    + ["(((a))) red\nrabbit", "a (blue:-2) rabbit on the beach", "a (blue:1e9) rabbit on the beach", "🐱 red"]
    + ["a (blue:1000) rabbit on the beach", "a (blue:nan) rabbit on the beach", "rabbit " * 100]
    + ["(" * 1500 + "rabbit" + ")" * 1500, "a red rabbit \ud83d", ""]
)  # fmt: skip
OVERFLOW = "gave values that are not numbers"
WILD = st.sampled_from([0.0, -1.0, 1.0, 7.5, 30.0, 1e4, 1e30, -1e30, float("nan"), float("inf")])


@pytest.fixture(scope="module", autouse=True)
def no_pictures():
    """Of alignments: they take a second each, and have a test of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WordEdit, "picture", lambda edit: None)
        yield


def finite(*tensors):
    return all(tensor.isfinite().all() for tensor in tensors)


def made(model, function):
    """What a function makes with a MODEL, None where it says in a sentence why nothing: before the MODEL is run, or of
    the step whose numbers went over what they can hold."""
    counted = Calls()
    try:
        with calls_of_models(counted):
            return function(model)
    except ValueError as error:
        check_sentence(error)
        assert counted.number == 0 or OVERFLOW in str(error), "the model was run in vain"
        return None


@st.composite
def settings_of(draw, target):
    """The inputs of an Attention Controller."""
    weights = listed(st.builds("{}: {}".format, words_of(target), WEIGHTS))
    return {
        "edit": draw(st.sampled_from(KINDS)),
        "cross_window": draw(SHARES), "temporal_window": draw(SHARES), "threshold": draw(SHARES),
        "blend_start": draw(SHARES), "blend_freeze": draw(SHARES), "word_weights": draw(st.just("") | weights),
        "blend_source": draw(st.sampled_from(["", "rabbit", "red rabbit", "beach"]) | listed(words_of(SOURCE))),
        "blend_target": draw(st.just("") | listed(words_of(target))),
        "subtract": draw(st.sampled_from(["", "", "", "beach", "star"])),
        "mask_mode": draw(st.sampled_from(["limit", "replace"])),
        "mask": draw(st.none() | masks(st.sampled_from([1, FRAMES, FRAMES, 3]))),
        "blend_blocks": draw(st.sampled_from(["", "", "", "", " ", "1-3"])),
    }  # fmt: skip


@many(12)
@given(data=st.data())
def test_an_edit_of_any_settings(model, clip, inversion, data):
    target = data.draw(TARGETS)
    settings = data.draw(settings_of(target))
    mask = settings.pop("mask")
    edit = answer(control, clip, target, mask=mask and mask.tensor(), **settings)
    if edit is None:
        return
    guidance, cache_every = data.draw(st.sampled_from(["decoupled", "coupled"])), data.draw(st.sampled_from([1, 1, 2]))
    done = made(
        model, lambda counted: sample(counted, inversion, edit[0], guidance=[guidance], cache_every=[cache_every])
    )
    if done is not None:
        (edited,), source, (mask,) = done
        assert finite(edited["samples"], source["samples"]) and 0 <= mask.min() and mask.max() <= 1


@st.composite
def latents(draw):
    """Clips, and what is none."""
    side = st.integers(1, 20)
    usual = st.tuples(st.integers(1, 5), st.just(4), side, side)
    other = st.one_of(
        st.lists(st.integers(0, 5), max_size=5).map(tuple),
        st.tuples(st.integers(0, 2), st.sampled_from([1, 3, 8, 9, 16]), side, side),
    )
    shape, kinds = draw(often(usual, other, 4)), [torch.float32] * 3 + [torch.float16, torch.bfloat16]
    odd = st.sampled_from([None] * 9 + [100.0, torch.nan, torch.inf, -torch.inf])
    scale = draw(st.sampled_from([0, 1, 3, -3, 1e3, 1e18, 1e30]))
    return Drawn(shape, draw(st.integers(0, 9)), scale, draw(odd), draw(st.sampled_from([*kinds, torch.float64])))


@many(8)
@given(data=st.data(), latent=latents())
def test_an_inversion_of_any_clip(model, clip, data, latent):
    settings = {
        "method": data.draw(st.sampled_from(["direct", "direct", *METHODS, "magic"])),
        "steps": data.draw(st.sampled_from([1, 2, 2, 3, 0, -1, 2000])),
        "cfg": data.draw(often(st.floats(1, 15), WILD, 4)),
        "rounds": data.draw(st.sampled_from([0, 0, 1, -1])),
        "inner_steps": data.draw(st.sampled_from([1, 2, 0])),
        "keep_source": data.draw(st.sampled_from(["off", "off", "in memory"])),
        "kept_cross_window": data.draw(SHARES),
        "kept_temporal_window": data.draw(SHARES),
    }
    latent = latent.tensor()
    given_inputs = {"source": encode(clip, SOURCE), "null": encode(clip, ""), "latent": {"samples": latent}}
    done = made(model, lambda counted: run("DDIMInvert", model=counted, **given_inputs, **settings))
    if done is None:
        return
    inversion, noise, reconstruction, *_ = done
    assert finite(inversion.trajectory, noise["samples"], reconstruction["samples"])
    edit = control(clip, blend_source=data.draw(st.sampled_from(["", "rabbit"])))[0]
    edited = made(model, lambda counted: sample(counted, inversion, edit))
    if edited is not None:
        assert finite(edited[0][0]["samples"]) and edited[0][0]["samples"].shape == latent.shape


# --- regions and blocks -----------------------------------------------------------------------------------------------

PIXELS = often(st.integers(0, 6), st.sampled_from([-1, 40, 512, 10**9]))


@many(60)
@given(data=st.data(), mask=masks(st.sampled_from([1, 2, 2, 3])), steady=st.integers(-1, 4) | st.just(64))
def test_a_region_of_any_masks(data, mask, steady):
    settings = {
        "threshold": data.draw(SHARES), "fill": data.draw(st.booleans()), "grow": data.draw(PIXELS),
        "feather": data.draw(PIXELS), "steady": steady,
    }  # fmt: skip
    pictures = data.draw(st.none() | images(2) | images(None))
    pictures = pictures and pictures.tensor()
    region = answer(edit_region, mask.tensor(), pictures, **settings)
    if region is None:
        return
    assert region.mask.ndim == 3 and 0 <= region.mask.min() and region.mask.max() <= 1
    if pictures is not None:
        assert region.mask.shape == pictures.shape[:3] and finite(region.greyed(), region.picture())


@many(100)
@given(text=st.text("0123456789-, \n²x٣", max_size=30) | texts(60) | st.integers(1, 5000).map(lambda n: "1" * n))
def test_blocks_of_any_text(text):
    chosen = answer(chosen_blocks, SimpleNamespace(blocks=range(30), patch_size=(1, 2, 2)), (16, 16), text)
    assert chosen is None or chosen
