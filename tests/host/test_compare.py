"""Compare Videos and Edit Metrics, with a tiny CLIP vision model of random weights."""

import json
import sys
import types
from pathlib import Path
from pickle import UnpicklingError

import comfy.clip_vision
import folder_paths
import pytest
import torch
from comfy import model_management
from comfyui_videop2p.nodes.compare import NODES
from comfyui_videop2p.tests.host.calls import SOURCE
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.videop2p_core.host.images import compare_videos as comparing
from comfyui_videop2p.videop2p_core.host.images import edit_metrics as measures
from comfyui_videop2p.videop2p_core.host.images import lpips as perceptual
from comfyui_videop2p.videop2p_core.host.images import plots as pictures
from comfyui_videop2p.videop2p_core.images import metrics
from PIL import Image

FRAMES, SIZE = 3, 64
DEMO_WIDTH = 128  # of the demo CLIP
COMPARE, METRICS = NODES


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


@pytest.fixture
def source():
    return torch.rand(FRAMES, SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask():
    mask = torch.zeros(1, SIZE, SIZE)
    mask[:, 16:40, 8:48] = 1
    return mask


@pytest.fixture
def edited(source, mask):
    """Other colours in the mask, which change from frame to frame, and nothing else."""
    return torch.lerp(
        source, source.roll(1, dims=-1) * torch.tensor([0.2, 0.6, 1.0])[:, None, None, None], mask[..., None]
    )


@pytest.fixture(scope="module")
def vision():
    return vision_model(DEMO_WIDTH)


def vision_model(width):
    with with_weights():
        model = comfy.clip_vision.ClipVisionModel(
            {
                "model_type": "clip_vision_model",
                "hidden_size": 32,
                "image_size": 32,
                "patch_size": 16,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "hidden_act": "quick_gelu",
                "num_channels": 3,
                "projection_dim": width,
            }
        )
    random = torch.Generator().manual_seed(0)
    model.load_sd({name: torch.randn(t.shape, generator=random) / 4 for name, t in model.get_sd().items()})
    return model


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


# --- Compare Videos ---------------------------------------------------------------------------------------------------


def compare(before, after, mode, before_label="source", after_label="edit", **inputs):
    defaults = {entry.id: entry.default for entry in COMPARE.GET_SCHEMA().inputs if hasattr(entry, "default")}
    given = {"mode": mode, "before_label": before_label, "after_label": after_label, **inputs}
    return COMPARE.execute(before, after, **defaults | given)


@pytest.mark.parametrize("mode, wide", list(zip(comparing.MODES, (2 * SIZE, SIZE, SIZE), strict=True)))
def test_labels_stand_above_and_cover_nothing(source, edited, mode, wide):
    plain, named = (compare(source, edited, mode, *labels)[0] for labels in (("", ""), ("source", "edit")))
    strip = named.shape[1] - SIZE
    assert plain.shape == (FRAMES, SIZE, wide, 3) and named.shape == (FRAMES, SIZE + strip, wide, 3) and strip % 2 == 0
    assert torch.equal(named[:, strip:], plain)
    assert named[:, :strip].amax() > 0.5 > named[:, :strip].mean()


def test_one_label_leaves_room_for_both(source, edited):
    (frames,) = compare(source, edited, "side by side", before_label="").result
    above = frames[:, : frames.shape[1] - SIZE]
    assert above[:, :, :SIZE].std() < 1e-6 < above[:, :, SIZE:].std()


def test_a_long_label_is_made_small_and_then_cut():
    images = torch.zeros(1, 32, 64, 3)
    whole, cut, more = (
        pictures.labelled(images, text)[0, :-32] for text in ("a red ball", "a word " * 9, "a word " * 99)
    )
    assert torch.equal(cut, more)
    assert all(strip[:, -4:].max() < 0.1 < strip[:, 32:-6].max() for strip in (whole, cut))
    assert torch.equal(pictures.labelled(images, "a word", "right")[0, :-32, :4], whole[:, -4:])


def test_a_wipe_lets_each_label_stand_over_its_clip(source, edited):
    strips = [compare(source, edited, "wipe", *labels)[0][:, :-SIZE] for labels in (("a", "b"), ("a", ""), ("", "b"))]
    half = SIZE // 2
    assert torch.equal(strips[0][:, :, :half], strips[1][:, :, :half])
    assert torch.equal(strips[0][:, :, half:], strips[2][:, :, half:])
    assert all(strip.std() > 0 for strip in (strips[1][:, :, :half], strips[2][:, :, half:]))


def test_the_preview_is_an_animation_in_the_temp_folder(source, edited, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_paths, "temp_directory", str(tmp_path))
    answer = compare(source, edited, "side by side", fps=10.0)
    shown = answer.ui.as_dict()
    (entry,) = shown["images"]
    assert entry["type"] == "temp" and shown["animated"] == (True,)
    with Image.open(tmp_path / entry["filename"]) as file:
        file.load()
        assert file.n_frames == FRAMES and file.size == tuple(answer[0].shape[2:0:-1])
        assert file.info["duration"] == 100
    assert "animated" not in compare(source[:1], edited[:1], "wipe").ui.as_dict()


@pytest.mark.parametrize(
    "mode, inputs, sentence",
    [
        ("wipe", {"position": torch.nan}, "the position is nan: it lies between 0 and 1"),
        ("wipe", {"position": 9.0}, "the position is 9"),
        ("difference", {"gain": torch.nan}, "the gain is nan: give a number above 0"),
        ("difference", {"gain": torch.inf}, "the gain is inf"),
        ("wipe", {"fps": 0.0}, "the fps is 0: give 0.1 or more"),
    ],
)
def test_a_number_that_is_none_is_a_sentence(source, edited, mode, inputs, sentence):
    with pytest.raises(ValueError, match=sentence):
        compare(source, edited, mode, **inputs)


def test_unequal_clips_are_a_sentence(source, edited):
    with pytest.raises(ValueError, match="the before video has 3 frames, the after video 2"):
        compare(source, edited[:2], "wipe")


# --- Edit Metrics -----------------------------------------------------------------------------------------------------


def measure(source, edited, prompt="", **inputs):
    """(report, table)"""
    table, report = METRICS.execute(source, edited, prompt, **inputs).result
    return json.loads(report), table


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


# --- LPIPS ------------------------------------------------------------------------------------------------------------


class FakeLPIPS(torch.nn.Module):
    """A map of the mean absolute difference."""

    def __init__(self, net, spatial, verbose):
        super().__init__()
        assert net == "alex" and spatial

    def forward(self, a, b, normalize):
        assert normalize and a.ndim == 4 and a.shape[1] == 3
        return (a - b).abs().mean(dim=1, keepdim=True)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder of torch.hub with nothing in it."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path


def test_lpips_is_measured_outside_the_mask_where_it_is_at_hand(source, edited, mask, hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=FakeLPIPS))
    weights = perceptual.weights_file()
    assert weights.parent == hub / "checkpoints" and weights.suffix == ".pth"
    missing = measure(source, edited)[0]["missing"]["lpips"]
    assert weights.name in missing and str(weights.parent) in missing
    weights.parent.mkdir()
    weights.touch()
    expected = (source - edited).abs().mean().item()
    assert measure(source, edited)[0]["lpips"] == pytest.approx(expected, rel=1e-4) != 0
    assert measure(source, edited, mask=mask)[0]["lpips"] == 0


