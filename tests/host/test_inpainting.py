"""What an inpainting model goes by: the picture and the mask in its conditionings."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.family_worlds import CFG, STEPS, World, changed, euler, random
from comfyui_videop2p.tests.host.models import tiny
from comfyui_videop2p.videop2p_core.host.model.image_conditioning import check_alike, check_inverted_alike, has_picture


def test_without_a_picture_an_inpainting_model_draws_from_the_text():
    """The host shows it a blank picture, all of it to be painted."""
    image, clip = tiny("sd15_inpaint")
    latent = {"samples": random(FRAMES, 4, 12, 10)}
    source, target, null = (encode(clip, text) for text in (SOURCE, TARGET, ""))
    inversion, noise, *_ = run(
        "DDIMInvert", model=image, source=source, null=null, latent=latent, steps=STEPS, cfg=CFG, method="direct"
    )
    edit = control(clip, cross_window=0.0, temporal_window=0.0)[0]
    edited = sample(image, inversion, edit)[0][0]["samples"]
    expected = euler(image, noise["samples"], target, null, CFG, inversion.sigmas)
    torch.testing.assert_close(edited, expected, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def painter():
    """Frames that see themselves and frame 0 alone, so that it does not matter which others share their pass."""
    with torch.inference_mode():
        world = World("sd15_inpaint", frames=5)
    world.tuning = run("InflateUNet", model=world.image, temporal_layers=False)
    return world


def test_each_pass_is_shown_its_own_frames(painter):
    whole = painter.model
    cut = run("InflateUNet", model=painter.image, temporal_layers=False, frames_per_pass=3, pass_overlap=1)[0]
    found = []
    for painter.tuning in ((whole,), (cut,)):
        inversion = painter.invert("negative-prompt")[0]
        found.append(painter.edit(inversion, cross_window=0.8)[0])
    painter.tuning = (whole,)
    torch.testing.assert_close(*found, atol=2e-3 * found[0].std().item(), rtol=0)


@pytest.mark.parametrize("lacking", ["source", "target", "null", "all"])
def test_a_picture_that_a_branch_lacks_is_asked_for(painter, lacking):
    inversion, *_ = painter.inverted()
    given = {name: [getattr(painter, name)] for name in ("source", "target", "null") if lacking not in (name, "all")}
    sentence = "the clip was inverted with a" if "source" not in given else f"the {lacking} conditioning has none"
    with pytest.raises(ValueError, match=f"{sentence}.*InpaintModelConditioning"):
        sample(painter.model, inversion, control(painter.clip)[0], **given)


def test_a_picture_that_the_model_does_not_look_at_is_nothing_to_it():
    """InpaintModelConditioning serves plain checkpoints too, which read its mask at most."""
    plain, painter = (tiny(family)[0].model for family in ("sd15", "sd15_inpaint"))
    shown = [[None, {"concat_latent_image": torch.zeros(1)}]]
    assert has_picture(painter, shown) and not has_picture(plain, shown)
    check_alike(plain, source=shown, target=[[None, {}]])
    check_inverted_alike(plain, False, shown)


def test_of_an_older_inversion_it_is_not_known_whether_it_had_a_picture():
    painter = tiny("sd15_inpaint")[0].model
    for shown in ([[None, {"concat_latent_image": torch.zeros(1)}]], [[None, {}]]):
        check_inverted_alike(painter, None, shown)


def test_pictures_of_other_frames_are_refused(painter):
    few = changed(painter.source, concat_latent_image=painter.picture(seed=1)[:3])
    with pytest.raises(ValueError, match="the source conditioning has 3 pictures to paint in, the clip 5 "):
        painter.invert("direct", source=few)
    with pytest.raises(
        ValueError, match="the source conditioning has a picture, .* for the model to go by .*, the null"
    ):
        painter.invert("direct", null=encode(painter.clip, ""))
    one = changed(painter.source, concat_mask=painter.half_mask()[:1])
    alike, own = (painter.invert("direct", source=source)[0] for source in (one, painter.source))
    assert torch.equal(alike.trajectory, own.trajectory)
