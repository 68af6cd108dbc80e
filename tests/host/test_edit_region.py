"""Edit Region: from where words look to where another model paints."""

import re

import pytest
import torch
import torch.nn.functional as F
from comfy_execution.graph_utils import ExecutionBlocker
from comfyui_videop2p.tests.host.calls import encode, run
from einops import rearrange

FRAMES, HEIGHT, WIDTH = 3, 40, 48
PLAIN = {"grow": 0, "feather": 0, "fill": False, "steady": 0}


def region_of(masks, **inputs):
    return run("EditRegion", masks=masks, **PLAIN | inputs)[0]


def box(frames=1, top=15, left=15, height=10, width=12):
    mask = torch.zeros(frames, HEIGHT, WIDTH)
    mask[:, top : top + height, left : left + width] = 1
    return mask


@pytest.fixture
def images():
    return torch.rand(FRAMES, 80, 96, 3, generator=torch.Generator().manual_seed(0))


# --- its shape --------------------------------------------------------------------------------------------------------


def test_what_exceeds_the_threshold_is_the_region():
    soft = torch.linspace(0, 1, WIDTH).expand(1, HEIGHT, WIDTH)
    for threshold in (0.3, 0.5):
        assert torch.equal(region_of(soft, threshold=threshold), (soft > threshold).float())


def test_a_point_grows_to_a_disc():
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    for radius in (1, 7):
        disc = (y - 20) ** 2 + (x - 24) ** 2 <= radius**2
        assert torch.equal(region_of(box(1, 20, 24, 1, 1), grow=radius)[0], disc.float())


def test_holes_are_filled_and_bays_are_not():
    mask = box(2)
    mask[0, 18:21, 18:21] = 0  # a hole
    mask[1, 15:21, 18:21] = 0  # a bay
    assert torch.equal(region_of(mask, fill=True), torch.stack([box()[0], mask[1]]))
    assert torch.equal(region_of(mask), mask)


def test_a_region_at_the_edge_of_the_picture_has_no_hole_there():
    mask = box(1, 0, 0, 12, 12)
    mask[0, 0:3, 4:8] = 0
    assert torch.equal(region_of(mask, fill=True), mask)


def test_it_fades_over_the_feather_to_either_side_of_its_border():
    feather = 4
    faded = region_of(box(1, 12, 12, 16, 20), feather=feather)[0]
    row = faded[20]
    torch.testing.assert_close(row[12 + feather : 32 - feather], torch.ones(12))
    assert not row[: 12 - feather].any() and not row[32 + feather :].any()
    assert row[11] < 0.5 < row[12] and (row[12 - feather : 12 + feather].diff() > 0).all()


def test_it_does_not_fade_at_the_edge_of_the_picture():
    faded = region_of(box(1, 0, 0, HEIGHT, 20), feather=4)[0]
    torch.testing.assert_close(faded[:, :16], torch.ones(HEIGHT, 16))


def test_grown_as_far_as_it_fades_it_holds_the_thing():
    thing = box()
    assert region_of(thing, grow=5, feather=5)[thing > 0].min() > 0.97
    assert region_of(thing, grow=0, feather=5)[thing > 0].min() < 0.5


def test_steadied_it_is_what_it_is_in_neighbouring_frames():
    masks = torch.stack([box(1, 15, 4 + 8 * frame)[0] for frame in range(5)])
    for reach in (0, 1, 3):
        expected = [masks[max(0, i - reach) : i + reach + 1].amax(0) for i in range(5)]
        assert torch.equal(region_of(masks, steady=reach), torch.stack(expected))


def test_frames_without_the_thing_stay_empty():
    masks = box(FRAMES)
    masks[1] = 0
    region = region_of(masks, grow=3, feather=2, fill=True)
    assert not region[1].any() and region[0].any() and region[2].any()


# --- beside the images ------------------------------------------------------------------------------------------------


def test_it_takes_the_images_size(images):
    region = region_of(box(FRAMES), images=images)
    assert region.shape == (FRAMES, 80, 96)
    expected = torch.zeros(80, 96)
    expected[30:50, 30:54] = 1
    assert (region - expected).abs().sum(dim=(1, 2)).max() < 0.05 * expected.sum()


def test_one_mask_serves_all_images(images):
    assert torch.equal(region_of(box(), images=images), region_of(box(FRAMES), images=images))


def test_the_region_is_grey_in_the_images(images):
    region, greyed, _ = run("EditRegion", masks=box(FRAMES), images=images, **PLAIN)
    inside = region > 0
    assert (greyed[inside] == 0.5).all() and torch.equal(greyed[~inside], images[~inside])


def test_the_preview_has_colour_in_the_region_alone(images):
    region, _, preview = run("EditRegion", masks=box(FRAMES), images=images, **PLAIN)
    inside = region > 0
    assert torch.equal(preview[inside], images[inside])
    outside = preview[~inside]
    assert (outside == outside[:, :1]).all() and outside.max() < images[~inside].mean(-1).max()


def test_images_with_alpha_will_do(images):
    with_alpha = torch.cat([images, images[..., :1]], dim=-1)
    for plain, other in zip(
        *(run("EditRegion", masks=box(FRAMES), images=given, **PLAIN) for given in (images, with_alpha)), strict=True
    ):
        assert torch.equal(plain, other)


