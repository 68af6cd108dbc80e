"""What an edit asks for, in words: compiled once the number of steps of the inversion is known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..log import LOG
from .alignment import Alignment, align
from .curves import CROSS_WINDOW, TEMPORAL_WINDOW, KeyFrames, cross_grain, values_of, window_curve
from .local_blend import Blend, word_columns
from .matrices import DEFAULT_WINDOW, Edit, compile_edit, word_weights, word_windows
from .prompt import Prompt, find_word, shortened, word_tokens

FRESH = 1.0  # of the noise: what is left of each frame's own makes edits tremble
MOST_EMPHASIS = 3.0
HEAVIEST = 1000  # of a word's weight: with far larger ones a model's numbers overflow


@dataclass(frozen=True)
class EditPlan:
    """An edit before it has steps.

    kind                  one of alignment.KINDS
    cross, temporal       where the windows end, as fractions of the steps
    structure             the same of the window in which frame attention takes the source's maps; None for all
                          steps where the edit keeps the shape, else none
    fresh                 the share of the noise that is drawn anew; None for FRESH where one thing takes the place of
                          another, else none
    strength              the share of the inversion's steps that it takes, the last ones: less keeps more of the layout
                          and of the motion; windows, weights and guidance are over these
    emphasis              how far it goes beyond its prompt, 0 for none
    guidance              its scale over the steps; None for the inversion's
    weights               factor on each word of the target, inside its window, over the steps
    windows               of single words of the target, in the place of `cross`: (start, end) as shares of the run
    blend_source,         the words whose maps keep the edit in place, of either prompt; without any the whole picture
    blend_target          may change
    subtracted            words of either prompt whose region is left alone
    threshold             what share of its maximum a word's map must exceed to count
    start                 the fraction of the steps from which the blend acts; 1 for never
    freeze                the fraction of the steps from which its mask stays as it is
    """

    source: Prompt
    target: Prompt
    kind: str = "auto"
    cross: float = CROSS_WINDOW
    temporal: float = TEMPORAL_WINDOW
    structure: float | None = 0.0
    fresh: float | None = 0.0
    strength: float = 1.0
    emphasis: float = 0.0
    guidance: float | KeyFrames | None = None
    weights: Mapping[str, float | KeyFrames] = field(default_factory=dict)
    windows: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    blend_source: tuple[str, ...] = ()
    blend_target: tuple[str, ...] = ()
    subtracted: tuple[str, ...] = ()
    threshold: float = Blend.threshold
    start: float = Blend.start
    freeze: float = Blend.freeze

    def __post_init__(self) -> None:
        for name, prompt in (("source", self.source), ("target", self.target)):
            if not prompt.words:
                raise ValueError(f"the {name} prompt is empty: write what the clip {_TENSE[name]}")
        for name in ("cross", "temporal", "structure", "fresh", "strength", "threshold", "start", "freeze"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"the edit's {_NAMES.get(name, name)} is {value:g}: it lies between 0 and 1")
        if not 0 <= self.emphasis <= MOST_EMPHASIS:
            raise ValueError(f"the edit's emphasis is {self.emphasis:g}: it lies between 0 and {MOST_EMPHASIS:g}")
        for word, weight in ((word, value) for word, curve in self.weights.items() for value in values_of(curve)):
            if not abs(weight) <= HEAVIEST:
                raise ValueError(
                    f"'{shortened(word)}' is given the weight {weight:g}: weights lie between -{HEAVIEST} and "
                    f"{HEAVIEST}"
                )
        if self.threshold == 1 and (self.blend_source or self.blend_target):
            raise ValueError("the edit's threshold is 1, which no word's map exceeds: give less, 0.3 is usual")
        if self.subtracted and not (self.blend_source or self.blend_target):
            raise ValueError("there are words to subtract but none to blend: name the words that may change as well")
        self.compile(steps=1)
        self.blend()

    def compile(self, steps: int) -> Edit:
        return compile_edit(
            self.source, self.target, steps=steps, kind=self.kind, temporal=self.temporal,
            cross=self.cross_windows, structure=self.structure_window,
            guidance=self.guidance, weights=self.weights, fresh=self.fresh_noise,
            emphasis=self.emphasis,
        )  # fmt: skip

    def without_effect(self, steps: int) -> list[str]:
        """For every weight and window of a word that acts in none of so many steps a sentence."""
        is_open = word_windows(self.target, self.cross_windows, steps, cross_grain(steps)) > 0  # [steps, N_target]
        opened = [word for word, (start, end) in self.windows.items() if start < end]
        enough, sentences = math.ceil(100 / (steps + 1)) / 100, []
        for word in dict.fromkeys((*opened, *self.weights)):
            if not is_open[:, list(word_tokens(self.target, word))].any():
                entry = "weight, inside its window," if word in self.weights else "window"
                sentences.append(
                    f"the {entry} of '{shortened(word)}' acts in none of the {steps} steps: a window from 0 to "
                    f"{enough:g} opens in the first"
                )
        return sentences

    def log_closed_windows(self, steps: int) -> None:
        """Says which of its windows open in none of so many steps."""
        windows = {"cross": (self.cross, cross_grain(steps)), "temporal": (self.temporal, steps)}
        for name, (end, grain) in {**windows, "structure": (self.structure_window, steps)}.items():
            if end and not window_curve(end, steps, grain).any():
                LOG.info(f"The {_NAMES[name]} of {end:g} opens in none of the {steps} steps")

    @property
    def cross_windows(self) -> dict[str, float | tuple[float, float]]:
        return {DEFAULT_WINDOW: self.cross, **self.windows}

    def begin(self, steps: int) -> int:
        """The step of an inversion of so many steps at which it begins; it takes one at least."""
        return steps - max(round(self.strength * steps), 1)

    @property
    def keeps_shape(self) -> bool:
        """Whether the words to blend are the same in both prompts, so that others, of their looks, are what changes."""
        return bool(self.blend_source) and sorted(self.blend_source) == sorted(self.blend_target)

    @property
    def changes_nothing(self) -> bool:
        """Whether both prompts have the same tokens, and no word's weight is another than 1."""
        weights = [value for curve in self.weights.values() for value in values_of(curve)]
        same = self.source.ids(range(len(self.source))) == self.target.ids(range(len(self.target)))
        return same and all(weight == 1 for weight in weights)

    @property
    def structure_window(self) -> float:
        return float(self.keeps_shape) if self.structure is None else self.structure

    @property
    def fresh_noise(self) -> float:
        exchanged = bool(self.blend_source and self.blend_target) and not self.keeps_shape
        return FRESH * exchanged if self.fresh is None else self.fresh

    def blend(self) -> Blend | None:
        if not (self.blend_source or self.blend_target):
            return None
        for word in self.subtracted:
            if not (find_word(self.source, word) or find_word(self.target, word)):
                word_tokens(self.target, word)  # says which words there are
        return Blend(
            source=self._columns(self.source, self.blend_source, "source"),
            target=self._columns(self.target, self.blend_target, "target"),
            threshold=self.threshold,
            subtract_threshold=self.threshold,
            start=self.start,
            freeze=self.freeze,
        )

    def alignment(self) -> Alignment:
        return align(self.source, self.target, self.kind)

    def token_weights(self) -> Tensor:
        """The largest of each token in the run: [N_target]."""
        largest = {word: max(values_of(curve)) for word, curve in self.weights.items()}
        return word_weights(self.target, largest, 1)[0]

    def _columns(self, prompt: Prompt, words: tuple[str, ...], role: str) -> Tensor:
        tokens = [token for word in words for token in word_tokens(prompt, word, role=role)]
        subtracted = [token for word in self.subtracted for token in find_word(prompt, word)]
        return word_columns(len(prompt), tokens, subtracted)


# As the settings of a node call them.
_NAMES = {
    "cross": "cross window", "temporal": "temporal window", "structure": "structure window", "fresh": "fresh_noise",
    "start": "blend_start", "freeze": "blend_freeze",
}  # fmt: skip
_TENSE = {"source": "shows", "target": "is to show"}
