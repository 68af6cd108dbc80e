"""Decoupled editing under the host's guider: loading, hooks, ControlNet, previews and interruption are its own."""

from collections.abc import Sequence
from typing import Any

import comfy.model_management
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.inversion import Inversion
from ..comfy.conditioning import Conditioning
from ..comfy.latents import as_latent
from ..comfy.other_packs import check_beside
from ..control.word_maps import word_map_layers
from ..model.input_checks import check_one_gpu
from .edit_guider import EditGuider
from .edit_run import EditRun
from .target import Edited, Preview, Progress, Target, check_parts


def decoupled_sample(
    model: ModelPatcher,
    inversion: Inversion,
    source: Conditioning,
    null: Conditioning,
    targets: Sequence[Target],
    *,
    coupled: bool = False,
    cache_every: int = 1,
    denoise_mask: Tensor | None = None,
    seed: int = 0,
    callback: Preview | None = None,
    progress: Progress | None = None,
) -> Edited:
    """Edit an inverted clip towards every target, the source denoised once a step for all of them.

    source, null: CONDITIONING of the source prompt and of the initial null text; cache_every: which steps the UNet is
    evaluated in full, see FeatureCache; denoise_mask: of the LATENT;
    callback(step, denoised, x, steps): the host's preview; progress(StepDone): after each step.
    Raises ValueError where the parts do not belong together, before anything is sampled.
    """
    check_one_gpu(model)
    check_beside(model)
    check_parts(inversion, source, null, targets)
    for target in targets:
        if target.blend:
            word_map_layers(model, inversion.noise.shape[-2:], target.blend_blocks)
    guider = EditGuider(model, source, null, [target.conditioning for target in targets], cache_every)
    sampler = EditSampler(inversion, targets, coupled, progress)
    noise = as_latent(model.model, inversion.noise.float().cpu())
    samples = guider.sample(
        noise, torch.zeros_like(noise), sampler, inversion.sigmas.float().cpu(),
        denoise_mask=denoise_mask, callback=callback, disable_pbar=True, seed=seed,
    )  # fmt: skip
    source_latent, *edited = samples.cpu().split(len(noise))
    return Edited(source_latent, edited, [mask if mask is None else mask.cpu() for mask in sampler.masks])


class EditSampler(comfy.samplers.Sampler):
    """The editing loop as a sampler: gives back the source and the targets, one after the other on the batch axis."""

    def __init__(
        self, inversion: Inversion, targets: Sequence[Target], coupled: bool = False, progress: Progress | None = None
    ):
        self.inversion, self.targets, self.coupled, self.progress = inversion, targets, coupled, progress
        self.masks: list[Tensor | None] = [None] * len(targets)

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
        inversion = self.inversion.on(noise.device)
        run = EditRun(
            guider, inversion, self.targets, sigmas, extra_args, noise, latent_image, denoise_mask, self.coupled
        )
        source, edited = run.run(self.progress, callback)
        self.masks = run.masks
        return torch.cat([as_latent(guider.inner_model, x) for x in (source, *edited)])
