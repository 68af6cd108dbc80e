"""An edit that goes further than its prompt."""

from dataclasses import replace

import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host.random_edits import edit, first_prompt, model, no_edit, sample, seed
from comfyui_videop2p.tools.bench.meter import Meter
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions

__all__ = ["model", "seed"]

METHODS = inversions.DIRECT, inversions.DIRECT_EXACT
SIZE = (2, 16, 16)
CHANGE = edit()


def sampled(model, *emphasis, change=CHANGE, method=inversions.DIRECT_EXACT, **settings):
    return sample(model, [replace(change, emphasis=one) for one in emphasis], method=method, size=SIZE, **settings)


def test_it_changes_the_target_and_never_the_source(model):
    for method in METHODS:
        plain, further = (sampled(model, emphasis, method=method) for emphasis in (0.0, 1.0))
        assert torch.equal(further.source, plain.source)
        away = [(one.targets[0] - one.source).norm() for one in (plain, further)]
        assert away[1] > 1.2 * away[0]


def test_the_source_prompt_for_a_target_stays_the_source(model):
    """What the two prompts make of a latent is then the same."""
    plain, further = (sampled(model, e, change=no_edit(), target=first_prompt()).targets[0] for e in (0.0, 2.0))
    torch.testing.assert_close(further, plain, atol=1e-4, rtol=0)


def test_targets_beside_are_left_alone(model):
    (plain,), (further,), both = (
        sampled(model, *emphasis, target=first_prompt()).targets for emphasis in ((0.0,), (1.0,), (1.0, 0.0))
    )
    assert torch.equal(both[1], plain) and torch.equal(both[0], further) and not torch.equal(plain, further)


def test_it_costs_a_prediction_of_both_halves_a_step(model):
    def forwards(emphasis):
        counted, meter = model.clone(), Meter(SIZE[0])
        counted.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
        sampled(counted, emphasis)
        return meter.forwards()

    assert forwards(1.0) == forwards(0.0) + 2 * CHANGE.steps
