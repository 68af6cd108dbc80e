"""Where words look: how much attention the places of every frame pay to a word, over the steps of a run.

A word's map is linear in V (arXiv 2303.04761, section 3.2), so it is one more column beside those that LocalBlend asks
for. The source's maps come from its stored path, the target's from the edit itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from einops import rearrange
from torch import Tensor

from ...device_transfer import sent
from ...diffusion import schedule
from ...edit.edit_plan import EditPlan
from ...edit.grids import fitted
from ...edit.local_blend import Blend, word_columns
from ...edit.matrices import Edit, no_edit
from ...edit.places import LARGEST
from ...edit.prompt import Prompt, word_tokens
from ...finite import check_finite
from ..comfy.denoiser import SOURCE, Denoiser, run
from ..comfy.latents import as_clip, for_pictures, latent_out, left_over, pictures_of
from ..comfy.model_patches import install
from ..comfy.progress import edit_progress, latent_progress
from ..control.affinities import Affinities, sharpened
from ..control.attention_control import AttentionControl
from ..control.controlled_target import ControlledTarget
from ..control.word_maps import word_map_layers
from ..families.table import family_of
from ..images.frames import frames_of
from ..images.plots import heat_grid, heat_overlay
from ..model import memory_budget as budget
from ..model.input_checks import check_sharp
from .decoupled_sampling import decoupled_sample
from .edit_inputs import PreparedEdit, within_memory
from .target import StepDone, Target

BRANCHES = ("source", "target")
UNUSED = "the {branch} conditioning is not in use in these steps: give it the whole run, or take others"
NEVER = 2.0  # a blend that starts after twice the steps


@dataclass(frozen=True)
class WordAttention:
    """Where words look.

    masks: [words, frames, height, width], 1 where a word looks most in a frame, 0 where not at all
    overlays: of each word its mask in colours over the frames, [frames, height, width, 3]
    grid: [1, height, width, 3], a row a word, a column a frame
    """

    masks: Tensor
    overlays: list[Tensor]
    grid: Tensor


def attention_maps(
    model: ModelPatcher,
    prepared: PreparedEdit,
    plan: EditPlan,
    words: Sequence[str],
    branch: str,
    step: int = 0,
    images: Tensor | None = None,
    sharp: bool = False,
    origins: str | None = None,
) -> WordAttention:
    """Where words of the source or the target prompt look: in one step (1 = the noisiest), or on the mean of all (0).

    prepared: of the one edit that was planned; words: see `words_of`; images: IMAGE of the clip's frames, or None;
    sharp: whether maps are spread to the edges of what they look at (edit/places.py); origins: as in
    `run_within_memory`.
    Raises ValueError for a word, a step or images that do not fit, before anything is sampled.
    """
    inversion = prepared.inversion
    frames, _, *size = inversion.noise.shape
    words = words_of(plan, branch, words)
    columns = columns_of(getattr(plan, branch), words, branch)
    if not 0 <= step <= inversion.steps:
        raise ValueError(
            f"step {step} was asked for, but the inversion has {inversion.steps}: give one of them, or 0 for all"
        )
    pictures = pictures_of(model.model, frames)
    images = None if images is None else frames_of(images, "the images input")
    if images is not None and len(images) != pictures:
        raise ValueError(
            f"there are {len(images)} images for a clip of {pictures} frames: connect the frames that were inverted"
            f"{left_over(model.model, len(images), frames)}"
        )
    word_map_layers(model, size, prepared.targets[0].blend_blocks)
    if sharp:
        check_sharp(model, inversion, branch)
    first, end = (step - 1, step) if step else (0, inversion.steps)
    maps = maps_within_memory(model, prepared, columns, first, end, branch, sharp, origins).cpu()
    check_finite(maps, "the attention to the words")
    factor = model.model.latent_format.spacial_downscale_ratio
    masks = masks_of(maps, [factor * side for side in size])
    masks = torch.stack([for_pictures(model.model, mask) for mask in masks])
    overlays = [heat_overlay(mask, images) for mask in masks]
    when = f"step {step} of {inversion.steps}" if step else f"mean of {inversion.steps} steps"
    return WordAttention(masks, overlays, heat_grid(words, overlays, f"{branch} prompt, {when}"))


def words_of(plan: EditPlan, branch: str, words: Sequence[str] = ()) -> tuple[str, ...]:
    """The words that were asked for; else those of the prompt that the edit blends; else all of the prompt's."""
    blended, every = getattr(plan, f"blend_{branch}"), getattr(plan, branch).words
    return tuple(words or blended or dict.fromkeys(word.text for word in every))


def columns_of(prompt: Prompt, words: Sequence[str], role: str) -> Tensor:
    """[tokens, words]: 1 at the tokens of each word."""
    columns = torch.zeros(len(prompt), len(words))
    for column, word in enumerate(words):
        columns[list(word_tokens(prompt, word, role=role)), column] = 1
    return columns


def maps_within_memory(
    model: ModelPatcher,
    prepared: PreparedEdit,
    columns: Tensor,
    first: int,
    end: int,
    branch: str,
    sharp: bool = False,
    origins: str | None = None,
) -> Tensor:
    """`source_maps` or `target_maps`, the MODEL in smaller passes where memory is short."""
    if branch == "target":
        return within_memory(
            model, prepared, lambda model: target_maps(model, prepared, columns, first, end, sharp), budget.TARGET_MAPS,
            origins,
        )  # fmt: skip
    return budget.run_within_memory(
        budget.SOURCE_MAPS, model, prepared.inversion.noise,
        lambda model, _: source_maps(model, prepared, columns, first, end, sharp), shown=prepared.source,
        origins=origins,
    )  # fmt: skip


