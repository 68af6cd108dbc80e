"""An edit as it travels on the wire: its plan, both prompts encoded, a mask. And how it meets an inversion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP

from ...diffusion.inversion import Inversion
from ...edit.edit_plan import EditPlan
from ...edit.grids import fitted
from ...edit.prompt_difference import blend_words
from ...log import LOG
from ..comfy.conditioning import Conditioning, with_sizes
from ..comfy.latents import as_clip, for_latent_frames, for_pictures
from ..control.word_maps import word_map_layers
from ..families.table import family_of
from ..images.plots import alignment_picture
from ..model import memory_budget as budget
from ..model.image_conditioning import check_alike, check_inverted_alike
from ..model.input_checks import (
    check_conditioning,
    check_editable,
    check_everywhere,
    check_fresh_noise,
    check_hints,
    check_inversion,
    check_supported,
)
from ..prompts.clip_tokens import read_prompt
from .decoupled_sampling import decoupled_sample
from .prompt_checks import check_sizes, check_source, check_target
from .target import Edited, PreparedEdit, Preview, Target

T = TypeVar("T")


@dataclass(frozen=True)
class WordEdit:
    """source, target: CONDITIONING of the prompts; mask: [1 or frames, height, width], any size, 1 where it may act;
    blend_blocks: of a video model, which blocks make the word maps, '' for the middle ones."""

    plan: EditPlan
    source: list
    target: list
    mask: torch.Tensor | None = None
    mask_replaces: bool = False  # the place of the blend words, rather than limiting it
    blend_blocks: str = ""

    def picture(self) -> torch.Tensor:
        """How the two prompts belong together: [1, height, width, 3]."""
        plan = self.plan
        return alignment_picture(plan.source, plan.target, plan.alignment(), plan.token_weights())

    def compiled(self, steps: int, conditioning: Conditioning | None = None) -> Target:
        """For a run of so many steps; with another CONDITIONING of the target where one is given."""
        plan, begin = self.plan, self.plan.begin(steps)
        return Target(
            conditioning or self.target, plan.compile(steps - begin), plan.blend(), self.mask, self.mask_replaces,
            self.blend_blocks, begin,
        )  # fmt: skip


def word_edit(
    clip: CLIP | None,
    source: str,
    target: str,
    mask: torch.Tensor | None = None,
    mask_replaces: bool = False,
    blend_blocks: str = "",
    *,
    kind: str = EditPlan.kind,
    blend_source: Sequence[str] = (),
    blend_target: Sequence[str] = (),
    **settings: Any,
) -> WordEdit:
    """The edit of two prompts (texts); settings go to the plan, "auto" among the blend words for those that change."""
    if clip is None:
        raise ValueError("there is no CLIP: this checkpoint holds none, connect a CLIP loader")
    if mask is not None and not mask.any():
        raise ValueError(
            "the mask is 0 everywhere, so that nothing may change: connect one that is 1 where the edit may act (Load "
            "Image makes an empty one of a picture without transparency)"
        )
    prompts = read_prompt(clip, source), read_prompt(clip, target)
    blend_source, blend_target = blend_words(*prompts, kind, blend_source, blend_target)
    plan = EditPlan(*prompts, kind, blend_source=blend_source, blend_target=blend_target, **settings)
    if plan.changes_nothing:
        LOG.warning("Both prompts say the same and no word has a weight: the edit will show the source")
    conditionings = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (source, target))
    return WordEdit(plan, *conditionings, mask, mask_replaces, blend_blocks)


def prepare_edit(
    model: ModelPatcher,
    inversion: Inversion,
    edits: Sequence[WordEdit],
    source: Conditioning | None = None,
    targets: Sequence[Conditioning | None] = (),
    null: Conditioning | None = None,
    *,
    cache_every: int = 1,
) -> PreparedEdit:
    """Raises ValueError, in a sentence, where the parts do not belong together.

    source, targets, null: CONDITIONING in the place of what the edits and the inversion hold: the same text, with a
    ControlNet applied, for instance; as many targets as edits.
    """
    check_editable(model)
    structured = any(edit.plan.structure_window > 0 for edit in edits)
    check_fresh_noise(inversion, any(edit.plan.fresh for edit in edits))
    check_supported(model, inversion.method, inversion.records, cache_every, structured)
    check_inversion(model, inversion)
    channels, expected = inversion.noise.shape[1], model.model.latent_format.latent_channels
    if channels != expected:
        raise ValueError(
            f"the inverted clip has {channels} channels, this model takes {expected}: "
            "invert the clip again, with this model"
        )
    targets = list(targets) or [None] * len(edits)
    if len(targets) != len(edits):
        raise ValueError(f"there are {len(edits)} edits and {len(targets)} target conditionings: connect as many")
    for edit, target in zip(edits, targets, strict=True):
        check_conditioning(model, source=edit.source, target=edit.target)
        if target:
            check_target(edit.plan.target, edit.target, edit.source, target)
        check_source(edit.plan.source, edit.source, source, inversion.source)
    if null is None:
        null = [[inversion.initial_null, {}]]
        if family_of(model).reads_more(model):
            raise ValueError(
                "this model reads more of a text than an inversion keeps (SDXL a pooled vector, LTX which tokens are "
                "padding): connect the CLIP Text Encode that went into the null input of DDIM Invert to the null input "
                "here as well"
            )
    for edit in edits:
        _check_acts(edit.plan, inversion.steps, alone=len(edits) == 1)
    suited = [_on_noise(inversion, _guided(model, inversion, _told_sizes(inversion, edit))) for edit in edits]
    compiled = [
        _for_latent_frames(
            model, edit.compiled(inversion.steps, target and with_sizes(target, inversion.sizes)), len(inversion.noise)
        )
        for edit, target in zip(suited, targets, strict=True)
    ]
    source = source and with_sizes(source, inversion.sizes)
    check_sizes(source, inversion)
    source = source or (suited[0].source if suited else [])
    for target in compiled:
        check_everywhere(source=source, null=null, target=target.conditioning)
    prepared = PreparedEdit(inversion, source, null, compiled, family_of(model).keys_of)
    check_inverted_alike(model.model, inversion.with_picture, source)
    for target in compiled:
        if target.blend:
            word_map_layers(model, inversion.noise.shape[-2:], target.blend_blocks)
        conditionings = {"source": source, "null": null, "target": target.conditioning}
        check_conditioning(model, **conditionings)
        check_alike(model.model, **conditionings)
        check_hints(model, len(inversion.noise), **conditionings)
    return prepared


def _check_acts(plan: EditPlan, steps: int, alone: bool) -> None:
    """What acts in no step is refused, or only told of where it is one of several variants."""
    taken = steps - plan.begin(steps)
    plan.log_closed_windows(taken)
    sentences = plan.without_effect(taken)
    if alone and sentences:
        raise ValueError(sentences[0])
    for sentence in sentences:
        LOG.warning(sentence[0].upper() + sentence[1:])


def _told_sizes(inversion: Inversion, edit: WordEdit) -> WordEdit:
    """The edit whose prompts tell the model the sizes that the inversion's source did, as a controller knows none."""
    source, target = (with_sizes(conditioning, inversion.sizes) for conditioning in (edit.source, edit.target))
    return replace(edit, source=source, target=target)


