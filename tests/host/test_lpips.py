"""LPIPS where it is at hand, and figures that fail or are interrupted."""

import sys
import types
from pathlib import Path
from pickle import UnpicklingError

import pytest
import torch
from comfy import model_management
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
)
from comfyui_videop2p.videop2p_core.host.images import edit_metrics as measures
from comfyui_videop2p.videop2p_core.host.images import lpips as perceptual

__all__ = ["edited", "inference_mode", "mask", "source", "vision"]


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
