"""Edit Metrics: what each figure measures, and why one is missing."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE
from comfyui_videop2p.tests.host.clip_pairs import (
    DEMO_WIDTH,
    FRAMES,
    SIZE,
    edited,
    inference_mode,
    mask,
    measure,
    source,
    vision,
    vision_model,
)
from comfyui_videop2p.videop2p_core.host.images import edit_metrics as measures
from comfyui_videop2p.videop2p_core.host.images import plots as pictures
from comfyui_videop2p.videop2p_core.images import metrics

__all__ = ["edited", "inference_mode", "mask", "source", "vision"]


@pytest.fixture
def projecting(clip, monkeypatch):
    """The demo CLIP with a projection, as the text encoders of SD2.x and SDXL have one."""
    encoder = clip.cond_stage_model.clip_l
    layer, index, _ = encoder.options_default
    monkeypatch.setattr(encoder, "options_default", (layer, index, True))
    project(encoder, monkeypatch, torch.randn(DEMO_WIDTH, DEMO_WIDTH, generator=torch.Generator().manual_seed(1)))
    return clip


def project(encoder, monkeypatch, weight):
    parameters = encoder.transformer.text_projection._parameters
    monkeypatch.setitem(parameters, "weight", torch.nn.Parameter(weight, requires_grad=False))


def test_what_must_stay_is_measured_outside_the_mask(source, edited, mask):
    alone, _ = measure(source, edited)
    outside, _ = measure(source, edited, mask=mask)
    assert alone["psnr"] == pytest.approx(metrics.psnr(source, edited)) and outside["psnr"] == metrics.HIGHEST
    assert alone["ssim"] < 0.9 and outside["ssim"] == pytest.approx(1, abs=1e-5)  # no window sees the edit
    small = mask[0, ::4, ::4]
    assert measure(source, edited, mask=small)[0] == outside
    assert measure(source, edited, mask=mask.expand(FRAMES, -1, -1))[0] == outside


def test_what_is_not_connected_is_missing_with_a_sentence(source, edited):
    report, _ = measure(source, edited)
    names = {prefix + name for name in measures.FIGURES for prefix in ("", measures.SOURCE)}
    assert set(report) | set(report["missing"]) <= names | {"missing"}
    assert set(report) - {"missing"} == {"psnr", "ssim"}
    for name in ("frame_consistency", "source_frame_consistency", "clip_score"):
        assert report["missing"][name] == "there is no vision model: connect Load CLIP Vision"
    assert "no mask that tells the object" in report["missing"]["object_semantic_variance"]


def test_a_mask_of_everything_leaves_nothing_that_must_stay(source, edited, mask, vision):
    report, _ = measure(source, edited, mask=mask * 0 + 1, clip_vision=vision)
    assert "covers every frame whole" in report["missing"]["psnr"] and report["object_semantic_variance"] > 0


def test_a_flickering_edit_is_less_consistent(source, edited, mask, vision):
    still = source[:1].expand(FRAMES, -1, -1, -1)
    report, _ = measure(still, edited, mask=mask, clip_vision=vision)
    assert report["source_frame_consistency"] == pytest.approx(1, abs=1e-5)
    assert report["frame_consistency"] < 1 - 1e-3
    assert report["source_object_semantic_variance"] == pytest.approx(0, abs=1e-4)
    assert report["object_semantic_variance"] > 1e-3


def test_an_object_is_seen_without_its_surroundings(source, mask, vision):
    everywhere = mask.repeat(FRAMES, 1, 1)
    everywhere[:, 16:28, 8:28] = 0  # no rectangle, so that the square around it holds surroundings
    features = measures.object_features(vision, source, everywhere)
    changed = torch.where(everywhere[..., None] > 0.5, source, 1 - source)
    assert torch.equal(measures.object_features(vision, changed, everywhere), features)
    gone = everywhere.clone()
    gone[1] = 0
    assert torch.equal(measures.object_features(vision, source, gone), features[[0, 2]])
    # and does not change where it moves to
    moved, there = source.roll((5, 9), dims=(1, 2)), everywhere.roll((5, 9), dims=(1, 2))
    torch.testing.assert_close(measures.object_features(vision, moved, there), features)
    with pytest.raises(ValueError, match="empty in every frame"):
        measures.object_features(vision, source, 0 * everywhere)


def test_the_score_is_that_of_the_projected_text(source, edited, vision, projecting):
    report, _ = measure(source, edited, SOURCE, clip_vision=vision, clip=projecting)
    _, plain = projecting.encode_from_tokens(projecting.tokenize(SOURCE), return_pooled="unprojected")
    text = plain @ projecting.cond_stage_model.clip_l.transformer.text_projection.weight.T
    features = vision.encode_image(edited)["image_embeds"]
    assert report["clip_score"] == pytest.approx(metrics.clip_score(features, text), abs=1e-3)
    assert report["source_clip_score"] != report["clip_score"] and "clip_score" not in report["missing"]


def test_a_text_that_is_not_projected_has_no_score(source, edited, vision, projecting, monkeypatch):
    """Whatever lies in the projection's weights: an SD1.x checkpoint has none, the host leaves any memory there."""
    encoder = projecting.cond_stage_model.clip_l
    monkeypatch.setattr(encoder, "options_default", (*encoder.options_default[:2], False))
    report, _ = measure(source, edited, SOURCE, clip_vision=vision, clip=projecting)
    assert "does not project its text" in report["missing"]["clip_score"] and "clip_score" not in report


