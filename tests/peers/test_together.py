"""All of them on one model: LoRA, ControlNet, model patches, guidance, image prompts and motion modules."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.test_wiring import control_net  # noqa: F401
from comfyui_videop2p.tests.peers.stock import GUIDANCE, UNET, sampled
from comfyui_videop2p.tests.peers.test_image_prompts import show  # noqa: F401
from comfyui_videop2p.tests.peers.test_motion import AnimateDiffEvolved, StandIn
from comfyui_videop2p.tests.peers.test_stock_loaders import loras  # noqa: F401

import nodes as stock


@pytest.fixture(scope="module")
def evolved(show):  # noqa: F811
    """Of the pack where the image prompts are of theirs."""
    return (StandIn if show.stand_in else AnimateDiffEvolved)().evolved


def test_all_together(show, evolved, loras, control_net, demo, inverting):  # noqa: F811
    def inflate(model):
        return run("InflateUNet", model=model)[0]

    _, clip = loras[0](*demo[:2])
    others = [
        lambda model: loras[0](model, demo[1])[0],
        UNET["FreeU"],
        show,
        GUIDANCE["PerturbedAttentionGuidance"],
        lambda model: evolved(model, moving=True),
        GUIDANCE["RescaleCFG"],
    ]
    hints = torch.rand(FRAMES, 128, 128, 3, generator=torch.Generator().manual_seed(1))

    def controlled(*prompts):
        return stock.ControlNetApplyAdvanced().apply_controlnet(*prompts, control_net, hints, 0.5, 0.0, 1.0)

    edit, source, target, _ = control(clip, blend_source="rabbit", cross_window=0.5)
    source, null = controlled(source, encode(clip, ""))
    target, _ = controlled(target, null)
    given = {"source": [source], "target": [target], "null": [null]}
    found = []
    for place in (0, 3, len(others)):
        model = demo[0]
        for patch in [*others[:place], inflate, *others[place:]]:
            model = patch(model)
        inversion = run("DDIMInvert", **inverting | {"model": model, "source": source, "null": null, "steps": 2})[0]
        (edited,), _, (mask,) = sample(model, inversion, edit, **given)
        found.append((inversion.trajectory, edited["samples"], mask))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)
    nothing = control(clip, TARGET, cross_window=0.0, temporal_window=0.0)[0]
    (ours,), *_ = sample(model, inversion, nothing, **given)
    assert torch.equal(ours["samples"], sampled(model, target, null, inversion))
