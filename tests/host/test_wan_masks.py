"""Where an edit on Wan acts: blend words, masks of pictures and of latent frames, maps of words."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import run
from comfyui_videop2p.tests.host.wan_edits import BLUE, FRAMES, controlled, edited, inverted, latent_for, models, text

__all__ = ["models", "text"]


@pytest.mark.parametrize("kind", ["t2v", "i2v", "vace"])
def test_outside_of_the_blend_words_the_source_is_kept(models, text, kind):
    latent = latent_for(models[kind])
    inversion, *_ = inverted(models[kind], text, latent)
    edit = controlled(text, BLUE, blend_source="red", blend_target="blue", threshold=0.99, blend_start=0.0)
    ours, mask = edited(models[kind], inversion, edit)
    factor = models[kind].model.latent_format.spacial_downscale_ratio
    assert mask.shape == (4 * (FRAMES - 1) + 1, 6 * factor, 4 * factor)
    of_frames = mask[::4, ::factor, ::factor].bool()
    assert 0 < of_frames.float().mean() < 1
    outside = ~of_frames[None, None].expand_as(ours)
    assert torch.allclose(ours[outside], latent["samples"][outside], atol=1e-5)
    assert not torch.allclose(ours[~outside], latent["samples"][~outside], atol=1e-2)


def test_a_noise_mask_keeps_the_source_where_it_is_0(models, text):
    """Of Wan 2.2 5B too, where a sampler of the host's would tell the model that those places are clean."""
    for kind in ("t2v", "2.2 5b"):
        model = models[kind]
        inversion, *_ = inverted(model, text)
        guider, sigmas, latent = run("DecoupledGuider", model=model, inversion=inversion, edit=controlled(text, BLUE))
        (sampler,) = run("DecoupledSampler")
        whole, _ = edited(model, inversion, controlled(text, BLUE))
        mask = torch.ones(1, 1, FRAMES, 6, 4)
        mask[:, :, 0] = 0
        with torch.inference_mode():
            given = torch.zeros_like(latent["samples"]), latent["samples"], sampler, sigmas
            out = guider.sample(*given, denoise_mask=mask, disable_pbar=True).cpu()
            everywhere = guider.sample(*given, denoise_mask=torch.ones_like(mask), disable_pbar=True).cpu()
        assert torch.allclose(out[:, :, 0], latent["samples"][:, :, 0], atol=1e-5)
        assert not torch.allclose(out[:, :, 1:], latent["samples"][:, :, 1:], atol=1e-2)
        assert torch.allclose(everywhere, whole, atol=1e-4)
        pictures = torch.ones(4 * (FRAMES - 1) + 1, 6, 4)
        pictures[0] = 0
        alike, _ = edited(model, inversion, controlled(text, BLUE, mask=pictures))
        assert torch.allclose(out, alike, atol=1e-4)


def test_masks_of_pictures_serve_latent_frames(models, text):
    model, latent = models["t2v"], latent_for(models["t2v"])
    inversion, *_ = inverted(model, text, latent)
    mask = torch.zeros(4 * (FRAMES - 1) + 1, 48, 32)
    mask[5:] = 1  # the last latent frame's pictures
    ours, out = edited(model, inversion, controlled(text, BLUE, mask=mask))
    assert torch.equal(out[:, 0, 0], torch.tensor([0.0] * 5 + [1.0] * 4))
    assert torch.allclose(ours[:, :, :2], latent["samples"][:, :, :2], atol=1e-5)
    assert not torch.allclose(ours[:, :, 2], latent["samples"][:, :, 2], atol=1e-2)
    with pytest.raises(ValueError, match="3 masks for a clip of 9 pictures"):
        edited(model, inversion, controlled(text, BLUE, mask=mask[-3:]))


@pytest.mark.parametrize("branch", ["source", "target"])
def test_maps_of_words_are_shown_for_every_picture(models, text, branch):
    inversion, *_ = inverted(models["t2v"], text)
    _, masks, *_ = run(
        "AttentionMaps", model=models["t2v"], inversion=inversion, edit=controlled(text, BLUE), words="ball",
        branch=branch,
    )  # fmt: skip
    assert masks[0].shape == (9, 48, 32) and masks[0].max() == 1
