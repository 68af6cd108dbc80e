"""Decoupled editing under the host's guider: loading, hooks, ControlNet, previews and interruption are its own."""

from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..comfy.latents import as_latent
from .edit_guider import EditGuider
from .edit_run import EditRun
from .target import Edited, PreparedEdit, Preview, Progress, on_one_path


def decoupled_sample(
    model: ModelPatcher,
    prepared: PreparedEdit,
    *,
    coupled: bool = False,
    cache_every: int = 1,
    denoise_mask: Tensor | None = None,
    seed: int = 0,
    callback: Preview | None = None,
    progress: Progress | None = None,
) -> Edited:
    """Edit an inverted clip towards every target, the source denoised once a step for all of them.

    cache_every: which steps the UNet is evaluated in full, see FeatureCache; denoise_mask: of the LATENT;
    callback(step, denoised, x, steps): the host's preview; progress(StepDone): after each step.
    """
    guider, sampler = EditGuider(model, prepared, cache_every), EditSampler(prepared, coupled, progress)
    noise = as_latent(model.model, prepared.inversion.noise.float().cpu())
    samples = guider.sample(
        noise, torch.zeros_like(noise), sampler, prepared.inversion.sigmas.float().cpu(),
        denoise_mask=denoise_mask, callback=callback, disable_pbar=True, seed=seed,
    )  # fmt: skip
    source_latent, *edited = samples.cpu().split(len(noise))
    masks = [mask if mask is None else mask.cpu() for mask in sampler.masks]
    places = [pair and (pair[0].cpu(), pair[1].cpu()) for pair in sampler.places]
    return Edited(source_latent, edited, masks, places)


class EditSampler(comfy.samplers.Sampler):
    """The editing loop as a sampler: gives back the source and the targets, one after the other on the batch axis."""

    def __init__(self, prepared: PreparedEdit, coupled: bool = False, progress: Progress | None = None) -> None:
        self.prepared, self.coupled, self.progress = prepared, coupled, progress
        self.masks: list[Tensor | None] = [None] * len(prepared.targets)
        self.places: list[tuple[Tensor, Tensor] | None] = [None] * len(prepared.targets)

    def sample(
        self,
        guider: EditGuider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Preview | None,
        noise: Tensor,
        latent_image: Tensor | None = None,
        denoise_mask: Tensor | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        inversion, targets = self.prepared.inversion.on(noise.device), self.prepared.targets
        source, edited = noise, [noise] * len(targets)
        for keys in on_one_path(targets):
            some = {key: targets[key] for key in keys}
            run = EditRun(guider, inversion, some, sigmas, extra_args, noise, latent_image, denoise_mask, self.coupled)
            source, latents = run.run(self.progress, callback)
            for key, latent, mask, places in zip(keys, latents, run.masks, run.places, strict=True):
                edited[key], self.masks[key], self.places[key] = latent, mask, places
        return torch.cat([as_latent(guider.inner_model, x) for x in (source, *edited)])
