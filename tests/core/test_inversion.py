"""DDIM inversion and its replay, against closed forms and loops written out."""

import pytest
import torch
from comfyui_videop2p.tests.core.toy_network import (
    TOKENS,
    WIDTH,
    ToyNetwork,
    clip,
    seed,
    sigmas,
    texts,
)
from comfyui_videop2p.videop2p_core.diffusion import inversion, schedule
from comfyui_videop2p.videop2p_core.diffusion import null_text as null_texts
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion

__all__ = ["clip", "seed", "sigmas"]


def gaussian(mean, variance):
    """The exact denoiser of data that are normal in every pixel."""
    return lambda x, sigma, _: mean + variance / (variance + sigma**2) * (x - mean)


def down(denoise, noise, sigmas, source=None):
    """The DDIM path from z_T, written out."""
    x = schedule.to_x(noise, sigmas[0])
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (x - denoise(x, sigma, source)) / sigma * (following - sigma)
    return schedule.to_z(x, sigmas[-1])


def test_the_inversion_of_a_gaussian_is_the_product_of_its_steps(sigmas, clip):
    """With mean 0 and variance v a direction is x sigma / (v + sigma^2): every step multiplies by a number."""
    variance = 0.8
    trajectory = inversion.ddim_invert(gaussian(0.0, variance), clip, sigmas, None)
    factor = torch.ones((), dtype=torch.float64)
    assert torch.equal(trajectory[0], clip)
    for index in range(1, len(sigmas)):
        low, high = sigmas[-index], sigmas[-index - 1]
        relabelled = factor * (1 + high**2).sqrt()  # the latent of the level below, at the scale of the label
        slope = relabelled * high / (variance + high**2)
        factor = (factor * (1 + low**2).sqrt() + slope * (high - low)) / (1 + high**2).sqrt()
        torch.testing.assert_close(trajectory[index], factor * clip)


def test_many_steps_follow_the_probability_flow_of_a_gaussian(clip):
    mean, variance = 0.3, 0.5
    sigmas = torch.linspace(20.0, 0.03, 4001, dtype=torch.float64)
    noise = inversion.ddim_invert(gaussian(mean, variance), clip, sigmas, None, rounds=2)[-1]
    start = schedule.to_x(clip, sigmas[-1])
    exact = mean + (start - mean) * ((variance + sigmas[0] ** 2) / (variance + sigmas[-1] ** 2)).sqrt()
    torch.testing.assert_close(schedule.to_x(noise, sigmas[0]), exact, rtol=1e-2, atol=5e-2)


def test_the_network_sees_the_latent_of_one_level_with_the_label_of_the_next(sigmas, clip):
    seen = []

    def denoise(x, sigma, source):
        seen.append((x, sigma, source))
        return torch.zeros_like(x)

    trajectory = inversion.ddim_invert(denoise, clip, sigmas, "source")
    for (x, sigma, source), label, z in zip(seen, sigmas.flip(0)[1:], trajectory, strict=False):
        assert sigma == label and source == "source"
        torch.testing.assert_close(schedule.to_z(x, label), z)


def test_fixed_point_rounds_reduce_the_round_trip_error(sigmas, clip):
    network, source = ToyNetwork(), texts(1)
    errors = []
    for rounds in range(4):
        network.calls.clear()
        noise = inversion.ddim_invert(network, clip, sigmas, source, rounds=rounds)[-1]
        assert len(network.calls) == 10 * (rounds + 1)
        with torch.no_grad():
            errors.append((down(network, noise, sigmas, source) - clip).norm())
    assert all(after < 0.7 * before for before, after in zip(errors, errors[1:], strict=False)), errors


def test_enough_rounds_make_the_inversion_exact(sigmas, clip):
    network, source = ToyNetwork(), texts(1)
    noise = inversion.ddim_invert(network, clip, sigmas, source, rounds=60)[-1]
    with torch.no_grad():
        torch.testing.assert_close(down(network, noise, sigmas, source), clip)


def test_flow_models_are_inverted_too(clip):
    target = torch.randn_like(clip)
    sigmas = torch.linspace(0.99, 0.0, 20, dtype=torch.float64)

    def denoise(x, sigma, _):  # all data are one point, so the path from it is straight
        return target.expand_as(x)

    noise = inversion.ddim_invert(denoise, clip, sigmas, None, rounds=60, flow=True)[-1]
    x = noise
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (x - target) / sigma * (following - sigma)
    torch.testing.assert_close(noise[0, 0, 0, 0] * 0 + x, target)  # from anywhere down to that point


def test_progress_may_stop_the_work(sigmas, clip):
    class Interrupted(Exception):
        pass

    steps = []

    def progress(step, z):
        steps.append(step)
        if step == 4:
            raise Interrupted

    with pytest.raises(Interrupted):
        inversion.ddim_invert(gaussian(0.0, 1.0), clip, sigmas, None, progress=progress)
    assert steps == [0, 1, 2, 3, 4]


# --- replays ----------------------------------------------------------------------------------------------------------


