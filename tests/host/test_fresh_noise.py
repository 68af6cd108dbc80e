"""Noise that is drawn anew, under which the source lies as well."""

from dataclasses import replace

import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host.random_edits import TOKENS, edit, first_prompt, model, no_edit, sample, seed
from comfyui_videop2p.tools.bench.meter import Meter
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns

__all__ = ["model", "seed"]

EXACT = {"method": inversions.DIRECT_EXACT, "size": (2, 16, 16)}
WORDS = Blend(word_columns(TOKENS, [2]), word_columns(TOKENS, [3]), start=1.0)


CHANGE, NOTHING = edit(), no_edit()


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


def test_the_source_is_predicted_beside_it_in_every_step(model):
    """Its noise is none that the clip was inverted to."""

    def forwards(share):
        counted, meter = model.clone(), Meter(EXACT["size"][0])
        counted.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
        sample(counted, [replace(NOTHING, fresh=share)], **EXACT)
        return meter.forwards()

    assert forwards(0.9) == forwards(0.0) + NOTHING.steps


def test_with_all_of_it_the_inverted_noise_does_not_matter(model):
    """As after a virtual inversion with the same seed."""
    edited = [
        sample(model, [fresh(1.0)], method=method, size=EXACT["size"]).targets[0]
        for method in (inversions.DIRECT_EXACT, inversions.DIRECT_RESIDUAL)
    ]
    assert torch.equal(*edited)
