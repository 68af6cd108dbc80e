"""Guidance that is coupled, proximal, or by a null text for every frame."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from comfyui_videop2p.tests.host.random_edits import assert_close, conditioning, edit, inverted, model, sample, seed
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.target import PreparedEdit, Target

__all__ = ["model", "seed"]


@pytest.mark.parametrize("method", [inversions.DIRECT, inversions.NEGATIVE_PROMPT, inversions.SHARED_NULL_TEXT])
def test_coupled_guidance_is_another_guidance(model, method):
    change = edit()
    apart, coupled = (sample(model, [change], method=method, coupled=coupled) for coupled in (False, True))
    assert (apart.targets[0] - coupled.targets[0]).abs().max() > 1e-3


def test_proximal_guidance_is_hard_or_soft(model):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null, inversions.PROXIMAL)
    change = edit()

    def edited(**settings):
        prepared = PreparedEdit(replace(start, **settings), source, null, [Target(target, change)])
        return decoupled_sample(model, prepared).targets[0]

    hard, soft, nothing_kept = edited(), edited(proximal_soft=True), edited(proximal_quantile=1.0)
    plain = edited(method=inversions.NEGATIVE_PROMPT)
    for one, other in pairwise((hard, soft, nothing_kept, plain)):
        assert (one - other).abs().max() > 1e-3


def test_per_frame_null_text_that_is_the_same_for_all_frames_is_the_shared_one(model):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    shared = inverted(model, source, null)
    alike = replace(shared, method=inversions.PER_FRAME_NULL_TEXT, null=shared.null.expand(-1, 2, -1, -1))
    change = edit()
    targets = [Target(target, change)]
    one, other = (decoupled_sample(model, PreparedEdit(s, source, null, targets)) for s in (shared, alike))
    assert_close(model, one.targets[0], other.targets[0])
    assert_close(model, one.source, other.source)
