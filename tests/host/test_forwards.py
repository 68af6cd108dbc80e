"""The forwards that a node is said to take before it runs, counted while it does."""

import math
from dataclasses import replace

import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, TARGET, encode
from comfyui_videop2p.videop2p_core.diffusion import forwards
from comfyui_videop2p.videop2p_core.diffusion.attention_records import RecordSettings
from comfyui_videop2p.videop2p_core.diffusion.inversion import METHODS, InversionSettings
from comfyui_videop2p.videop2p_core.diffusion.tuning import TuningSettings
from comfyui_videop2p.videop2p_core.host.cost.measured_runs import ForwardMeter
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from comfyui_videop2p.videop2p_core.host.source.inversion import invert
from comfyui_videop2p.videop2p_core.host.source.reconstruction import SourceFrames
from comfyui_videop2p.videop2p_core.host.source.tuning import tune

STEPS = 2


@pytest.fixture(autouse=True)
def as_nodes_run():
    with torch.inference_mode():
        yield


@pytest.fixture
def metered(model, latent):
    """(a clone of the model, what counts its forwards)"""
    meter = ForwardMeter(latent["samples"])
    return meter.on(model.clone()), meter


@pytest.fixture
def inverted(clip, latent):
    def run(model, settings, frames=None):
        return invert(model, encode(clip, SOURCE), encode(clip, ""), latent, settings, frames).inversion

    return run


# Updates of a null text that never end early.
@pytest.mark.parametrize("method", METHODS)
def test_of_an_inversion(metered, inverted, method):
    model, meter = metered
    settings = InversionSettings(method, STEPS, inner_steps=2, epsilon=-math.inf)
    inverted(model, settings)
    assert meter.forwards == forwards.of_inversion(settings).forwards


@pytest.mark.parametrize(
    "settings",
    [
        InversionSettings("direct", STEPS, rounds=2),
        InversionSettings("virtual", STEPS, record_settings=RecordSettings()),
    ],
)
def test_of_an_inversion_with_rounds_or_with_its_source_kept(metered, inverted, settings):
    model, meter = metered
    inverted(model, settings)
    assert meter.forwards == forwards.of_inversion(settings).forwards


@pytest.mark.parametrize("method", ["direct-exact", "virtual", "negative-prompt"])
def test_of_a_check(metered, inverted, demo, latent, method):
    model, meter = metered
    vae, settings = demo[2], InversionSettings(method, STEPS)
    frames = SourceFrames.of(vae, vae.decode(latent["samples"]))
    inverted(model, settings, frames)
    assert meter.forwards == forwards.of_inversion(settings, checked=True).forwards


@pytest.mark.parametrize(
    "method, kept, options",
    [
        ("direct-exact", None, {}),
        ("direct-exact", None, {"strength": 0.5}),
        ("direct-exact", RecordSettings(cross=1.0, temporal=1.0), {"emphasis": 1.0}),
        ("virtual", RecordSettings(cross=1.0, temporal=1.0), {}),
        ("shared null-text", None, {}),
    ],
)
def test_of_an_edit_that_looks_at_its_source_in_every_step(metered, model, clip, inverted, method, kept, options):
    settings = InversionSettings(method, STEPS, inner_steps=1, record_settings=kept)
    inversion = inverted(model, settings)
    edit = word_edit(clip, SOURCE, TARGET, cross=1.0, temporal=1.0, blend_source=[], blend_target=[], **options)
    edited, meter = metered
    sample(edited, prepare_edit(edited, inversion, [edit]))
    assert meter.forwards == forwards.of_edit(settings, **options).forwards


@pytest.mark.parametrize("settings", [TuningSettings(12), TuningSettings(12, patience=1000)])
@pytest.mark.parametrize("every", [0, 5])
def test_of_a_tuning(metered, clip, latent, settings, every):
    model, meter = metered
    tune(model, encode(clip, SOURCE), latent, settings, show_every=every)
    assert meter.forwards == forwards.of_tuning(settings, every).forwards


def test_what_may_end_early_says_so():
    plain = InversionSettings("direct")
    assert not forwards.of_inversion(plain).at_most and not forwards.of_tuning(TuningSettings()).at_most
    assert forwards.of_inversion(replace(plain, method="shared null-text")).at_most
    assert forwards.of_tuning(TuningSettings(patience=50)).at_most and forwards.of_edit(plain).at_most
