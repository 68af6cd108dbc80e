"""What an edit asks for and gives back."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch

from ...diffusion.attention_records import check_kept
from ...diffusion.inversion import Inversion
from ...edit.local_blend import Blend, fit_mask
from ...edit.matrices import Edit
from ..comfy.conditioning import Conditioning, in_use, same_embedding, tokens_of
from ..control.affinities import Affinities


@dataclass(frozen=True)
class Target:
    """What one edit asks for.

    conditioning  the target prompt's CONDITIONING; its first entry is the one that the edit belongs to
    edit          the compiled edit
    blend         whose words make the mask, None for none
    mask          [1 or latent frames, any height, any width], 1 where the edit may act; multiplies the words' mask
    mask_replaces whether it takes the place of the words' mask instead
    blend_blocks  of a video model, which blocks make the words' maps; see families/chosen_blocks.py
    begin         the step of the inversion at which the edit begins
    """

    conditioning: list
    edit: Edit
    blend: Blend | None = None
    mask: torch.Tensor | None = None
    mask_replaces: bool = False
    blend_blocks: str = ""
    begin: int = 0


def on_one_path(targets: Sequence[Target]) -> list[list[int]]:
    """Which targets share a path of the source: they begin at one step, under the same noise."""
    groups: dict[Hashable, list[int]] = {}
    for index, target in enumerate(targets):
        groups.setdefault((target.begin, target.edit.fresh), []).append(index)
    return list(groups.values())


@dataclass(frozen=True)
class Edited:
    """An edited clip, latents as the host lays them out, in VAE units.

    masks: of each target, [latent frames, height, width], where the edit was kept in the last step; None without one.
    places: of each target, where the old and the new thing are, [latent frames, rows, columns] each, 0 to 1; None
        without words that say so.
    """

    source: torch.Tensor
    targets: list[torch.Tensor]
    masks: list[torch.Tensor | None]
    places: list[tuple[torch.Tensor, torch.Tensor] | None]


@dataclass(frozen=True)
class StepDone:
    """Where an edit stands after a step.

    source, targets: z at the model's scale, [frames, channels, height, width]; masks as in Edited;
    word_maps: of each target with a blend, the cumulative maps (source, target), [frames, groups, rows, columns] each;
    affinities: of each target, what looks alike in it so far.
    """

    step: int
    source: torch.Tensor
    targets: list[torch.Tensor]
    masks: list[torch.Tensor | None]
    word_maps: list[tuple[torch.Tensor | None, torch.Tensor | None] | None]
    affinities: list[Affinities]


Progress = Callable[[StepDone], None]  # after each step
Preview = Callable[[int, torch.Tensor, torch.Tensor, int], None]  # the host's: step, denoised, x, steps


@dataclass(frozen=True)
class PreparedEdit:
    """All that an edit needs beside the model; raises ValueError, in a sentence, where it does not belong together.

    source, null: CONDITIONING of the source prompt and of the initial null text; keys_of: as Family has it
    """

    inversion: Inversion
    source: Conditioning
    null: Conditioning
    targets: Sequence[Target]
    keys_of: Callable[[Conditioning], int] = tokens_of

    def __post_init__(self) -> None:
        _check_together(self.inversion, self.source, self.null, self.targets)
        for target in self.targets:
            made_for = tuple(target.edit.source.shape[1:])
            there = self.keys_of(self.source), self.keys_of(target.conditioning)
            if made_for != there:
                raise ValueError(
                    f"the edit was made for prompts of {made_for[0]} and {made_for[1]} tokens, the conditionings have "
                    f"{there[0]} and {there[1]}: connect those that belong to the edit"
                )


def _check_together(inversion: Inversion, source: Conditioning, null: Conditioning, targets: Sequence[Target]) -> None:
    if not targets:
        raise ValueError("there is no edit: connect at least one Attention Controller")
    for name, conditioning in (("source", source), ("null", null), *(("target", t.conditioning) for t in targets)):
        if not conditioning:
            raise ValueError(f"the {name} conditioning is empty: connect a CLIP Text Encode")
        if "area" in conditioning[0][1] or conditioning[0][1].get("set_area_to_bounds"):
            raise ValueError(
                f"the {name} conditioning is limited to an area: the prompt of an edit needs the whole picture"
            )
    for name, wired, inverted in (("source", source, inversion.source), ("null", null, inversion.initial_null)):
        if not same_embedding(wired, inverted):
            raise ValueError(
                f"the {name} conditioning is not the one that the clip was inverted with: connect the same prompt"
            )
    for target in targets:
        if in_use(target.conditioning[0][1]) != in_use(source[0][1]):
            raise ValueError(
                "the source and the target conditioning are in use at different steps: "
                "give both the same timestep range"
            )
        if inversion.records is not None and not target.edit.fresh:
            check_kept(inversion.records.after(target.begin), target.edit)
        steps = target.edit.steps
        if target.begin + steps != inversion.steps:
            raise ValueError(
                f"the edit was made for {target.begin + steps} steps, the inversion has {inversion.steps}: use as many "
                "for both"
            )
        if target.mask is not None:
            height, width = inversion.noise.shape[-2:]
            fit_mask(target.mask, len(inversion.noise), (height, width))
