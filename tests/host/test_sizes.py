"""Any size, any number of frames, masks of other sizes, images with alpha or in grey."""

import json

import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.tests.host.models import tiny, tiny_vae
from comfyui_videop2p.videop2p_core.edit.local_blend import blend_grid, fit_mask
from comfyui_videop2p.videop2p_core.images import metrics

STEPS = 2


class World:
    def __init__(self, family):
        image, self.clip = tiny(family)
        self.model = run("InflateUNet", model=image)[0]
        self.source, self.null = encode(self.clip, SOURCE), encode(self.clip, "")

    def invert(self, frames, size, **inputs):
        noise = torch.randn(frames, 4, *size, generator=torch.Generator().manual_seed(0))
        given = {"model": self.model, "source": self.source, "null": self.null, "latent": {"samples": noise}}
        return run("DDIMInvert", **given | {"steps": STEPS, "method": "direct"} | inputs)

    def edit(self, inversion, **settings):
        edit = control(self.clip, **settings)[0]
        edited, reconstruction, masks = sample(self.model, inversion, edit, null=[self.null])
        return edited[0]["samples"], reconstruction["samples"], masks[0]


@pytest.fixture(scope="module")
def world():
    with torch.inference_mode():
        return World("sd15")


@pytest.fixture(scope="module")
def vae():
    return tiny_vae()


def check_edit(world, frames, size, mask_frames=1):
    """A mask of quite another size lets the edit through on the right; the words blend within it."""
    mask = torch.zeros(mask_frames, 50, 34)
    mask[..., 17:] = 1
    inversion, noise, *_ = world.invert(frames, size)
    edited, reconstruction, used = world.edit(
        inversion, cross_window=0.8, blend_source="rabbit", threshold=0.1, blend_start=0.0, mask=mask
    )
    assert edited.shape == reconstruction.shape == noise["samples"].shape == (frames, 4, *size)
    assert used.shape == (frames, *(8 * side for side in size))
    at_latents = used[:, None, ::8, ::8]
    assert (at_latents[:, 0] <= fit_mask(mask, frames, size) + 1e-6).all() and at_latents.amax((1, 2, 3)).min() > 0
    change = (edited - reconstruction).abs()
    assert edited.isfinite().all() and change.amax((1, 2, 3)).min() > 1e-3
    assert change[(at_latents == 0).expand_as(change)].max() < 1e-5


@pytest.mark.parametrize("size", [(9, 13), (13, 9), (8, 24), (24, 8), (11, 11), (1, 4), (21, 25)])
def test_any_size_in_portrait_and_landscape(world, size):
    check_edit(world, 2, size)


@pytest.mark.parametrize("frames", [1, 2, 3, 17, 64])
def test_any_number_of_frames(world, frames):
    check_edit(world, frames, (6, 4), mask_frames=frames)


def test_64_frames_in_passes():
    with torch.inference_mode():
        world = World("sd15")
    world.model = run("InflateUNet", model=world.model, frames_per_pass=16, pass_overlap=2)[0]
    check_edit(world, 64, (6, 4))


def test_odd_sizes_of_sdxl():
    """It has word maps at a half and at a quarter of the latent's size, each rounded up."""
    with torch.inference_mode():
        world = World("koala")
    for size in ((21, 27), (43, 39)):
        assert blend_grid(*size) == (11, (size[1] + 1) // 2 if size[0] == 21 else 10)
        check_edit(world, 1, size)
    inversion, *_ = world.invert(1, (16, 12))
    with pytest.raises(ValueError, match="no cross attention of this model works on 16x12 cells.*take larger frames"):
        world.edit(inversion, blend_source="rabbit")
    assert world.edit(inversion)[0].isfinite().all()


@pytest.mark.parametrize("frames, size", [(1, (5, 7)), (3, (13, 9))])
@pytest.mark.parametrize("method", ["shared null-text", "per-frame null-text"])
def test_null_texts_of_odd_sizes(world, frames, size, method):
    inversion, _, reconstruction, *_ = world.invert(frames, size, method=method, inner_steps=1)
    assert inversion.null.shape == (STEPS, 1 if method == "shared null-text" else frames, 77, 768)
    assert reconstruction["samples"].isfinite().all() and reconstruction["samples"].shape == (frames, 4, *size)


@pytest.mark.parametrize("frames, size", [(1, (5, 7)), (3, (13, 9))])
def test_tuning_on_odd_sizes(world, frames, size):
    latent = {"samples": torch.randn(frames, 4, *size, generator=torch.Generator().manual_seed(0))}
    tuned, tuning, _ = run("TuneOnVideo", model=world.model, positive=world.source, latent=latent, steps=1)
    assert len(tuning.losses) == 1 and tuning.losses.isfinite().all()


# --- images with alpha, in grey, of sizes that no latent has ----------------------------------------------------------

FRAMES, HEIGHT, WIDTH = 2, 27, 41  # the VAE crops to 24 x 40


def images():
    """(channels, colour): the same pictures with alpha and without, and in grey."""
    colour = torch.rand(FRAMES, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(0))
    grey, alpha = colour[..., :1], torch.rand(FRAMES, HEIGHT, WIDTH, 1, generator=torch.Generator().manual_seed(1))
    repeated = grey.expand(-1, -1, -1, 3)
    return {
        "colour and alpha": (torch.cat([colour, alpha], dim=-1), colour),
        "grey": (grey, repeated),
        "grey and alpha": (torch.cat([grey, alpha], dim=-1), repeated),
    }


@pytest.fixture(scope="module", params=images())
def alike(request):
    """Images of other channels, and the same in three."""
    return images()[request.param]


def test_a_check_of_the_reconstruction(world, vae, alike):
    given, colour = alike
    with torch.inference_mode():
        latent = {"samples": vae.encode(colour)}
    assert latent["samples"].shape == (FRAMES, 4, HEIGHT // 8, WIDTH // 8)
    psnr, expected = (world.invert(FRAMES, (1, 1), latent=latent, vae=vae, images=some)[4] for some in (given, colour))
    assert psnr == expected > 0


def test_maps_over_the_images(world, alike):
    inversion, *_ = world.invert(FRAMES, (5, 7))
    edit = control(world.clip)[0]
    given, expected = (
        run("AttentionMaps", model=world.model, inversion=inversion, edit=edit, words="rabbit", images=some)[0][0]
        for some in alike
    )
    assert torch.equal(given, expected) and given.shape == (FRAMES, 40, 56, 3) and given.std() > 0.01


def test_comparison_and_figures(alike):
    given, colour = alike
    other = colour.flip(0)
    for mode in ("side by side", "wipe", "difference"):
        views = [run("CompareVideos", before=some, after=other, mode=mode)[0] for some in alike]
        assert torch.equal(*views) and views[0].shape[-1] == 3
    _, report = run("EditMetrics", source=given, edited=other, mask=torch.zeros(1, 10, 7))
    assert json.loads(report)["psnr"] == pytest.approx(metrics.psnr(colour, other), abs=1e-4)


def test_sheets_and_regions(alike):
    sheets = [run("ContactSheet", images=[some, some], labels=["a", "b"], frame=[1])[0] for some in alike]
    assert torch.equal(*sheets)
    mask = torch.zeros(1, 10, 7)
    mask[:, 3:6, 2:5] = 1
    regions = [run("EditRegion", masks=mask, images=some, grow=0, feather=0) for some in alike]
    assert all(torch.equal(a, b) for a, b in zip(*regions, strict=True) if isinstance(a, torch.Tensor))
