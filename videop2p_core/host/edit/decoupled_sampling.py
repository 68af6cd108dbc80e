"""Decoupled editing under the host's guider: loading, hooks, ControlNet, previews and interruption are its own."""

from collections.abc import Sequence
from math import prod

import comfy.model_management
import comfy.samplers
import torch
from comfy.model_patcher import create_model_options_clone

from ...diffusion.attention_records import WHOLE
from ...diffusion.decoupled_guidance import edit_clip, has_source_for_null
from ...diffusion.inversion import Inversion
from ...diffusion.schedule import to_z
from ...edit.local_blend import fit_mask, local_mask
from ..comfy.denoiser import with_embedding
from ..comfy.latents import as_clip, as_latent
from ..comfy.model_patches import install
from ..comfy.other_packs import check_beside, check_one_after_another, check_windows
from ..control.attention_control import AttentionControl, ControlledTarget
from ..control.word_maps import word_map_layers
from ..families.table import family_of
from ..model.context_passes import cut, cut_conditioning, during, merged, passes_of
from ..model.input_checks import check_one_gpu
from .edit_guider import NULL, SOURCE, EditGuider, Proximal, with_pre_cfg
from .target import Edited, StepDone, Target, check_parts


def decoupled_sample(
    model, inversion: Inversion, source, null, targets: Sequence[Target], *,
    coupled=False, cache_every=1, denoise_mask=None, seed=0, callback=None, progress=None,
) -> Edited:  # fmt: skip
    """Edit an inverted clip towards every target, the source denoised once a step for all of them.

    source, null: CONDITIONING of the source prompt and of the initial null text; cache_every: which steps the UNet is
    evaluated in full, see caching.FeatureCache; denoise_mask: of the LATENT;
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

    def __init__(self, inversion, targets, coupled=False, progress=None):
        self.inversion, self.targets, self.coupled, self.progress = inversion, targets, coupled, progress
        self.masks = [None] * len(targets)

    def sample(
        self, guider, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, *args, **kwargs
    ):
        inversion, seed = self.inversion.on(noise.device), extra_args["seed"]
        height, width = noise.shape[-2:]
        null = SOURCE if has_source_for_null(inversion, self.coupled) else NULL
        whole_clip = family_of(guider.model_patcher).sees_whole_clip
        # Wan 2.2 would take what a mask keeps for clean already; here it is brought back after each step.
        pairs = guider.pairs(noise, latent_image, None if whole_clip else denoise_mask, seed, null)
        controlled = [
            ControlledTarget(
                target.edit, guider.entry(i), target.blend,
                target.blend and word_map_layers(guider.model_patcher, (height, width), target.blend_blocks),
            )
            for i, target in enumerate(self.targets)
        ]  # fmt: skip
        # A video model's attention over all frames takes gigabytes to keep.
        control = AttentionControl(
            guider.entry(SOURCE), controlled, inversion.records, guider.cache.full, on_cpu=whole_clip
        )
        given_options = extra_args["model_options"]
        model_options = create_model_options_clone(given_options)
        install(control, model_options)
        clip = as_clip(noise)
        given_masks = [
            None if target.mask is None else fit_mask(target.mask.to(noise), len(clip), (height, width))
            for target in self.targets
        ]
        denoised = clip
        check_windows(given_options)
        handler = given_options.get("context_handler")
        if len(self.targets) > 1 or (handler is not None and handler.cuts(clip)):
            check_one_after_another(given_options)

        def laid_out(x):
            return as_latent(guider.inner_model, x)

        def denoise_pass(window, sigma, branch, x):
            comfy.model_management.throw_exception_if_processing_interrupted()
            guider.cache.at(branch.step, (branch.target, window and window.key))
            if branch.target is None:
                control.record(branch.step)
            else:
                control.replay(branch.step, branch.target)
            positive, negative = pairs[SOURCE if branch.target is None else branch.target]
            negative = negative if branch.null is None else with_embedding(negative, branch.null)
            positive, negative = (cut_conditioning(cond, x, window, model_options) for cond in (positive, negative))
            options, proximal = during(window, model_options), Proximal(inversion)
            if branch.proximal and branch.cfg != 1:
                options = with_pre_cfg(options, proximal)
            x = laid_out(cut(x, window))
            given = x, sigma.expand(len(x)), positive, negative, branch.cfg, options
            predicted = guider.as_inverted(*given) if branch.target is None else guider.guided(*given, seed)
            control.check_seen()
            if branch.proximal and branch.cfg != 1 and not proximal.acted:
                raise ValueError(
                    "another node on this model samples in a way of its own (AnimateDiff-Evolved, for instance) and "
                    "leaves proximal guidance out: choose another method in DDIM Invert"
                )
            return as_clip(predicted)

        def denoise(sigma, asked):
            nonlocal denoised
            windows, predicted = passes_of(clip, sigma.expand(len(clip)), guider.inner_model, model_options), []
            for window in windows:
                if inversion.records is not None:
                    control.recall(asked[0][0].step, WHOLE if window is None else window.key)
                predicted.append([denoise_pass(window, sigma, *branch) for branch in asked])
            clips = [merged(zip(windows, parts, strict=True)) for parts in zip(*predicted, strict=True)]
            denoised = clips[-1]
            return clips

        def latent_mask(step):
            if denoise_mask is None or "denoise_mask_function" not in given_options:
                return denoise_mask
            sigma, extra = sigmas[step].expand(len(noise)), {"model": guider, "sigmas": sigmas}
            return given_options["denoise_mask_function"](sigma, denoise_mask, extra_options=extra)

        def mask(step, index):
            if index == 0:
                control.close_step()
            target, masks = self.targets[index], []
            words_count = not (target.mask_replaces and target.mask is not None)
            maps = control.word_maps(index)
            if (
                target.blend
                and words_count
                and target.blend.acts(step, inversion.steps)
                and not any(m is None for m in maps)
            ):
                masks.append(local_mask(target.blend, *maps, (height, width)))
            if given_masks[index] is not None:
                masks.append(given_masks[index])
            if denoise_mask is not None:
                masks.append(as_clip(latent_mask(step)).mean(dim=1))
            self.masks[index] = prod(masks) if masks else None
            return self.masks[index]

        def progress(step, source, edited):
            if self.progress:
                z = [to_z(x, inversion.sigmas[step + 1], flow=inversion.flow) for x in (source, *edited)]
                maps = [control.word_maps(i) if t.blend else None for i, t in enumerate(self.targets)]
                self.progress(StepDone(step, z[0], z[1:], list(self.masks), maps))
            if callback:
                callback(step, laid_out(denoised), laid_out(edited[-1]), inversion.steps)

        source, edited = edit_clip(
            denoise, inversion, len(self.targets), coupled=self.coupled,
            source_needed=control.source_needed, mask=mask, progress=progress,
        )  # fmt: skip
        return torch.cat([laid_out(x) for x in (source, *edited)])
