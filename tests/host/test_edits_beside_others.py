"""Edits beside what else acts on a model: occupied slots, other entries and other evaluations."""

from uuid import uuid4

import comfy.samplers
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfyui_videop2p.tests.host.random_edits import (
    TOKENS,
    assert_close,
    edit,
    edited_by_maps,
    model,
    no_edit,
    plain_sample,
    sample,
    seed,
)
from comfyui_videop2p.videop2p_core.diffusion import attention
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns
from comfyui_videop2p.videop2p_core.host.comfy.model_patches import AttentionCall
from comfyui_videop2p.videop2p_core.host.control.attention_control import AttentionControl
from comfyui_videop2p.videop2p_core.host.control.controlled_target import ControlledTarget

__all__ = ["model", "seed"]


def with_occupant(model, occupant, keys):
    occupied = model.clone()
    for block, number, *index in keys:
        occupied.set_model_attn2_replace(occupant, block, number, *index)
    return occupied


def same_as_stock(q, k, v, options):
    return optimized_attention(q, k, v, options["n_heads"], transformer_options=options)


def adds_something(q, k, v, options):
    return same_as_stock(q, k, v, options) + 0.1 * q


@pytest.mark.parametrize("keys", [[("input", 1), ("middle", 0)], [("output", 4, 0), ("input", 7, 0)]])
def test_an_occupied_slot_is_wrapped(model, keys):
    change = edit()
    free = sample(model, [change])
    neutral = with_occupant(model, same_as_stock, keys)
    assert_close(model, sample(neutral, [change]).targets[0], free.targets[0])

    acting = with_occupant(model, adds_something, keys)
    assert torch.equal(sample(acting, [no_edit()]).targets[0], plain_sample(acting))
    for mine, plain in ((sample(acting, [change]), free), (sample(acting, [no_edit()]), sample(model, [no_edit()]))):
        assert (mine.targets[0] - plain.targets[0]).abs().max() > 1e-3
    assert set(acting.model_options["transformer_options"]["patches_replace"]["attn2"].values()) == {adds_something}


def test_only_the_entry_of_the_edit_is_edited():
    """Rows: another conditional entry, the edit's own, the unconditional half; one layer, by itself."""
    frames, heads, own = 2, 2, uuid4()
    entries = [uuid4(), own, uuid4()]
    source_entry, change = uuid4(), edit(steps=1)
    control = AttentionControl(source_entry, [ControlledTarget(change, own)])
    options = {"n_heads": heads, "activations_shape": [frames, 8, 4, 4], "cond_or_uncond": [0], "uuids": [source_entry]}
    source_q, source_k = torch.randn(frames, 16, 8), torch.randn(frames, TOKENS, 8)
    with control.evaluation(0):
        control.cross_attention(AttentionCall("layer", None, source_q, source_k, source_k, options))

    q, k, v = torch.randn(3 * frames, 16, 8), torch.randn(3 * frames, TOKENS, 8), torch.randn(3 * frames, TOKENS, 8)
    options |= {"cond_or_uncond": [0, 0, 1], "uuids": entries, "activations_shape": [3 * frames, 8, 4, 4]}
    rows = slice(frames, 2 * frames)
    expected = attention.attention(q, k, v, heads)
    edited = edited_by_maps(
        q[rows], k[rows], v[rows], source_q, source_k, change.source[0], change.target[0], heads, None
    )
    for occupant in (None, adds_something):
        with control.evaluation(0, 0):
            out = control.cross_attention(AttentionCall("layer", occupant, q, k, v, options))
        base = expected + (0 if occupant is None else 0.1 * q)
        change_of_own = edited - expected[rows]
        base[rows] += change_of_own
        torch.testing.assert_close(out, base, atol=1e-5, rtol=0)


def test_an_entry_in_another_call_is_left_alone():
    change = edit(steps=1)
    control = AttentionControl(uuid4(), [ControlledTarget(change, uuid4())])
    q, k = torch.randn(2, 16, 8), torch.randn(2, TOKENS, 8)
    options = {"n_heads": 2, "activations_shape": [2, 8, 4, 4], "cond_or_uncond": [1], "uuids": [uuid4()]}
    with control.evaluation(0, 0):
        out = control.cross_attention(AttentionCall("layer", None, q, k, k, options))
    assert torch.equal(out, same_as_stock(q, k, k, options))


def test_another_evaluation_within_a_step_leaves_no_trace(model):
    """As perturbed attention guidance does it: after each prediction the conditional half again, otherwise attended."""

    def perturbed(n, context, value, options):
        return 0 * n, context, value

    def again(args):
        options = args["model_options"].copy()
        options["transformer_options"] = {**options["transformer_options"], "patches": {"attn1_patch": [perturbed]}}
        comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], args["input"], args["sigma"], options)
        calls.append(1)
        return args["denoised"]

    calls, watched = [], model.clone()
    watched.set_model_sampler_post_cfg_function(again)
    words = word_columns(TOKENS, (2, 3))
    change, blend = edit(), Blend(words, words, threshold=0.97, start=0)
    quiet, beside = sample(model, [change], blend), sample(watched, [change], blend)
    assert calls
    assert torch.equal(beside.targets[0], quiet.targets[0])
    assert torch.equal(beside.masks[0], quiet.masks[0])


def test_a_copy_of_the_entry_in_the_unconditional_half_is_left_alone():
    own = uuid4()
    control = AttentionControl(own, [ControlledTarget(edit(steps=1), own)])
    options = {"uuids": [own, uuid4(), own], "cond_or_uncond": [1, 1, 0]}
    assert control._own_rows(6, options) == slice(4, 6)
    assert control._own_rows(2, {"uuids": [own], "cond_or_uncond": [1]}) is None