def _guided(model: ModelPatcher, inversion: Inversion, edit: WordEdit) -> WordEdit:
    """The edit under the guidance that suits the model, where it says none and the source does not depend on it."""
    suits = family_of(model).edit_guidance(model)
    if edit.plan.guidance is not None or suits is None or not inversion.is_exact:
        return edit
    return replace(edit, plan=replace(edit.plan, guidance=suits))


def _on_noise(inversion: Inversion, edit: WordEdit) -> WordEdit:
    """The edit, which by itself draws no noise anew where it depends on the inverted one."""
    if edit.plan.fresh is not None or inversion.is_exact:
        return edit
    return replace(edit, plan=replace(edit.plan, fresh=0.0))


def _for_latent_frames(model: ModelPatcher, target: Target, frames: int) -> Target:
    return target if target.mask is None else replace(target, mask=for_latent_frames(model.model, target.mask, frames))


def within_memory(
    model: ModelPatcher,
    prepared: PreparedEdit,
    run: Callable[[ModelPatcher], T],
    operation: budget.Operation = budget.EDIT,
    origins: str | None = None,
) -> T:
    """What run(MODEL) returns, the MODEL in smaller passes where memory is short; records are of the passes that the
    inversion took. operation: what it runs, an edit in any case; origins: as in `run_within_memory`."""
    inversion = prepared.inversion
    edits, tokens = [target.edit for target in prepared.targets], inversion.source.shape[1]
    cross = any(not edit.is_identity(step) for edit in edits for step in range(edit.steps))
    temporal = any(bool(edit.temporal.any()) for edit in edits)
    recorded = budget.recorded_bytes(model, inversion.noise, prepared.source, tokens, cross, temporal)
    if recorded:
        budget.check_room_for_source(recorded)
    may_cut = inversion.records is None
    return budget.run_within_memory(
        operation, model, inversion.noise, lambda model, _: run(model), shown=prepared.source, may_cut=may_cut,
        origins=origins,
    )  # fmt: skip


def sample(
    model: ModelPatcher,
    prepared: PreparedEdit,
    *,
    coupled: bool = False,
    cache_every: int = 1,
    callback: Preview | None = None,
    origins: str | None = None,
) -> Edited:
    """`decoupled_sample`, the MODEL in smaller passes where memory is short. origins: as in `within_memory`."""

    def edited(model: ModelPatcher) -> Edited:
        return decoupled_sample(model, prepared, coupled=coupled, cache_every=cache_every, callback=callback)

    return within_memory(model, prepared, edited, origins=origins)


def pixel_mask(model: ModelPatcher, mask: torch.Tensor | None, latent: torch.Tensor) -> torch.Tensor:
    """An edit's mask [latent frames, height, width] as one for each picture; all ones where it has none."""
    if mask is None:
        mask = torch.ones(len(as_clip(latent)), *latent.shape[-2:])
    factor = model.model.latent_format.spacial_downscale_ratio
    return for_pictures(model.model, mask).repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def pixel_places(model: ModelPatcher, edited: Edited) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """(of the old things, of the new ones): a mask for each picture of every target, soft, at the pictures' size; all
    ones where no words say it."""
    factor, old, new = model.model.latent_format.spacial_downscale_ratio, [], []
    for latent, places in zip(edited.targets, edited.places, strict=True):
        size = [factor * side for side in latent.shape[-2:]]
        for masks, place in zip((old, new), places or (None, None), strict=True):
            if place is None:
                place = torch.ones(len(as_clip(latent)), 1, 1)
            masks.append(for_pictures(model.model, fitted(place[:, None], size, "bilinear")[:, 0]))
    return old, new


def cut_alike(model: ModelPatcher, other: ModelPatcher) -> bool:
    """Whether both take a clip in the same passes."""
    return model.model_options.get("context_handler") is other.model_options.get("context_handler")
