"""How heavily each token of a text counts, step by step, when a picture looks at it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .curves import KeyFrames, values_of, weight_curve, window_curve
from .edit_plan import HEAVIEST
from .prompt import shortened

WHOLE = (0.0, 1.0)


@dataclass(frozen=True)
class WeighedWord:
    """A word with its weight, or weights over the run, inside a window of shares of the run.

    tokens: its positions in the text's embedding. Raises ValueError for a weight that is none.
    """

    text: str
    tokens: tuple[int, ...]
    weight: float | KeyFrames
    window: tuple[float, float] = WHOLE

    def __post_init__(self) -> None:
        for weight in values_of(self.weight):
            if not 0 <= weight <= HEAVIEST:
                raise ValueError(
                    f"'{shortened(self.text)}' is given the weight {weight:g}: weights inside the attention lie "
                    f"between 0 and {HEAVIEST}, a word that is not wanted belongs in the negative prompt"
                )

    @property
    def is_plain(self) -> bool:
        return set(values_of(self.weight)) == {1.0}

    def curve(self, steps: int) -> Tensor:  # [steps]
        return torch.where(window_curve(self.window, steps, steps) > 0, weight_curve(self.weight, steps), 1.0)


@dataclass(frozen=True)
class TextWeights:
    """The weights of a text whose embedding has so many tokens; a token of two words takes both weights."""

    tokens: int
    words: tuple[WeighedWord, ...]

    def at(self, step: int, steps: int) -> Tensor | None:
        """[tokens], float64; None where every token counts as it does without."""
        weights = torch.ones(self.tokens, dtype=torch.float64)
        for word in self.words:
            weights[list(word.tokens)] *= word.curve(steps)[step]
        return None if (weights == 1).all() else weights