@pytest.mark.parametrize("weight", [torch.eye(DEMO_WIDTH), torch.zeros(DEMO_WIDTH, DEMO_WIDTH)])
def test_a_projection_that_the_host_made_up_is_none(source, edited, vision, projecting, monkeypatch, weight):
    project(projecting.cond_stage_model.clip_l, monkeypatch, weight)
    report, _ = measure(source, edited, SOURCE, clip_vision=vision, clip=projecting)
    assert "does not project its text" in report["missing"]["clip_score"]


@pytest.mark.parametrize(
    "prompt, width, sentence",
    [
        (SOURCE, 48, "the vision model's features have 48 channels, the text's 128"),
        (" ", DEMO_WIDTH, "the prompt is empty"),
        ("a nonsense", DEMO_WIDTH, "the demo model never learnt 'nonsense'"),
    ],
)
def test_why_there_is_no_score(source, edited, projecting, prompt, width, sentence):
    report, _ = measure(source, edited, prompt, clip_vision=vision_model(width), clip=projecting)
    assert sentence in report["missing"]["clip_score"] and report["frame_consistency"] <= 1


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"edited": torch.zeros(2, SIZE, SIZE, 3)}, "the source has 3 frames, the edited clip 2"),
        ({"edited": torch.zeros(3, 32, SIZE, 3)}, "the source is 64 x 64 pixels, the edited clip 64 x 32: scale one"),
        ({"edited": torch.full((3, SIZE, SIZE, 3), torch.nan)}, "the edited clip holds values that are not numbers"),
        ({"mask": torch.zeros(2, SIZE, SIZE)}, "there are 2 masks for 3 frames"),
        ({"mask": torch.full((3, SIZE, SIZE), torch.nan)}, "the mask holds values that are not numbers"),
        ({"mask": torch.full((1, SIZE, SIZE), torch.inf)}, "the mask holds values that are not numbers"),
        ({"mask": torch.ones(5)}, r"the mask has shape \[5\]: give \[frames, height, width\]"),
        ({"mask": torch.ones(3, 0, 5)}, r"the mask has shape \[3, 0, 5\]"),
    ],
)
def test_what_does_not_fit_is_named(source, edited, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure(**{"source": source, "edited": edited} | change)


def test_a_mask_beyond_0_and_1_is_one_of_0_and_1(source, edited, mask):
    expected, _ = measure(source, edited, mask=mask)
    assert measure(source, edited, mask=101 * mask - 1)[0] == expected


def test_a_figure_that_is_no_number_is_missing(source, edited):
    report, _ = measure(1e30 * source, edited)
    assert set(report) == {"missing"}
    assert report["missing"]["psnr"] == (
        "it came out as -inf: connect clips with values of 0 to 1, and models that give numbers for them"
    )


def test_the_table_has_a_line_for_every_figure_and_says_what_is_missing(source, edited, mask, vision):
    full = measures.measure(source, edited, mask, vision)
    rows = [full._row(name) for name in measures.FIGURES]
    assert rows[0] == ("PSNR of what must stay", measures.ABSENT, "100.0 dB", "higher")
    assert len(set(full._notes())) == len(full._notes()) < len(full.missing)
    table = full.table()
    assert table.shape[0] == 1 and table.shape[-1] == 3 and 0 <= table.min() < 0.1 < 0.9 < table.max() <= 1
    assert table.shape[1] > pictures.table_picture([measures.HEADING, *rows]).shape[1]
