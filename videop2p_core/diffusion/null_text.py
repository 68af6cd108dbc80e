"""Null-text optimisation (arXiv 2211.09794): a null text that leads a guided run back to its source."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from einops import repeat
from torch import Tensor

from ..device_transfer import sent
from ..finite import check_finite
from . import schedule
from .guidance import classifier_free_guidance
from .inversion import Denoise, Progress
from .unfinished import State, Unfinished


@dataclass(frozen=True)
class NullText:
    """null [steps, 1 or frames, tokens, channels]; reconstruction [steps, *latent], z after each step; both in main
    memory; losses[i][j] before update j of step i."""

    null: Tensor
    reconstruction: Tensor
    losses: tuple[tuple[float, ...], ...]


def null_text_learning_rates(steps: int) -> list[float]:
    """1e-2 (1 - i / (2 steps)) at step i."""
    return [1e-2 * (1 - step / (2 * steps)) for step in range(steps)]


@torch.no_grad()
def optimise_null_text(
    denoise: Denoise,
    trajectory: Tensor,
    sigmas: Tensor,
    source: Any,
    initial_null: Tensor,
    *,
    cfg: float = 7.5,
    per_frame: bool = False,
    inner_steps: int = 10,
    epsilon: float = 1e-5,
    epsilon_growth: float = 2e-5,
    learning_rates: Sequence[float] | None = None,
    flow: bool = False,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
) -> NullText:
    """Null-text optimisation (arXiv 2211.09794), its embedding shared by all frames (arXiv 2303.04761, section 3.2) or
    one per frame.

    trajectory [steps + 1, *latent] from `ddim_invert`, initial_null [1, tokens, channels]. At step i the embedding
    starts from the last step's, a new Adam moves it at most `inner_steps` times towards the stored path, and stops
    after the update whose loss was below epsilon + i epsilon_growth. Only the embedding gets a gradient; `denoise`
    must be differentiable in its conditioning. `unfinished` and values that are no numbers: as in `ddim_invert`.
    """
    steps = len(sigmas) - 1
    learning_rates = null_text_learning_rates(steps) if learning_rates is None else learning_rates
    if len(learning_rates) != steps:
        raise ValueError(f"{len(learning_rates)} learning rates were given for {steps} steps")
    frames = trajectory.shape[1]
    null = repeat(initial_null, "1 tokens channels -> frames tokens channels", frames=frames if per_frame else 1)

    nulls, reconstruction, losses = [], [], []
    x = schedule.to_x(sent(trajectory[-1], sigmas.device), sigmas[0], flow=flow)
    unfinished = unfinished or Unfinished()

    def state() -> State:
        padded = [[*row, *[torch.nan] * (inner_steps - len(row))] for row in losses]
        return {
            "x": x,
            "nulls": torch.stack(nulls),
            "reconstruction": torch.stack(reconstruction),
            "losses": torch.tensor(padded, dtype=torch.float64),
        }

    for step, (sigma, next_sigma) in enumerate(pairwise(sigmas)):
        if step < len(nulls):  # of the run before this one
            continue
        cond = denoise(x, sigma, source)
        goal = sent(trajectory[steps - 1 - step], x.device)

        def advance(
            null: Tensor, x: Tensor = x, cond: Tensor = cond, sigma: Tensor = sigma, next_sigma: Tensor = next_sigma
        ) -> Tensor:
            denoised = classifier_free_guidance(denoise(x, sigma, null), cond, cfg)
            return schedule.ddim_step(x, schedule.direction(x, denoised, sigma), sigma, next_sigma)

        null = null.detach().clone().requires_grad_()
        optimizer = torch.optim.Adam([null], lr=learning_rates[step])
        losses.append([])
        for _ in range(inner_steps):
            with torch.enable_grad():
                loss = (schedule.to_z(advance(null), next_sigma, flow=flow) - goal).square().mean()
                (null.grad,) = torch.autograd.grad(loss, null)
            optimizer.step()
            losses[-1].append(loss.item())
            if losses[-1][-1] < epsilon + step * epsilon_growth:
                break

        null = null.detach()
        x = advance(null)
        z = schedule.to_z(x, next_sigma, flow=flow)
        nulls.append(null.cpu())
        reconstruction.append(z.cpu())
        check_finite(x, f"step {step + 1} of the null-text optimisation")
        if step == 0 and (checkpoint := unfinished.of_same_run(reconstruction[0] - trajectory[-1])):
            x = checkpoint["x"].to(x)
            nulls, reconstruction = (
                list(checkpoint["nulls"].to(null.dtype)),
                list(checkpoint["reconstruction"].to(x.dtype)),
            )
            losses = [row[~row.isnan()].tolist() for row in checkpoint["losses"]]
            null, z = nulls[-1].to(null), reconstruction[-1].to(x)
        if progress:
            for done, reached in enumerate([*reconstruction[step:-1], z], step):
                progress(done, reached.to(z))
        unfinished.keep(step + 1, state)
    return NullText(torch.stack(nulls), torch.stack(reconstruction), tuple(map(tuple, losses)))
