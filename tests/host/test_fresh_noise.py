"""Noise that is drawn anew where the old thing is, which the source's own words and attention show."""

from dataclasses import replace

import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host.random_edits import TOKENS, edit, first_prompt, model, sample, seed
from comfyui_videop2p.tools.bench.meter import Meter
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns

__all__ = ["model", "seed"]

EXACT = {"method": inversions.DIRECT_EXACT, "size": (2, 16, 16)}
WORDS = Blend(word_columns(TOKENS, [2]), word_columns(TOKENS, [3]), start=1.0)


CHANGE = edit()


def fresh(share):
    return replace(CHANGE, fresh=share)


def test_it_changes_the_target_and_never_the_source(model):
    plain, renewed = (sample(model, [fresh(share)], WORDS, **EXACT) for share in (0.0, 0.9))
    assert torch.equal(renewed.source, plain.source)
    assert (renewed.targets[0] - plain.targets[0]).abs().max() > 1e-2


def test_the_same_edit_draws_the_same(model):
    first, second = (sample(model, [fresh(0.9)], WORDS, **EXACT).targets[0] for _ in range(2))
    assert torch.equal(first, second)


def test_it_draws_none_for_the_targets_beside(model):
    alone = sample(model, [CHANGE], WORDS, target=first_prompt(), **EXACT).targets[0]
    beside = sample(model, [fresh(0.9), CHANGE], WORDS, target=first_prompt(), **EXACT).targets[1]
    assert torch.equal(alone, beside)


def test_it_costs_one_prediction_of_the_source(model):
    def forwards(share):
        counted, meter = model.clone(), Meter(EXACT["size"][0])
        counted.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
        sample(counted, [fresh(share)], WORDS, **EXACT)
        return meter.forwards()

    assert forwards(0.9) == forwards(0.0) + 1
