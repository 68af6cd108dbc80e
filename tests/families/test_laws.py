"""Laws that hold on every family of models, whatever its attention: asked of one small model of each."""

import hashlib

import comfy.model_management
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from comfyui_videop2p.tests.families.worlds import BIG, BLUE, FRAMES, RED, pictures_of
from comfyui_videop2p.tests.host.calls import run
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit

FULL = {"cross_window": 1.0, "temporal_window": 1.0}


@pytest.fixture(scope="module")
def inversion(world):
    return world.inverted()[0]


def fingerprint(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest(), dict(model.object_patches), repr(model.model_options), repr(model.wrappers)


def test_no_edit_is_what_plain_sampling_draws_bit_for_bit(world, inversion):
    (ours,), *_ = world.edited(inversion, world.controlled(BLUE))
    plain = world.plain(inversion, world.encoded(BLUE))
    if world.sound:  # the host's mask tells the model the step of every place, where without one it is told once
        torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)
    else:
        assert torch.equal(ours, plain)
    assert not torch.allclose(plain, world.plain(inversion, world.encoded(RED)), atol=1e-3)


def test_the_source_comes_back(world, inversion):
    _, source, _ = world.edited(inversion, world.controlled(BLUE, **FULL))
    torch.testing.assert_close(source, world.pictures, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["direct-exact", "direct-residual", "virtual"])
def test_the_source_s_own_prompt_gives_the_source_bit_for_bit(world, method):
    inversion, *_ = world.inverted(method)
    edits = [world.controlled(prompt, guidance="1", **FULL) for prompt in (RED, BLUE)]
    (same, other), source, _ = world.edited(inversion, *edits)
    assert torch.equal(same, source)
    assert not torch.allclose(other, source, atol=1e-4)


def test_an_edit_of_every_kind_acts(world, inversion):
    (plain,), *_ = world.edited(inversion, world.controlled(BLUE))
    swapped, weighted, refined, big = world.edited(
        inversion, world.controlled(BLUE, cross_window=1.0),
        world.controlled(BLUE, cross_window=1.0, word_weights="blue: 4"),
        world.controlled(BIG, cross_window=1.0), world.controlled(BIG),
    )[0]  # fmt: skip
    for one, other in ((plain, swapped), (swapped, weighted), (refined, big), (swapped, refined)):
        assert one.isfinite().all() and (one - other).abs().max() > 1e-3


def test_outside_of_the_blend_words_the_source_is_kept(world, inversion):
    settings = {"blend_source": "red", "blend_target": "blue", "threshold": 0.95, "blend_start": 0.0}
    (edited,), source, (mask,) = world.edited(inversion, world.controlled(BLUE, **settings, **FULL))
    form = world.model.model.latent_format
    of_latents = mask[:: form.temporal_downscale_ratio if world.video else 1]
    of_latents = of_latents[:, :: form.spacial_downscale_ratio, :: form.spacial_downscale_ratio].bool()
    assert of_latents.shape == (FRAMES, *world.size) and 0 < of_latents.float().mean() < 1
    outside = ~(of_latents[None, None] if world.video else of_latents[:, None]).expand_as(edited)
    torch.testing.assert_close(edited[outside], source[outside], atol=1e-5, rtol=0)
    assert not torch.allclose(edited[~outside], source[~outside], atol=1e-2)


def test_several_targets_are_each_what_they_are_alone(world, inversion):
    edits = [world.controlled(BLUE, **FULL), world.controlled(BIG, cross_window=0.5), world.controlled(RED)]
    together, *_ = world.edited(inversion, *edits)
    for edit, ours in zip(edits, together, strict=True):
        assert torch.equal(ours, world.edited(inversion, edit)[0][0])


def test_halves_apart_are_halves_together(world, inversion, monkeypatch):
    results = []
    for free in (2**40, 0):
        monkeypatch.setattr(type(world.model), "get_free_memory", lambda self, device, free=free: free)
        results.append(world.edited(inversion, world.controlled(BLUE, **FULL))[0][0])
    torch.testing.assert_close(*results, atol=1e-4, rtol=1e-4)


def test_an_interruption_leaves_nothing(world, inversion):
    edit, before = world.controlled(BLUE, **FULL), fingerprint(world.model)
    given = {"source": world.encoded(RED), "targets": [world.encoded(BLUE)], "null": world.encoded("")}

    def cancel(done):
        comfy.model_management.interrupt_current_processing(True)

    with torch.inference_mode():
        prepared = prepare_edit(world.model, inversion, [edit], **given)
        first = decoupled_sample(world.model, prepared).targets[0]
        with pytest.raises(InterruptProcessingException):
            decoupled_sample(world.model, prepared, progress=cancel)
        assert fingerprint(world.model) == before
        assert torch.equal(decoupled_sample(world.model, prepared).targets[0], first)


def test_words_are_shown_where_they_look(world, inversion):
    shown = {"source": world.encoded(RED), "target": world.encoded(BLUE), "null": world.encoded("")}
    for branch, word in (("source", "red"), ("target", "blue")):
        _, (masks,), *_ = run(
            "AttentionMaps", model=world.model, inversion=inversion, edit=world.controlled(BLUE), words=word,
            branch=branch, **shown,
        )  # fmt: skip
        factor = world.model.model.latent_format.spacial_downscale_ratio
        assert masks.shape[1:] == tuple(factor * side for side in world.size)
        assert masks.max() == 1 and masks.std() > 0.01


def test_what_was_inverted_is_what_was_given(world, inversion):
    _, noise, reconstruction, *_ = world.inverted()
    torch.testing.assert_close(pictures_of(reconstruction), world.pictures, atol=1e-5, rtol=0)
    assert pictures_of(noise).shape == world.pictures.shape
