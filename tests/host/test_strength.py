"""An edit that begins later than at the noise."""

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host.calls import FRAMES, control, run, sample
from comfyui_videop2p.tools.bench.meter import Meter

STEPS = 4
METHODS = "direct", "direct-exact", "virtual", "negative-prompt"


@pytest.fixture(scope="module")
def inversions(inverting):
    return {method: run("DDIMInvert", **inverting | {"method": method, "steps": STEPS})[0] for method in METHODS}


def edit_of(clip, strength, **settings):
    return control(clip, strength=strength, cross_window=0.5, **settings)[0]


@pytest.mark.parametrize("method", METHODS)
def test_it_leaves_out_the_steps_before(inversions, model, clip, method):
    counted, meter = model.clone(), Meter(FRAMES)
    counted.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)

    def forwards(strength):
        sample(counted, inversions[method], edit_of(clip, strength))
        return meter.forwards()

    whole, half = forwards(1.0), forwards(0.5)
    # The source is predicted in the two halves of the cross window, or in all steps.
    assert (whole, half) == {"direct": (10, 5), "direct-exact": (10, 5)}.get(method, (12, 6))


@pytest.mark.parametrize("method", METHODS)
def test_less_of_it_is_nearer_to_the_source(inversions, model, clip, method):
    edits = [edit_of(clip, strength) for strength in (0.25, 0.5, 1.0)]
    edited, source, _ = sample(model, inversions[method], *edits)
    changed = [(latent["samples"] - source["samples"]).norm() for latent in edited]
    assert 0 < changed[0] < changed[1] < changed[2]


def test_edits_of_several_strengths_are_each_as_alone(inversions, model, clip, one_thread):
    edits = [edit_of(clip, strength, blend_source="rabbit", blend_target="rabbit") for strength in (0.5, 1.0)]
    together, *_ = sample(model, inversions["direct-exact"], *edits)
    for latent, one in zip(together, edits, strict=True):
        alone = sample(model, inversions["direct-exact"], one)[0][0]
        assert torch.equal(latent["samples"], alone["samples"])


def test_a_kept_source_is_read_from_the_step_at_which_it_begins(inverting, inversions, model, clip):
    keeping = {"method": "direct-exact", "steps": STEPS, "keep_source": "in memory", "kept_cross_window": 0.6}
    kept = run("DDIMInvert", **inverting | keeping)[0]
    edits = [edit_of(clip, strength, temporal_window=0.0) for strength in (0.5, 1.0)]
    for one in edits:
        by_records, by_source = (sample(model, path, one)[0][0] for path in (kept, inversions["direct-exact"]))
        torch.testing.assert_close(by_records["samples"], by_source["samples"], atol=5e-2, rtol=0)
    with pytest.raises(ValueError, match="reaches to step 4, the inversion kept the source's queries and keys up to"):
        sample(model, kept, control(clip, strength=0.5, cross_window=1.0, temporal_window=0.0)[0])


def test_it_takes_one_step_at_least(inversions, model, clip):
    edited, source, _ = sample(model, inversions["direct-exact"], edit_of(clip, 0.05))
    assert (edited[0]["samples"] - source["samples"]).norm() > 0
