"""Decoupled guidance: the editing loop of Video-P2P (arXiv 2303.04761, section 3.3), one source and any targets.

The source branch is guided by what reconstructs it (the optimised null text, or nothing), the target branches by the
initial null text. Source and targets meet in their attention alone: whoever gives `denoise` records the source's
queries and keys and replays them in the targets of the same step.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from ..device_transfer import sent
from ..edit.local_blend import blend_latents
from ..finite import check_finite
from . import inversion as inversions
from . import schedule
from .inversion import Inversion


@dataclass(frozen=True)
class Branch:
    """One prediction of one step: whose it is, and how it is guided.

    target    index of the target, None for the source
    cfg       the guidance scale; 1 is the conditional prediction alone
    null      [1 or frames, tokens, channels], the null text; None where cfg is 1
    proximal  whether the small entries of the guidance direction are removed
    unedited  whether it is what the source prompt makes of the target's latent by itself
    """

    step: int
    target: int | None = None
    cfg: float = 1.0
    null: Tensor | None = None
    proximal: bool = False
    unedited: bool = False


Predictions = list[tuple[Branch, Tensor]]  # branches, the source first, and the x of each
Denoise = Callable[[Tensor, Predictions], list[Tensor]]  # sigma, what is asked -> denoised, of each
# step -> of each target [frames, height, width], 1 where it is kept, or None for all of it
EndStep = Callable[[int], Sequence[Tensor | None]]
Progress = Callable[[int, Tensor, list[Tensor]], None]  # step, source x, targets' x


def source_branch(inversion: Inversion, step: int) -> Branch:
    """The source under the null text that was optimised for it. Every other method has the source prompt for its null
    text, or puts the source back on its path: guidance cancels, and one conditional prediction remains."""
    if inversion.null is None:
        return Branch(step)
    return Branch(step, cfg=inversion.cfg, null=inversion.null[step])


def has_source_for_null(inversion: Inversion, coupled: bool = False) -> bool:
    """Whether the targets' null text is the source prompt (arXiv 2305.16807, 2306.05414)."""
    return inversion.method == inversions.PROXIMAL or (coupled and inversion.null is None)


def target_branch(
    inversion: Inversion, step: int, target: int, coupled: bool = False, cfg: float | None = None
) -> Branch:
    """A target under the initial null text; under the source's own where guidance is coupled, the
    paper's ablation. Methods that optimise nothing have the source prompt for it (arXiv 2305.16807). cfg: its guidance
    where that is not the inversion's."""
    if has_source_for_null(inversion, coupled):
        null = inversion.source
    elif coupled and inversion.null is not None:
        null = inversion.null[step]
    else:
        null = inversion.initial_null
    return Branch(
        step, target, inversion.cfg if cfg is None else cfg, null, proximal=inversion.method == inversions.PROXIMAL
    )


def evaluation_point(inversion: Inversion, step: int, device: torch.device) -> Tensor:
    """x of the source as the model is shown it at a step: where the inversion evaluated it, at the latent of the level
    below under the label of the level above, or at the step's own latent."""
    z = inversion.latent_after(step) if inversion.is_shifted else inversion.latent_before(step)
    return schedule.to_x(sent(z, device), inversion.sigmas[step], flow=inversion.flow)


