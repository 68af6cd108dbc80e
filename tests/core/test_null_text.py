"""Null-text optimisation: the published algorithm, written out."""

import pytest
import torch
from comfyui_videop2p.tests.core.toy_network import FRAMES, TOKENS, WIDTH, ToyNetwork, clip, seed, sigmas, texts
from comfyui_videop2p.videop2p_core.diffusion import inversion
from comfyui_videop2p.videop2p_core.diffusion import null_text as null_texts

__all__ = ["clip", "seed", "sigmas"]


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