@pytest.fixture
def at_hand(hub, monkeypatch):
    """The package lpips, and something in the place of its backbone's weights."""
    weights = perceptual.weights_file()
    weights.parent.mkdir()
    weights.touch()
    return lambda network: monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=network))


class FailingLPIPS(FakeLPIPS):
    error = None

    def forward(self, a, b, normalize):
        raise self.error


@pytest.mark.parametrize(
    "error, sentence",
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB.\nGPU 0"), "memory ran out while it was"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "memory ran out while it was"),
        (MemoryError(), "memory ran out while it was"),
        (RuntimeError("no kernel.\nmore"), "(RuntimeError: no kernel)"),
        (NotImplementedError(), "(NotImplementedError: without a word)"),
    ],
)
def test_a_figure_that_fails_leaves_the_others(source, edited, at_hand, vision, monkeypatch, error, sentence):
    monkeypatch.setattr(FailingLPIPS, "error", error)
    at_hand(FailingLPIPS)
    report, _ = measure(source, edited, clip_vision=vision)
    assert sentence in report["missing"]["lpips"] and "\n" not in report["missing"]["lpips"]
    assert {"psnr", "ssim", "frame_consistency", "source_frame_consistency"} <= set(report)


def test_a_vision_model_that_fails_leaves_the_others(source, edited, mask, vision, at_hand, monkeypatch):
    at_hand(FakeLPIPS)

    def encode_image(frames):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(vision, "encode_image", encode_image)
    told = measures.measure(source, edited, mask, vision)
    seen = ("frame_consistency", "object_semantic_variance", "clip_score")
    assert set(told.missing) == {prefix + name for name in seen for prefix in ("", measures.SOURCE)}
    assert set(told.figures) == {"psnr", "ssim", "lpips"}
    called = ", ".join(measures.FIGURES[name][0] for name in seen)
    assert told._notes() == [f"{called}: memory ran out while it was measured: measure fewer or smaller frames."]