def make(method, sigmas, clip, network):
    source, initial = texts(1), texts(1)
    trajectory = inversion.ddim_invert(network, clip, sigmas, source)
    null, losses = None, ()
    if method in inversion.NULL_TEXT_METHODS:
        per_frame = method == inversion.PER_FRAME_NULL_TEXT
        found = null_texts.optimise_null_text(
            network, trajectory, sigmas, source, initial, per_frame=per_frame, cfg=2.0
        )
        null, losses = found.null, found.losses
    return Inversion(
        method=method, trajectory=trajectory, sigmas=sigmas, source=source, initial_null=initial, null=null, cfg=2.0,
        losses=losses,
    )  # fmt: skip


def test_direct_replay_is_the_stored_path(sigmas, clip):
    network = ToyNetwork()
    inverted = make(inversion.DIRECT, sigmas, clip, network)
    network.calls.clear()
    replayed = inversion.reconstruct(network, inverted, inverted.source)
    assert torch.equal(replayed, inverted.trajectory[:-1].flip(0))
    assert torch.equal(replayed[-1], clip)
    assert not network.calls


@pytest.mark.parametrize("method", [inversion.NEGATIVE_PROMPT, inversion.PROXIMAL])
def test_the_prompt_as_its_own_null_text_cancels_guidance(sigmas, clip, method):
    network = ToyNetwork()
    inverted = make(method, sigmas, clip, network)
    network.calls.clear()
    replayed = inversion.reconstruct(network, inverted, inverted.source)
    assert len(network.calls) == 10
    with torch.no_grad():
        torch.testing.assert_close(replayed[-1], down(network, inverted.noise, sigmas, inverted.source))


@pytest.mark.parametrize("method", inversion.NULL_TEXT_METHODS)
def test_null_text_replays_what_it_reached(sigmas, clip, method):
    network = ToyNetwork()
    torch.manual_seed(3)
    inverted = make(method, sigmas, clip, network)
    torch.manual_seed(3)
    source, initial = texts(1), texts(1)
    reached = null_texts.optimise_null_text(
        network, inverted.trajectory, sigmas, source, initial, cfg=2.0,
        per_frame=method == inversion.PER_FRAME_NULL_TEXT,
    ).reconstruction  # fmt: skip
    torch.testing.assert_close(inversion.reconstruct(network, inverted, inverted.source), reached)


def test_a_replay_never_looks_at_the_stored_path(sigmas, clip):
    def network(x, sigma, _):
        return 0.9 * x / (1 + sigma**2)

    trajectory = inversion.ddim_invert(network, clip, sigmas, None)
    stored = Inversion(inversion.DIRECT, trajectory, sigmas, source=texts(1), initial_null=texts(1))
    replayed = inversion.replay(network, stored, None)
    torch.testing.assert_close(replayed[-1], down(network, trajectory[-1], sigmas))
    assert not torch.allclose(replayed[-1], clip)
    assert torch.equal(inversion.reconstruct(network, stored, None)[-1], clip)


# --- inversions as values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "magic"}, "'magic' is not an inversion method: shared null-text"),
        ({"trajectory": torch.zeros(4, 1, 1, 1, 1)}, "4 latents for 11 noise levels"),
        ({"method": inversion.SHARED_NULL_TEXT}, "by shared null-text has no null texts"),
        ({"null": torch.zeros(10, 1, 1, 1)}, "by direct takes no null texts"),
        ({"method": inversion.SHARED_NULL_TEXT, "null": torch.zeros(3, 1, 1, 1)}, "3 null texts for 10 steps"),
        ({"seed": -1}, "the seed of the noise is -1: it is a whole number"),
        ({"seed": "x"}, "the seed of the noise is 'x': it is a whole number"),
        *(
            ({"method": inversion.PER_FRAME_NULL_TEXT, "null": torch.zeros(10, *shape)}, "there is one, or one for eac")
            for shape in ((2, TOKENS, WIDTH), (1, TOKENS + 1, WIDTH), (1, TOKENS, WIDTH + 1), (), (1,))
        ),
    ],
)
def test_an_inversion_that_cannot_be_is_refused(sigmas, change, message):
    whole = {
        "method": inversion.DIRECT, "trajectory": torch.zeros(11, 1, 1, 1, 1), "sigmas": sigmas,
        "source": texts(1), "initial_null": texts(1),
    }  # fmt: skip
    Inversion(**whole)
    with pytest.raises(ValueError, match=message):
        Inversion(**whole | change)


def test_an_inversion_names_its_latents(sigmas, clip):
    inverted = make(inversion.DIRECT, sigmas, clip, ToyNetwork())
    assert inverted.steps == 10
    assert torch.equal(inverted.noise, inverted.trajectory[10])
    assert torch.equal(inverted.latent_after(0), inverted.trajectory[9])
    assert torch.equal(inverted.latent_after(9), clip)
    assert inverted.on("meta").sigmas.is_meta and inverted.on("meta").trajectory is inverted.trajectory


@pytest.mark.parametrize("flow", [False, True])
def test_a_virtual_path_is_the_clip_under_one_noise(sigmas, clip, flow):
    levels = sigmas / sigmas[0] if flow else sigmas
    noise = torch.randn_like(clip[:1])
    path = inversion.virtual_path(clip, levels, noise, flow=flow)
    assert torch.equal(path[0], clip)
    for z, sigma in zip(path[1:], levels[:-1].flip(0), strict=True):
        signal, share = (1 - sigma, sigma) if flow else ((1 + sigma**2).rsqrt(), sigma * (1 + sigma**2).rsqrt())
        torch.testing.assert_close(z, signal * clip + share * noise)
