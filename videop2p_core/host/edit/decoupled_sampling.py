"""Decoupled editing under the host's guider: loading, hooks, ControlNet, previews and interruption are its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import comfy.model_management
import comfy.samplers
import torch
from comfy.model_patcher import create_model_options_clone

from ...diffusion.attention_records import WHOLE, check_kept
from ...diffusion.decoupled_guidance import edit_clip, has_source_for_null
from ...diffusion.inversion import Inversion, guide, proximal
from ...diffusion.schedule import to_z
from ...edit.local_blend import Blend, blend_grid, check_grid, fit_mask, local_mask
from ...edit.matrices import Edit
from ..comfy.denoiser import unguided, with_embedding
from ..comfy.latents import as_clip, as_latent, is_video
from ..comfy.other_packs import check_beside, check_one_after_another, check_windows
from ..control.attention_control import Control, Controlled, LayersOnGrid, install
from ..families.wan import ChosenBlocks, chosen_blocks, is_wan, with_slots
from ..model.context_passes import cut, cut_conditioning, during, merged, passes_of
from ..model.feature_cache import FeatureCache, cached
from ..model.temporal_layers import cells_of, transformer_blocks

SOURCE, NULL = "source", "null"
# Of a token's embedding. Half precision moves one by 0.003 at most and 8 bits by 0.04, a weight of 1.1 by 0.08 and
# another word by 0.2.
ALIKE = 0.07


@dataclass(frozen=True)
class Target:
    """What one edit asks for.

    conditioning  the target prompt's CONDITIONING; its first entry is the one that the edit belongs to
    edit          the compiled edit
    blend         whose words make the mask, None for none
    mask          [1 or latent frames, any height, any width], 1 where the edit may act; multiplies the words' mask
    mask_replaces whether it takes the place of the words' mask instead
    blend_blocks  of a video model, which blocks make the words' maps; see wan.chosen_blocks
    """

    conditioning: list
    edit: Edit
    blend: Blend | None = None
    mask: torch.Tensor | None = None
    mask_replaces: bool = False
    blend_blocks: str = ""


@dataclass(frozen=True)
class Edited:
    """An edited clip, latents as the host lays them out, in VAE units.

    masks: of each target, [latent frames, height, width], where the edit was kept in the last step; None without one.
    """

    source: torch.Tensor
    targets: list[torch.Tensor]
    masks: list[torch.Tensor | None]


@dataclass(frozen=True)
class StepDone:
    """Where an edit stands after a step.

    source, targets: z at the model's scale, [frames, channels, height, width]; masks as in Edited;
    word_maps: of each target with a blend, the cumulative maps (source, target), [frames, groups, rows, columns] each.
    """

    step: int
    source: torch.Tensor
    targets: list[torch.Tensor]
    masks: list[torch.Tensor | None]
    word_maps: list[tuple[torch.Tensor, torch.Tensor] | None]


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


class EditGuider(comfy.samplers.CFGGuider):
    """A guider with a source, a null text and any number of targets, which predicts for one of them at a time."""

    def __init__(self, model, source, null, targets, cache_every=1):
        self.cache = FeatureCache(cache_every)
        super().__init__(with_slots(cached(model, self.cache)))
        self.inner_set_conds({SOURCE: source, NULL: null, **dict(enumerate(targets))})
        self.unprocessed = {}
        self.asked = None

    def inner_sample(self, *args, **kwargs):
        # The host gives every conditioning the areas of all others; here only those that are guided together share.
        self.unprocessed = dict(self.conds)
        return super().inner_sample(*args, **kwargs)

    def pairs(self, noise, latent_image, denoise_mask, seed, null=NULL):
        """{key: (positive, negative)}: the source and every target, each prepared with a null text of its own.

        null: NULL, or SOURCE where the source prompt is the null text: guidance cancels only under all of its
        conditioning, as SDXL's pooled vector.
        """

        def prepare(key):
            conds = {"positive": self.unprocessed[key], "negative": self.unprocessed[null]}
            device = self.model_patcher.load_device
            given = {"latent_shapes": [noise.shape]}
            conds = comfy.samplers.process_conds(
                self.inner_model, noise, conds, device, latent_image, denoise_mask, seed, **given
            )
            return conds["positive"], conds["negative"]

        return {key: prepare(key) for key in self.unprocessed if key != NULL}

    def entry(self, key):
        """The uuid of the conditioning entry that an edit belongs to."""
        return self.unprocessed[key][0]["uuid"]

    def guided(self, x, sigma, positive, negative, cfg, model_options, seed):
        """denoised under classifier-free guidance by prepared conditionings, through the wrappers of all nodes."""
        self.asked = positive, negative, cfg
        return self(x, sigma, model_options=model_options, seed=seed)

    def as_inverted(self, x, sigma, positive, negative, cfg, model_options):
        """denoised of the source, predicted as in its inversion: half by half, without the guidance of other nodes."""
        conditional = unguided(self.inner_model, x, sigma, positive, None, model_options)
        if cfg == 1:
            return conditional
        return guide(unguided(self.inner_model, x, sigma, None, negative, model_options), conditional, cfg)

    def predict_noise(self, x, timestep, model_options=None, seed=None):
        positive, negative, cfg = self.asked
        return comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, cfg, model_options=model_options or {}, seed=seed
        )


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
        video = is_video(guider.inner_model)
        # Wan 2.2 would take what a mask keeps for clean already; here it is brought back after each step.
        pairs = guider.pairs(noise, latent_image, None if video else denoise_mask, seed, null)
        controlled = [
            Controlled(
                target.edit, guider.entry(i), target.blend,
                target.blend and word_map_layers(guider.model_patcher, (height, width), target.blend_blocks),
            )
            for i, target in enumerate(self.targets)
        ]  # fmt: skip
        # A video model's attention over all frames takes gigabytes to keep.
        control = Control(guider.entry(SOURCE), controlled, inversion.records, guider.cache.full, on_cpu=video)
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
                options = _with_pre_cfg(options, proximal)
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


def check_one_gpu(model):
    """A MODEL that no other node spreads over several."""
    if model.get_additional_models_with_key("multigpu"):
        raise ValueError("an edit runs on one GPU: remove the node that spreads this model over several")


def word_map_layers(model, size, blocks: str = "") -> LayersOnGrid | ChosenBlocks:
    """The layers whose word maps make a mask for latents of this (height, width). blocks: of a video model, chosen
    ones. Raises ValueError, in a sentence, where there are none."""
    network = model.get_model_object("diffusion_model")
    if is_wan(network):
        return chosen_blocks(network, size, blocks)
    if blocks.strip():
        raise ValueError(
            "blend blocks can be chosen on a video model alone, an image model's mask comes from the layers of one "
            "resolution: leave them empty"
        )
    grid = blend_grid(*size)
    check_grid(grid, [cells_of(network, name, size) for name in transformer_blocks(network)])
    return LayersOnGrid(grid)


def check_parts(inversion, source, null, targets):
    """Whether inversion, conditionings and edits belong together; a sentence where they do not."""
    if not targets:
        raise ValueError("there is no edit: connect at least one Attention Controller")
    for name, conditioning in (("source", source), ("null", null), *(("target", t.conditioning) for t in targets)):
        if not conditioning:
            raise ValueError(f"the {name} conditioning is empty: connect a CLIP Text Encode")
        if "area" in conditioning[0][1] or conditioning[0][1].get("set_area_to_bounds"):
            raise ValueError(
                f"the {name} conditioning is limited to an area: the prompt of an edit needs the whole picture"
            )
    embedding = inversion.source
    for name, given, own in (("source", source, embedding), ("null", null, inversion.initial_null)):
        if not same_embedding(given, own):
            raise ValueError(
                f"the {name} conditioning is not the one that the clip was inverted with: connect the same prompt"
            )
    for target in targets:
        if in_use(target.conditioning[0][1]) != in_use(source[0][1]):
            raise ValueError(
                "the source and the target conditioning are in use at different steps: "
                "give both the same timestep range"
            )
        if inversion.records is not None:
            check_kept(inversion.records, target.edit)
        steps, source_tokens, target_tokens = target.edit.source.shape
        if steps != inversion.steps:
            raise ValueError(
                f"the edit was made for {steps} steps, the inversion has {inversion.steps}: use as many for both"
            )
        if source_tokens != embedding.shape[1] or target_tokens != target.conditioning[0][0].shape[1]:
            raise ValueError(
                f"the edit was made for prompts of {source_tokens} and {target_tokens} tokens, the conditionings have "
                f"{embedding.shape[1]} and {target.conditioning[0][0].shape[1]}: connect those that belong to the edit"
            )
        if target.mask is not None:
            fit_mask(target.mask, len(inversion.noise), inversion.noise.shape[-2:])


def same_embedding(conditioning, embedding) -> bool:
    """Whether a CONDITIONING's first entry holds this embedding [1, tokens, channels], encoded in whatever precision.

    Each token for itself: in the whole of a text, most of which is padding, a word would not be missed.
    """
    found = conditioning[0][0]
    if found.shape != embedding.shape:
        return False
    found, embedding = found.float().cpu(), embedding.float().cpu()
    size = torch.maximum(found.norm(dim=-1), embedding.norm(dim=-1))
    return bool(((found - embedding).norm(dim=-1) <= ALIKE * size).all())


def in_use(options) -> tuple[float, float]:
    """The part of the run in which an entry of a conditioning is in use, by its options."""
    start, end = options.get("start_percent"), options.get("end_percent")
    return 0.0 if start is None else start, 1.0 if end is None else end


@dataclass
class Proximal:
    """A pre-CFG function under which the guidance direction loses its small entries (arXiv 2306.05414)."""

    inversion: Inversion
    acted: bool = False

    def __call__(self, args):
        self.acted, given = True, self.inversion
        cond, uncond, *others = args["conds_out"]
        kept = proximal(cond - uncond, quantile=given.proximal_quantile, soft=given.proximal_soft)
        return [uncond + kept, uncond, *others]


def _with_pre_cfg(model_options, function):
    functions = [*model_options.get("sampler_pre_cfg_function", []), function]
    return {**model_options, "sampler_pre_cfg_function": functions}