@torch.no_grad()
def source_maps(
    model: ModelPatcher, prepared: PreparedEdit, columns: Tensor, first: int, end: int, sharp: bool = False
) -> Tensor:
    """The mean maps of the steps from `first` up to, not including, `end`: [words, frames, rows, columns].

    The source is looked at where the inversion has it, so that a step is one conditional prediction. What looks alike
    in it the cleanest step tells, which is looked at beside the others.
    """
    inversion = prepared.inversion
    cleanest = range(max(end, inversion.steps - 1), inversion.steps) if sharp else ()
    steps = [*range(first, end), *cleanest]
    progress = latent_progress(model, len(steps), "Attention Maps")
    layers = word_map_layers(model, inversion.noise.shape[-2:], prepared.targets[0].blend_blocks)

    def algorithm(denoise: Denoiser, z0: Tensor, sigmas: Tensor) -> Tensor:
        path, entry = inversion.on(z0.device), denoise.guider.conds[SOURCE][0]["uuid"]
        unedited = ControlledTarget(nothing(len(columns), path.steps), entry, Blend(columns, columns), layers)
        control = AttentionControl(entry, [unedited], finds_places=sharp)
        maps = control.source_maps[0]
        options = create_model_options_clone(denoise.model_options)
        install(control, options)
        denoise = Denoiser(denoise.guider, options)
        for done, step in enumerate(steps, first):
            x = schedule.to_x(sent(path.latent_after(step - 1), z0.device), sigmas[step], flow=path.flow)
            with control.evaluation(step):
                denoised = denoise(x, sigmas[step], SOURCE)
            if step < end:
                maps.end_step(layers.grid)
            progress(done, denoised)
        control.source_affinities.end_step()
        if maps.total is None:
            raise ValueError(UNUSED.format(branch="source"))
        return by_word(maps.total / (end - first), control.source_affinities if sharp else None)

    latent = as_clip(latent_out(model.model, inversion.trajectory[0]))
    family = family_of(model)
    model = family.with_slots(family.with_sound(model, inversion.sound))
    return run(model, prepared.source, prepared.null, latent, inversion.sigmas, algorithm)


def target_maps(
    model: ModelPatcher, prepared: PreparedEdit, columns: Tensor, first: int, end: int, sharp: bool = False
) -> Tensor:
    """As `source_maps`, of the edited clip: the maps as they are after the edit, and what looks alike in its later
    steps."""
    sums, affinities = [torch.zeros(())], []

    def keep(done: StepDone) -> None:
        affinities[:] = done.affinities
        maps = done.word_maps[0]
        target = maps and maps[1]  # [frames, groups, rows, columns], summed over the steps so far
        # A conditioning that was not in use yet has looked at nothing.
        sums.append(sums[-1] if target is None else target[:, -columns.shape[1] :])

    decoupled_sample(
        model, replace(prepared, targets=[watched(prepared.targets[0], columns)]),
        callback=edit_progress(model, prepared.inversion.steps, "Attention Maps"), progress=keep,
    )  # fmt: skip
    if sums[end] is sums[first]:
        raise ValueError(UNUSED.format(branch="target"))
    return by_word((sums[end] - sums[first]) / (end - first), affinities[0] if sharp else None)


def by_word(maps: Tensor, affinities: Affinities | None) -> Tensor:
    """Maps [frames, words, rows, columns], sharpened where it is told what looks alike, with the words first."""
    shown = maps if affinities is None else sharpened(maps, affinities)
    if shown is None:
        raise ValueError(
            f"no self-attention of {LARGEST} places or fewer ran under this prompt where sharp looks, in the source's "
            "last step or the later half of the target's: turn sharp off"
        )
    return rearrange(shown, "frames words rows columns -> words frames rows columns")


def watched(target: Target, columns: Tensor) -> Target:
    """The same edit, with the maps of `columns` [N_target, words] taken beside those that make its mask."""
    source_tokens, target_tokens = target.edit.source.shape[1:]
    blend = target.blend or Blend(word_columns(source_tokens, ()), word_columns(target_tokens, ()), start=NEVER)
    # A frozen mask's words are looked at no more, but these are, in every step.
    return replace(target, blend=replace(blend, target=torch.cat([blend.target, columns], dim=1), freeze=1.0))


def nothing(tokens: int, steps: int) -> Edit:
    """The edit of a prompt of so many tokens that changes nothing in any step."""
    source, target = no_edit(tokens, tokens)
    return Edit(source.expand(steps, -1, -1), target.expand(steps, -1), torch.zeros(steps, dtype=torch.bool))


def masks_of(maps: Tensor, size: Sequence[int]) -> Tensor:
    """Maps [words, frames, rows, columns] at size (height, width), each divided by its frame's maximum."""
    # A word of weight 0 or less has no maximum to divide by, and bicubic may swing below 0.
    masks = fitted(maps.float(), size, "bicubic").clamp(min=0)
    return masks / masks.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(masks.dtype).tiny)
