"""The source's attention, recorded and replayed in its targets: alone or several, in one call or in two."""

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host.random_edits import (
    STEPS,
    TOKENS,
    assert_close,
    conditioning,
    edit,
    first_prompt,
    model,
    no_edit,
    sample,
    seed,
    take_the_source,
)
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns
from comfyui_videop2p.videop2p_core.edit.matrices import Edit

__all__ = ["model", "seed"]


def test_the_same_prompt_null_guidance_and_noise_reproduce_the_source(model):
    result = sample(model, [take_the_source()], target=first_prompt(), coupled=True)
    assert_close(model, result.targets[0], result.source)


def test_replay_matters(model):
    """Under another prompt the source's attention changes the result: the law above does not hold by itself."""
    edited, plain = sample(model, [take_the_source()]).targets[0], sample(model, [no_edit()]).targets[0]
    assert (edited - plain).abs().max() > 0.01


@pytest.mark.parametrize("method", [inversions.SHARED_NULL_TEXT, inversions.DIRECT, inversions.PROXIMAL])
def test_several_targets_equal_each_alone(model, method):
    words = Blend(word_columns(TOKENS, [2]), word_columns(TOKENS, [3]))
    prompt, first, second = conditioning(), edit(), take_the_source()
    together = sample(model, [first, second], words, target=prompt, method=method, size=(2, 16, 16))
    for index, alone in enumerate((first, second)):
        single = sample(model, [alone], words, target=prompt, method=method, size=(2, 16, 16))
        assert_close(model, together.targets[index], single.targets[0])
        assert torch.equal(together.masks[index], single.masks[0])


def entries_per_call(model):
    """(a clone that counts, how many conditioning entries each model call held)"""
    counted, calls = model.clone(), []

    def count(executor, *args, **kwargs):
        calls.append(len(args[5]["cond_or_uncond"]))
        return executor(*args, **kwargs)

    counted.add_wrapper(WrappersMP.APPLY_MODEL, count)
    return counted, calls


@pytest.mark.parametrize("tokens", [TOKENS, 2 * TOKENS])
def test_one_conditioning_a_call_changes_nothing(model, monkeypatch, tokens):
    """With prompts of unlike length the host repeats the shorter where both halves share a call."""
    target, change = conditioning(tokens), edit(tokens=(TOKENS, tokens))
    counted, calls = entries_per_call(model)
    shared = sample(counted, [change], target=target)
    assert 2 in calls  # the target's; a source under a null text goes half by half
    calls.clear()
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)
    split = sample(counted, [change], target=target)
    assert set(calls) == {1}
    assert_close(model, split.source, shared.source)
    assert_close(model, split.targets[0], shared.targets[0])


def test_the_direct_source_costs_one_conditional_forward_and_none_where_no_target_looks(model, caplog):
    counted, calls = entries_per_call(model)
    once = edit()
    source, target = once.source.clone(), once.target.clone()
    source[1:], target[1:] = 0, 1
    only_first = Edit(source, target, torch.tensor([True, False, False]))
    sample(counted, [only_first], method=inversions.DIRECT)
    assert calls == [1, 2, 2, 2]
    # On a GPU the host says so where it cannot predict both halves in one call.
    assert "not on same device" not in caplog.text


def test_a_node_runs_it_in_inference_mode(model):
    change = edit()
    with torch.inference_mode():
        inside = sample(model, [change], coupled=True)
    assert torch.equal(inside.targets[0], sample(model, [change], coupled=True).targets[0])


def test_previews_come_once_a_step(model):
    seen = []
    sample(
        model, [edit()], callback=lambda step, denoised, x, steps: seen.append((step, denoised.shape, x.shape, steps))
    )
    assert seen == [(step, (2, 4, 8, 8), (2, 4, 8, 8), STEPS) for step in range(STEPS)]
