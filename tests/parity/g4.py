"""G4: null-text optimisation, one embedding for all frames."""

import torch
from einops import rearrange

from ...videop2p_core.diffusion.schedule import ddim_sigmas
from ...videop2p_core.host.source.inversion import optimise_null_text
from ..core.sd_schedule import alphas_cumprod, sigmas_of
from .g2 import relative
from .model import inflated_model, load_json, load_tensors
from .result import Result

NAME = "g4_null_text"


def check(directory):
    tensors, settings = load_tensors(directory, NAME), load_json(directory, NAME)
    model = inflated_model(directory)
    results = []
    for variant, reference in settings.items():
        if not isinstance(reference, dict):
            continue
        initial, uncond = tensors[f"{variant}.initial_uncond"], tensors[f"{variant}.uncond"]
        trajectory = rearrange(tensors[f"{variant}.trajectory"], "n c f h w -> n f c h w")
        steps = len(trajectory) - 1
        found = optimise_null_text(
            model,
            positive=[[tensors["context"], {}]],
            negative=[[initial, {}]],
            trajectory=trajectory,
            sigmas=reference_sigmas(steps),
            inner_steps=reference["inner"],
            epsilon=reference["epsilon"],
            learning_rates=[1e-2 * (1 - step / 100) for step in range(steps)],
        )
        near = "near" in reference  # an embedding that starts close to its goal has small, noisy gradients
        ours, theirs = found.losses, reference["losses"]
        counts = sum(len(a) != len(b) for a, b in zip(ours, theirs, strict=True))
        loss_errors = [relative(a, b) if len(a) == len(b) else float("inf") for a, b in zip(ours, theirs, strict=True)]
        uncond_errors = [l2(a - b) / l2(b - initial[0]) for a, b in zip(found.null[:, 0].cpu(), uncond, strict=True)]
        reconstruction = rearrange(found.reconstruction.cpu(), "n f c h w -> n c f h w")
        rms_errors = (reconstruction - tensors[f"{variant}.reconstruction"]).square().mean(dim=(1, 2, 3, 4)).sqrt()
        results += [
            Result(f"{variant}.inner iterations", float(counts), 0.0),
            Result(f"{variant}.losses of step 0", loss_errors[0], 1e-5),
            Result(f"{variant}.losses", max(loss_errors), 5e-3 if near else 1e-4),
            Result(f"{variant}.uncond of step 0", uncond_errors[0], 1e-3),
            Result(f"{variant}.uncond", max(uncond_errors), 1e-1 if near else 2e-2),
            Result(f"{variant}.reconstruction", rms_errors.max().item(), 5e-3 if near else 2e-3),
        ]
    return results


def reference_sigmas(steps):
    """The levels that the reference ran on: it accumulates its alphas in float32, the host in float64."""
    return ddim_sigmas(sigmas_of(alphas_cumprod(torch.float32)), steps)


def l2(tensor):
    return tensor.double().norm().item()
