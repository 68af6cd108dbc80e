"""Noise levels, the DDIM step and its inverse, in sigma space.

Two scales of a latent are used. `z` is what the method's formulas speak of and what an inversion stores;
`x` is what a denoiser is given. With a = cumulative alpha and sigma = sqrt((1 - a) / a):

    z = sqrt(a) z_0 + sqrt(1 - a) noise,    x = z sqrt(1 + sigma^2) = z_0 + sigma noise

and a deterministic DDIM step (arXiv 2010.02502, eta 0) is an Euler step of dx/dsigma. A flow model
(`flow=True`) has x = z = (1 - sigma) z_0 + sigma noise; the step is the same Euler step, its direction the velocity.
"""

import torch
from torch import Tensor

PREDICTIONS = ("eps", "v", "x0", "flow")


def ddim_timesteps(steps: int, train_steps: int = 1000) -> Tensor:
    """The timesteps a model trained on `train_steps` levels is run at, noisiest first: [steps], int64.

    Raises ValueError where the schedule has fewer levels than steps are asked for.
    """
    if not 1 <= steps < train_steps:
        raise ValueError(f"{steps} steps were asked for; the model's schedule has room for 1 to {train_steps - 1}")
    return torch.arange(steps - 1, -1, -1) * (train_steps // steps) + 1


def ddim_sigmas(model_sigmas: Tensor, steps: int) -> Tensor:
    """The noise levels of `steps` DDIM steps, noisiest first: [steps + 1].

    `model_sigmas` [train_steps] is the model's own table, cleanest first. The last level is the table's first
    (a_0, not a = 1), so the clean latent counts as lying at that level.
    """
    timesteps = ddim_timesteps(steps, len(model_sigmas))
    return torch.cat([model_sigmas[timesteps.to(model_sigmas.device)], model_sigmas[:1]])


def to_x(z: Tensor, sigma: Tensor, *, flow: bool = False) -> Tensor:
    """The denoiser's input for latent z under the label of level `sigma`.

    The level need not be the latent's own: DDIM inversion evaluates the network at the latent of one level with the
    label of the next.
    """
    return z if flow else z * (1 + sigma**2).sqrt()


def to_z(x: Tensor, sigma: Tensor, *, flow: bool = False) -> Tensor:
    """The inverse of `to_x`."""
    return x if flow else x / (1 + sigma**2).sqrt()


def add_noise(z0: Tensor, noise: Tensor, sigma: Tensor, *, flow: bool = False) -> Tensor:
    """x of a clean latent at level `sigma`."""
    return sigma * noise + ((1 - sigma) * z0 if flow else z0)


def direction(x: Tensor, denoised: Tensor, sigma: Tensor) -> Tensor:
    """dx/dsigma at level sigma > 0: the predicted noise, or the velocity of a flow model."""
    return (x - denoised) / sigma


def ddim_step(x: Tensor, direction: Tensor, sigma: Tensor, next_sigma: Tensor) -> Tensor:
    """From level `sigma` to `next_sigma`, up or down. With the same direction and the levels exchanged it is its own
    inverse."""
    return x + direction * (next_sigma - sigma)


def prediction_weight(sigma: Tensor, prediction: str) -> Tensor:
    """w such that w * (denoised - z_0) is the error of the model's own prediction, up to sign.

    `prediction` is one of PREDICTIONS.
    """
    weights = {
        "eps": lambda: 1 / sigma,
        "v": lambda: (1 + sigma**2).sqrt() / sigma,
        "x0": lambda: torch.ones_like(sigma),
        "flow": lambda: 1 / sigma,
    }
    if prediction not in weights:
        raise ValueError(f"'{prediction}' is not a prediction type: {', '.join(PREDICTIONS)}")
    return weights[prediction]()