def test_without_images_only_what_shows_them_is_blocked():
    region, *shown = run("EditRegion", masks=box(), **PLAIN)
    assert torch.equal(region, box())
    assert all(isinstance(blocked, ExecutionBlocker) and "connect its images" in blocked.message for blocked in shown)


def test_the_inputs_stay_as_they_are(images):
    masks = box(FRAMES)
    before = masks.clone(), images.clone()
    run("EditRegion", masks=masks, images=images)
    assert torch.equal(masks, before[0]) and torch.equal(images, before[1])


# --- what paints in it ------------------------------------------------------------------------------------------------


class WanLatents:
    """A stand-in for Wan's VAE, which keeps what it is given: 16 channels, 8 pixels and 4 frames to a cell."""

    def __init__(self):
        self.given = []

    def encode(self, frames):
        self.given.append(frames)
        count, height, width, _ = frames.shape
        return torch.zeros(1, 16, (count - 1) // 4 + 1, height // 8, width // 8)


def test_wan_vace_takes_it():
    from comfy_extras.nodes_wan import WanVaceToVideo

    count, side = 9, 64
    images = torch.rand(count, side, side, 3, generator=torch.Generator().manual_seed(0))
    masks = torch.stack([box(1, 10, 4 + 3 * frame)[0] for frame in range(count)])
    region, greyed, _ = run("EditRegion", masks=masks, images=images, **PLAIN | {"grow": 2})
    vae, nothing = WanLatents(), [[torch.zeros(1, 1, 1), {}]]
    positive, _, latent, _ = WanVaceToVideo.execute(
        nothing, nothing, vae, side, side, count, 1, 1.0, control_video=greyed, control_masks=region
    ).result
    kept, repainted = vae.given
    inside = region > 0
    assert torch.equal(kept[~inside], images[~inside]) and (kept[inside] == 0.5).all() and (repainted == 0.5).all()
    assert latent["samples"].shape == (1, 16, 3, 8, 8)
    asked = positive[0][1]
    assert asked["vace_frames"][0].shape == (1, 32, 3, 8, 8)
    # An 8 x 8 block of pixels lies in 64 channels; of the frames in a cell of time one speaks for all.
    cells = rearrange(asked["vace_mask"][0][0], "(high wide) t h w -> t (h high) (w wide)", high=8)
    assert torch.equal(cells, region[[1, 4, 7]])


def test_steadied_by_4_it_holds_for_all_frames_of_a_cell_of_wan():
    for count in (5, 9, 17, 81):
        cells = (count - 1) // 4 + 1
        speaks = F.interpolate(torch.arange(count)[None, None].float(), size=cells, mode="nearest-exact").flatten()
        cell_of = (torch.arange(count) + 3) // 4
        assert (torch.arange(count) - speaks[cell_of]).abs().max() <= 4


def test_inpainting_nodes_take_it(demo, clip, images):
    from nodes import InpaintModelConditioning, SetLatentNoiseMask, VAEEncodeForInpaint

    vae, prompt = demo[2], encode(clip, "a red rabbit on the beach")
    region = region_of(box(FRAMES), images=images, grow=4, feather=4)
    with torch.inference_mode():
        latents = [
            VAEEncodeForInpaint().encode(vae, images, region)[0],
            InpaintModelConditioning().encode(prompt, prompt, images, vae, region)[2],
            SetLatentNoiseMask().set_mask({"samples": vae.encode(images)}, region)[0],
        ]
    for latent in latents:
        assert latent["samples"].shape == (FRAMES, 4, 10, 12)
        assert latent["noise_mask"].reshape(-1, 80, 96).shape == (FRAMES, 80, 96)
        assert latent["noise_mask"].max() > 0.9 and latent["noise_mask"].min() == 0


# --- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "masks, inputs, sentence",
    [
        (torch.zeros(2, 8, 8), {}, "the region is empty: the masks exceed 0.3 nowhere. Lower the threshold"),
        (torch.full((2, 8, 8), 0.2), {}, "the region is empty"),
        (torch.ones(2, 8, 8), {}, "the region covers every frame whole"),
        (box(2), {"grow": 99}, "the region covers every frame whole"),
        (torch.zeros(0, 8, 8), {}, "there are no masks: connect at least one"),
        (torch.full((1, 8, 8), torch.nan), {}, "the masks hold values that are not numbers"),
        (box(), {"images": torch.zeros(0, 8, 8, 3)}, "the images input has shape [0, 8, 8, 3]"),
        (box(2), {"images": torch.zeros(FRAMES, 8, 8, 3)}, "there are 2 masks for 3 images: connect one for each"),
    ],
)
def test_masks_without_a_region_are_refused(masks, inputs, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        region_of(masks, **inputs)


def test_a_feather_that_wears_the_region_away_is_refused():
    with pytest.raises(ValueError, match="feathered over 256 pixels nothing of the region is left whole"):
        region_of(box(frames=2), grow=4, feather=256)


def test_a_frame_may_be_covered_whole():
    masks = torch.cat([box(), torch.ones(1, HEIGHT, WIDTH)])
    assert torch.equal(region_of(masks), masks)