def test_room_is_made_for_lpips_and_what_a_failure_held_is_freed(source, edited, at_hand, monkeypatch):
    asked, emptied = [], []
    monkeypatch.setattr(model_management, "free_memory", lambda needed, device: asked.append((needed, device)))
    monkeypatch.setattr(model_management, "soft_empty_cache", lambda: emptied.append(True))
    at_hand(FakeLPIPS)
    perceptual.lpips_distance(source, edited)
    ((needed, device),) = asked
    assert device == model_management.get_torch_device() and 4 * SIZE * SIZE < needed < 2**30
    monkeypatch.setattr(FailingLPIPS, "error", RuntimeError("no kernel"))
    at_hand(FailingLPIPS)
    measures.measure(source, edited)
    assert emptied


@pytest.mark.parametrize("figure", ["lpips", "vision"])
def test_a_measurement_can_be_interrupted(source, edited, vision, at_hand, monkeypatch, figure):
    def interrupted(*args, **kwargs):
        raise model_management.InterruptProcessingException

    at_hand(FailingLPIPS)
    monkeypatch.setattr(FailingLPIPS, "error", model_management.InterruptProcessingException())
    if figure == "vision":
        at_hand(FakeLPIPS)
        monkeypatch.setattr(vision, "encode_image", interrupted)
    with pytest.raises(model_management.InterruptProcessingException):
        measure(source, edited, clip_vision=vision)


@pytest.mark.parametrize("encodings", [1, 4])
def test_a_measurement_stops_before_the_next_encoding(source, edited, mask, vision, at_hand, monkeypatch, encodings):
    at_hand(FakeLPIPS)
    made = []

    def encode_image(frames):  # without the operations in which some releases of the host look themselves
        made.append(frames)
        if len(made) == encodings:
            model_management.interrupt_current_processing()
        return {"image_embeds": torch.ones(len(frames), DEMO_WIDTH)}

    monkeypatch.setattr(vision, "encode_image", encode_image)
    with pytest.raises(model_management.InterruptProcessingException):
        measure(source, edited, mask=mask, clip_vision=vision)
    assert len(made) == encodings and not model_management.processing_interrupted()


def test_lpips_looks_for_interruption_at_every_frame(source, edited, at_hand, monkeypatch):
    at_hand(FakeLPIPS)
    looked = []
    monkeypatch.setattr(model_management, "throw_exception_if_processing_interrupted", lambda: looked.append(True))
    perceptual.lpips_distance(source, edited)
    assert len(looked) == FRAMES


@pytest.mark.parametrize("error", [EOFError("Ran out of input"), UnpicklingError("invalid load key")])
def test_a_broken_file_of_weights_is_named(source, edited, at_hand, error):
    def broken(**settings):
        raise error

    at_hand(broken)
    missing = measure(source, edited)[0]["missing"]["lpips"]
    assert str(perceptual.weights_file()) in missing and "a whole one" in missing


def test_lpips_is_missing_without_its_package(source, edited, hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert "the Python package lpips is not installed" in measure(source, edited)[0]["missing"]["lpips"]
    assert not list(Path(hub).rglob("*"))


def test_a_label_of_several_lines_stands_in_one():
    images = torch.zeros(1, 32, 256, 3)
    assert torch.equal(pictures.labelled(images, "a robot\n: 0.2"), pictures.labelled(images, "a robot : 0.2"))
