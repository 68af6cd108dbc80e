"""The edit as two small matrices per step.

Every attention edit of Video-P2P is linear in the values V, so no attention map need exist (arXiv 2303.04761,
section 3.2; arXiv 2208.01626, section 3):

    out = A_s (S V) + A_t (T V)

A_s and A_t are the softmax maps of the source and the target branch, V the target's values. S says how much of each
source column a target column takes, the diagonal T how much of its own it keeps. Swap, refinement, weights and
windows differ only in how the pair (S, T) is made; "no edit" is (0, 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..device_transfer import sent
from .alignment import align
from .curves import (
    CROSS_WINDOW,
    TEMPORAL_WINDOW,
    KeyFrames,
    Window,
    cross_grain,
    token_curves,
    weight_curve,
    window_curve,
)
from .prompt import Prompt, word_tokens

Pair = tuple[Tensor, Tensor]  # S [..., N_source, N_target], T [..., N_target]
LARGEST = 2**30  # entries of the matrices of all steps: 4 GiB
DEFAULT_WINDOW = "default_"  # names the words that have no window of their own


@dataclass(frozen=True, eq=False)
class Edit:
    """An edit, compiled for every step of a run.

    source: [steps, N_source, N_target], S of each step, acting on the target's values.
    target: [steps, N_target], the diagonal of T.
    temporal: [steps] bool; True where the target's temporal attention takes the source's maps (S = 1, T = 0).
    structure: [steps] bool; True where its frame attention does (arXiv 2208.01626, section 3.2); by default nowhere.
    guidance: [steps], the scale of each step; None for the inversion's own.
    fresh: the share of its noise that is drawn anew.
    emphasis: how far it goes beyond its prompt, 0 for none.
    """

    source: Tensor
    target: Tensor
    temporal: Tensor
    structure: Tensor | None = None
    guidance: tuple[float, ...] | None = None
    fresh: float = 0.0
    emphasis: float = 0.0

    def __post_init__(self) -> None:
        steps, _, tokens = self.source.shape
        if self.target.shape != (steps, tokens) or self.temporal.shape != (steps,):
            raise ValueError(
                f"an edit of {steps} steps and {tokens} target tokens needs target [{steps}, {tokens}] and temporal "
                f"[{steps}], not {list(self.target.shape)} and {list(self.temporal.shape)}"
            )

    @property
    def steps(self) -> int:
        return self.source.shape[0]

    @cached_property
    def _identity(self) -> tuple[bool, ...]:
        untouched = (self.source == 0).flatten(1).all(1) & (self.target == 1).all(1)
        return tuple(untouched.tolist())

    def is_structured(self, step: int) -> bool:
        """Whether frame attention takes the source's maps at this step."""
        return self.structure is not None and bool(self.structure[step])

    def is_identity(self, step: int) -> bool:
        """Whether cross attention at this step is left alone: S = 0 and T = 1."""
        return self._identity[step]

    @cached_property
    def _acting(self) -> tuple[tuple[bool, bool], ...]:
        return tuple(zip(*((part != 0).flatten(1).any(1).tolist() for part in (self.source, self.target)), strict=True))

    def pair(self, step: int, like: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """S [N_source, N_target] and the diagonal of T [N_target] of a step, on the device and in the dtype of `like`;
        None in the place of zeros."""
        parts = zip((self.source[step], self.target[step]), self._acting[step], strict=True)
        source, target = (sent(part, like.device).to(like) if acts else None for part, acts in parts)
        return source, target

    def values(self, step: int, values: Tensor) -> Pair:
        """S V [..., N_source, channels] and T V [..., N_target, channels] from V [..., N_target, channels]."""
        source, target = self.source[step].to(values), self.target[step].to(values)
        return source @ values, target[:, None] * values


# --- the algebra of pairs --------------------------------------------------------------------------------------------


def no_edit(source_tokens: int, target_tokens: int) -> Pair:
    """The pair under which a target keeps all of its own maps."""
    return torch.zeros(source_tokens, target_tokens), torch.ones(target_tokens)


def reweight(pair: Pair, weights: Tensor) -> Pair:
    """Multiply the edited column n by weights[..., n]; not renormalised, as published (arXiv 2208.01626, 3.3)."""
    source, target = pair
    return source * weights[..., None, :], target * weights


def in_window(pair: Pair, window: Tensor) -> Pair:
    """The pair where window [..., N_target] is 1, no edit where it is 0, a blend of the two between."""
    source, target = pair
    return source * window[..., None, :], target * window + (1 - window)


# --- from words to matrices ------------------------------------------------------------------------------------------


def compile_edit(
    source: Prompt,
    target: Prompt,
    *,
    steps: int,
    kind: str = "auto",
    alignment: str = "default",
    cross: Window | Mapping[str, Window] = CROSS_WINDOW,
    temporal: float | tuple[float, float] = TEMPORAL_WINDOW,
    structure: float | tuple[float, float] = 0.0,
    guidance: float | KeyFrames | None = None,
    weights: Mapping[str, float | KeyFrames] | None = None,
    fresh: float = 0.0,
    emphasis: float = 0.0,
) -> Edit:
    """The edit that turns the source prompt's attention into the target prompt's (arXiv 2303.04761, section 3.2).

    steps: of the run the edit is for.
    kind, alignment: as in `alignment.align`.
    cross: window of cross attention, or one per word of the target; "default_" names the words not listed, which
        otherwise are open all through.
    temporal, structure: windows in which temporal and frame attention take the source's maps.
    guidance: its scale over the steps, None for the inversion's.
    weights: factor on each word's map inside the cross window.
    fresh, emphasis: as in Edit.

    Raises ValueError, naming the words there are, for a word that the target does not have.
    """
    if steps < 1:
        raise ValueError(f"an edit needs at least one step, not {steps}")
    if steps * len(source) * len(target) > LARGEST:
        raise ValueError(
            f"the prompts have {len(source)} and {len(target)} tokens, too many for {steps} steps: write shorter ones"
        )
    aligned = align(source, target, kind, alignment)
    curves = [
        word_weights(target, weights or {}, steps, alignment),
        word_windows(target, cross, steps, cross_grain(steps), alignment),
    ]
    # Most steps are alike, and the matrices of a long prompt large.
    unlike, step = torch.stack(curves, dim=1).unique(dim=0, return_inverse=True)  # [unlike, 2, N_target], [steps]
    weight, window = unlike.unbind(1)
    source_matrices, target_matrices = in_window(reweight((aligned.source, aligned.target), weight), window)
    scale = None if guidance is None else tuple(weight_curve(guidance, steps).tolist())
    windows = (window_curve(window, steps, steps) > 0 for window in (temporal, structure))
    return Edit(
        source_matrices.float()[step],
        target_matrices.float()[step],
        *windows,
        guidance=scale,
        fresh=fresh,
        emphasis=emphasis,
    )


def word_windows(
    target: Prompt, windows: Window | Mapping[str, Window], steps: int, grain: int, alignment: str = "default"
) -> Tensor:
    """The window of each token at each step: [steps, N_target]. `grain` as in `window_curve`."""
    windows = windows if isinstance(windows, Mapping) else {DEFAULT_WINDOW: windows}
    return token_curves(
        window_curve(windows.get(DEFAULT_WINDOW, 1.0), steps, grain),
        {
            word_tokens(target, word, alignment, "target"): window_curve(window, steps, grain)
            for word, window in windows.items()
            if word != DEFAULT_WINDOW
        },
        len(target),
    )


def word_weights(
    target: Prompt, weights: Mapping[str, float | KeyFrames], steps: int, alignment: str = "default"
) -> Tensor:
    """The factor on each token at each step: [steps, N_target]."""
    return token_curves(
        torch.ones(steps, dtype=torch.float64),
        {
            word_tokens(target, word, alignment, "target"): weight_curve(weight, steps)
            for word, weight in weights.items()
        },
        len(target),
    )
