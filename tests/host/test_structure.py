"""Structure: the target's frame attention is the source's, in a window of its own; and the places that it tells of."""

from dataclasses import replace

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfyui_videop2p.tests.host.random_edits import (
    STEPS,
    TOKENS,
    assert_close,
    edit,
    first_prompt,
    model,
    no_edit,
    sample,
    seed,
    take_the_source,
)
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.diffusion.attention import FRAMES_READ
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns
from comfyui_videop2p.videop2p_core.host.families.unet import UNet
from comfyui_videop2p.videop2p_core.host.model.frame_attention import Inflation
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate

__all__ = ["model", "seed"]

EXACT = {"method": inversions.DIRECT_EXACT, "size": (2, 16, 16)}
WORDS = Blend(word_columns(TOKENS, [2]), word_columns(TOKENS, [3]), start=1.0)


def structured(change, steps=STEPS):
    return replace(change, structure=torch.arange(STEPS) < steps)


def test_the_same_prompt_gives_the_source(model):
    """At guidance 1: the null half, too, attends as the source does under its prompt."""
    change = replace(structured(take_the_source()), guidance=(1.0,) * STEPS)
    result = sample(model, [change], target=first_prompt(), method=inversions.DIRECT_EXACT)
    assert torch.equal(result.targets[0], result.source)


@pytest.mark.parametrize("method", [inversions.SHARED_NULL_TEXT, inversions.DIRECT_EXACT])
def test_it_acts_in_its_window_alone(model, method):
    change = edit()
    none, some, every = (
        sample(model, [structured(change, steps)], method=method).targets[0] for steps in (0, 1, STEPS)
    )
    assert torch.equal(none, sample(model, [change], method=method).targets[0])
    assert (some - none).abs().max() > 1e-3 and (every - some).abs().max() > 1e-3


def test_the_target_attends_as_the_source_does_under_all_of_its_conditioning(model):
    """Seen by another node that holds the slots."""
    calls = []

    def spy(q, k, v, options):
        calls.append((options["block"], [*options["cond_or_uncond"]], q, k))
        return optimized_attention(q, k, v, options["n_heads"], transformer_options=options)

    watched, layers = model.clone(), UNet().cross_attention_layers(model.model.diffusion_model)
    for block, number, _ in layers:
        watched.set_model_attn1_replace(spy, block, number)
    change, size = structured(take_the_source(), 1), (2, 16, 16)  # a single place would give its values back
    seen, free = (
        sample(one, [change], method=inversions.DIRECT_EXACT, size=size).targets[0] for one in (watched, model)
    )
    assert_close(model, seen, free)
    each = len(layers)
    source, target = calls[:each], calls[each : 2 * each]
    for (_, alone, q, k), (_, halves, target_q, target_k) in zip(source, target, strict=True):
        assert alone == [0] and sorted(halves) == [0, 1]
        for one, other in ((q, target_q), (k, target_k)):
            assert all(torch.equal(half, one) for half in other.chunk(2))
    later = calls[-each:]
    assert not all(torch.equal(*q.chunk(2)) for _, _, q, _ in later)


def test_several_targets_equal_each_alone(model):
    changes = [structured(edit()), edit(), structured(take_the_source(), 1)]
    together = sample(model, changes, WORDS, target=first_prompt(), **EXACT)
    for index, change in enumerate(changes):
        alone = sample(model, [change], WORDS, target=first_prompt(), **EXACT)
        assert_close(model, together.targets[index], alone.targets[0])
        for one, other in zip(together.places[index], alone.places[0], strict=True):
            torch.testing.assert_close(one, other, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rule", FRAMES_READ)
def test_to_look_at_places_changes_no_number(model, rule):
    """Frames are read behind the projections there, and before them elsewhere."""
    model = inflate(model, Inflation(frames_read=rule))
    plain, looked = (
        sample(model, [no_edit()], blend, method=inversions.DIRECT_RESIDUAL, size=(3, 16, 16))
        for blend in (None, WORDS)
    )
    assert_close(model, looked.targets[0], plain.targets[0])
    assert plain.places == [None]
    for place in looked.places[0]:
        assert place.shape == (3, 16, 16) and place.amin() == 0 and place.amax() == 1


def test_a_single_frame_has_places_and_structure(model):
    result = sample(model, [structured(edit())], WORDS, **EXACT | {"size": (1, 16, 16)})
    assert result.targets[0].isfinite().all() and result.places[0][0].shape == (1, 16, 16)