@torch.no_grad()
def edit_clip(
    denoise: Denoise,
    inversion: Inversion,
    targets: int = 1,
    *,
    coupled: bool = False,
    guidance: Sequence[Sequence[float] | None] | None = None,
    emphasis: Sequence[float] | None = None,
    source_needed: Callable[[int], bool] = lambda step: True,
    end_step: EndStep | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, list[Tensor]]:
    """Edit an inverted clip: z_0 of the source branch [*latent] and of each target, at the model's scale, where the
    inversion runs (`Inversion.on`).

    All predictions of a step are asked for at once, so that `denoise` may take the clip in parts, each with all of its
    branches. Of each target, guidance: the scale of every step, None for the inversion's; emphasis: how far it goes
    beyond its prompt, 0 for none.
    `source_needed(step)` says whether any target looks at the source; the direct methods leave its prediction out where
    none does (arXiv 2310.01506). `end_step(step)`, asked once after the step's predictions, gives the masks where the
    targets are kept; elsewhere the source is brought back. Values that are no numbers end it with a ValueError.

    With emphasis e a target's direction is d_T + e (d_T - d_S), d_S being what the source prompt makes of the target's
    own latent: one guided prediction more a step (the editing term of h-Edit, arXiv 2503.02187, as an extrapolation).

    Where the inversion is exact a target is an offset from the stored path, which grows by what its direction differs
    from the source's: the same direction leaves the source as it is, to the bit where the source is predicted beside
    it, to rounding where its direction is read off the path. Elsewhere a target is a path of its own.
    """
    device, flow = inversion.sigmas.device, inversion.flow
    scales, emphasis = guidance or [None] * targets, emphasis or [0.0] * targets
    stressed = [i for i, e in enumerate(emphasis) if e]
    source = schedule.to_x(sent(inversion.noise, device), inversion.sigmas[0], flow=flow)
    edited, offsets = [source] * targets, [torch.zeros_like(source)] * targets
    for step, (sigma, next_sigma) in enumerate(pairwise(inversion.sigmas)):
        shown = evaluation_point(inversion, step, device) if inversion.is_exact else source
        places = [shown + offset for offset in offsets] if inversion.is_exact else edited
        branches = [
            target_branch(inversion, step, i, coupled, None if curve is None else curve[step])
            for i, curve in enumerate(scales)
        ]
        plain = [(replace(branches[i], proximal=False, unedited=True), places[i]) for i in stressed]
        predictions = [*plain, *zip(branches, places, strict=True)]
        if source_needed(step) or inversion.needs_source:
            predictions.insert(0, (source_branch(inversion, step), shown))
        directions = [
            schedule.direction(x, denoised, sigma)
            for (_, x), denoised in zip(predictions, denoise(sigma, predictions), strict=True)
        ]
        first = len(directions) - targets
        of_source, of_targets = directions[: first - len(plain)], directions[first:]
        for i, d in zip(stressed, directions[first - len(plain) : first], strict=True):
            of_targets[i] = of_targets[i] + emphasis[i] * (of_targets[i] - d)
        before, change = source, next_sigma - sigma
        if inversion.method in inversions.ON_PATH:
            source = schedule.to_x(sent(inversion.latent_after(step), device), next_sigma, flow=flow)
        else:
            source = schedule.ddim_step(source, of_source[0], sigma, next_sigma)
        masks = [None] * targets if end_step is None else end_step(step)
        if inversion.is_exact:
            reference = of_source[0] if of_source else _direction(inversion, step, (source - before) / change)
            offsets = [offset + (d - reference) * change for offset, d in zip(offsets, of_targets, strict=True)]
            offsets = [o if mask is None else mask[:, None].to(o) * o for o, mask in zip(offsets, masks, strict=True)]
            edited = [source + offset for offset in offsets]
        else:
            edited = [schedule.ddim_step(x, d, sigma, next_sigma) for x, d in zip(edited, of_targets, strict=True)]
            edited = [x if m is None else blend_latents(source, x, m) for x, m in zip(edited, masks, strict=True)]
        # The direct methods drop the source's prediction, but not what its attention showed.
        check_finite((*directions, *edited), f"step {step + 1} of the edit")
        if progress:
            progress(step, source, edited)
    end = inversion.sigmas[-1]
    return schedule.to_z(source, end, flow=flow), [schedule.to_z(x, end, flow=flow) for x in edited]


def _direction(inversion: Inversion, step: int, of_path: Tensor) -> Tensor:
    """The source's own where it was not predicted: as it was kept, else that of its path."""
    directions = inversion.records.directions if inversion.records else []
    return sent(directions[step], of_path.device) if directions else of_path
