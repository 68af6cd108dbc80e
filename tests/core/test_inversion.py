import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion import inversion, schedule
from comfyui_videop2p.videop2p_core.diffusion import null_text as null_texts
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from torch import nn

FRAMES, CHANNELS, SIDE, TOKENS, WIDTH = 3, 4, 6, 7, 5


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def sigmas():
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return schedule.ddim_sigmas(schedule.sigmas_from_alphas_cumprod(torch.cumprod(1 - betas, dim=0)), 10)


@pytest.fixture
def clip():
    return torch.randn(FRAMES, CHANNELS, SIDE, SIDE, dtype=torch.float64)


def gaussian(mean, variance):
    """The exact denoiser of data that are normal in every pixel."""
    return lambda x, sigma, _: mean + variance / (variance + sigma**2) * (x - mean)


class ToyNetwork(nn.Module):
    """A nonlinear denoiser that listens to its text, frame by frame."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(CHANNELS, CHANNELS, dtype=torch.float64) * 0.4)
        self.read = nn.Parameter(torch.randn(WIDTH, CHANNELS, dtype=torch.float64))
        self.calls = []

    def forward(self, x, sigma, text):
        self.calls.append(text)
        z = x / (1 + sigma**2).sqrt()
        word = (text.mean(dim=1) @ self.read)[:, :, None, None]  # [1 or frames, channels, 1, 1]
        noise = torch.tanh(torch.einsum("fchw,cd->fdhw", z, self.mix) + word)
        return x - sigma * noise


def texts(*shape):
    return torch.randn(*shape, TOKENS, WIDTH, dtype=torch.float64)


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


def null_text(network, sigmas, clip, **settings):
    source, initial = texts(1), texts(1)
    trajectory = inversion.ddim_invert(network, clip, sigmas, source)
    network.calls.clear()
    found = null_texts.optimise_null_text(network, trajectory, sigmas, source, initial, **settings)
    return found, trajectory, source, initial


@pytest.mark.parametrize("per_frame", [False, True])
def test_null_text_lowers_the_loss_and_leaves_the_weights_alone(sigmas, clip, per_frame):
    network = ToyNetwork()
    before = [parameter.clone() for parameter in network.parameters()]
    found, *_ = null_text(network, sigmas, clip, cfg=2.0, per_frame=per_frame)
    assert found.null.shape == (10, FRAMES if per_frame else 1, TOKENS, WIDTH)
    assert found.reconstruction.shape == (10, *clip.shape)
    assert all(losses[-1] < losses[0] for losses in found.losses if len(losses) > 1)
    assert any(len(losses) > 1 for losses in found.losses)
    for parameter, value in zip(network.parameters(), before, strict=True):
        assert parameter.grad is None and torch.equal(parameter, value)
    assert not found.null.requires_grad and not found.reconstruction.requires_grad


def test_null_text_comes_closer_to_the_clip_than_plain_guidance(sigmas, clip):
    network = ToyNetwork()
    found, trajectory, source, initial = null_text(network, sigmas, clip, cfg=2.0, inner_steps=30)
    plain, *_ = null_texts.optimise_null_text(
        network, trajectory, sigmas, source, initial, cfg=2.0, inner_steps=0
    ).reconstruction[-1:]
    assert (found.reconstruction[-1] - clip).norm() < 0.9 * (plain - clip).norm()


def test_one_embedding_a_frame_fits_at_least_as_well(sigmas, clip):
    network = ToyNetwork()
    torch.manual_seed(1)
    shared = null_text(network, sigmas, clip, cfg=2.0, inner_steps=40)[0]
    torch.manual_seed(1)
    own = null_text(network, sigmas, clip, cfg=2.0, inner_steps=40, per_frame=True)[0]
    assert (own.reconstruction[-1] - clip).norm() < (shared.reconstruction[-1] - clip).norm()


def test_null_text_is_the_published_algorithm_written_out(sigmas, clip):
    """No fixed conditional prediction, no shared helpers: one naive loop in z, the formulas of the paper."""
    network, inner = ToyNetwork(), 4
    found, trajectory, source, null = null_text(network, sigmas, clip, cfg=7.5, inner_steps=inner, epsilon=0.02)
    alphas = 1 / (1 + sigmas**2)

    def noise(z, step, text):
        x = z * (1 + sigmas[step] ** 2).sqrt()
        return (x - network(x, sigmas[step], text)) / sigmas[step]

    def advance(z, step, text):
        uncond, cond = noise(z, step, text), noise(z, step, source)
        e, a, b = uncond + 7.5 * (cond - uncond), alphas[step], alphas[step + 1]
        return b.sqrt() * (z - (1 - a).sqrt() * e) / a.sqrt() + (1 - b).sqrt() * e

    z = trajectory[-1]
    for step in range(10):
        null = null.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([null], lr=1e-2 * (1 - step / 20))
        losses = []
        for _ in range(inner):
            loss = ((advance(z, step, null) - trajectory[9 - step]) ** 2).mean()
            optimizer.zero_grad()
            loss.backward(inputs=[null])
            optimizer.step()
            losses.append(loss.item())
            if loss.item() < 0.02 + step * 2e-5:
                break
        z = advance(z, step, null).detach()
        assert len(losses) == len(found.losses[step])
        torch.testing.assert_close(torch.tensor(losses), torch.tensor(found.losses[step]))
        torch.testing.assert_close(null.detach(), found.null[step])
        torch.testing.assert_close(z, found.reconstruction[step])


def test_a_step_stops_after_the_update_whose_loss_was_small_enough(sigmas, clip):
    found, _, _, initial = null_text(ToyNetwork(), sigmas, clip, epsilon=1e9)
    assert [len(losses) for losses in found.losses] == [1] * 10
    assert not torch.equal(found.null[0], initial)  # the update is made before the stop


def test_each_step_starts_from_the_last_ones_embedding(sigmas, clip):
    found, _, _, initial = null_text(ToyNetwork(), sigmas, clip, inner_steps=1)
    rates = torch.tensor(null_texts.null_text_learning_rates(10))
    moved = (found.null - torch.cat([initial[None], found.null[:-1]])).abs()
    # Adam's first update moves every element by the learning rate.
    torch.testing.assert_close(moved.amax(dim=(1, 2, 3)).float(), rates, rtol=1e-4, atol=0)


def test_the_conditional_prediction_is_computed_once_a_step(sigmas, clip):
    network = ToyNetwork()
    found, _, source, _ = null_text(network, sigmas, clip, epsilon=-1.0, inner_steps=5)
    assert sum(text is source for text in network.calls) == 10
    assert len(network.calls) == 10 * (1 + 5 + 1)  # the step itself is made with the finished embedding
    assert len(found.losses) == 10


def test_learning_rates_that_do_not_fit_are_named(sigmas, clip):
    with pytest.raises(ValueError, match="3 learning rates were given for 10 steps"):
        null_text(ToyNetwork(), sigmas, clip, learning_rates=[0.1] * 3)


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


@pytest.mark.parametrize("soft", [False, True])
def test_proximal_is_its_formula_element_by_element(soft):
    guidance = torch.randn(FRAMES, CHANNELS, SIDE, SIDE)
    found = inversion.proximal(guidance, quantile=0.7, soft=soft)
    for frame, result in zip(guidance, found, strict=True):
        threshold = sorted(frame.abs().flatten().tolist())
        position = 0.7 * (len(threshold) - 1)
        below = int(position)
        q = threshold[below] + (position - below) * (threshold[below + 1] - threshold[below])
        for d, ours in zip(frame.flatten().tolist(), result.flatten().tolist(), strict=True):
            if soft:
                naive = d - max(-q, min(q, d))
            else:
                naive = d if abs(d) > q else 0.0
            assert ours == pytest.approx(naive, abs=1e-6)


def test_proximal_leaves_three_tenths_of_each_frame_whatever_its_scale():
    guidance = torch.randn(2, 10, 10, 10) * torch.tensor([1.0, 100.0]).reshape(2, 1, 1, 1)
    kept = (inversion.proximal(guidance) != 0).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(kept, torch.tensor([0.3, 0.3]))
    torch.testing.assert_close(inversion.proximal(-2 * guidance), -2 * inversion.proximal(guidance))


def test_a_quantile_outside_its_range_is_named():
    with pytest.raises(ValueError, match="quantile is 1.2"):
        inversion.proximal(torch.randn(1, 2), quantile=1.2)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "magic"}, "'magic' is not an inversion method: shared null-text"),
        ({"trajectory": torch.zeros(4, 1, 1, 1, 1)}, "4 latents for 11 noise levels"),
        ({"method": inversion.SHARED_NULL_TEXT}, "by shared null-text has no null texts"),
        ({"null": torch.zeros(10, 1, 1, 1)}, "by direct takes no null texts"),
        ({"method": inversion.SHARED_NULL_TEXT, "null": torch.zeros(3, 1, 1, 1)}, "3 null texts for 10 steps"),
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


def test_a_replay_never_looks_at_the_stored_path(sigmas, clip):
    def network(x, sigma, _):
        return 0.9 * x / (1 + sigma**2)

    trajectory = inversion.ddim_invert(network, clip, sigmas, None)
    stored = Inversion(inversion.DIRECT, trajectory, sigmas, source=texts(1), initial_null=texts(1))
    replayed = inversion.replay(network, stored, None)
    torch.testing.assert_close(replayed[-1], down(network, trajectory[-1], sigmas))
    assert not torch.allclose(replayed[-1], clip)
    assert torch.equal(inversion.reconstruct(network, stored, None)[-1], clip)
