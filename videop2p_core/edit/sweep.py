"""Variants of one edit in a grid: a row for each target prompt and weight of a word, a column for each cross window."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .edit_fields import parse_words
from .edit_plan import EditPlan
from .prompt import Prompt, find_word, shortened

MOST = 64  # edits in one sweep


@dataclass(frozen=True)
class Sweep:
    """What the fields of a sweep say. word: "" for none; prompts: further target prompts."""

    word: str
    weights: tuple[float, ...]
    windows: tuple[float, ...]
    prompts: tuple[str, ...]

    @property
    def count(self) -> int:
        """Of its edits."""
        return (1 + len(self.prompts)) * (len(self.weights) if self.word else 1) * max(len(self.windows), 1)


def parse_sweep(cross_windows: str, word: str, word_weights: str, target_prompts: str) -> Sweep:
    """The numbers separated by commas or lines, the prompts by lines. Raises ValueError, in a sentence, for others."""
    windows, weights = parse_numbers(cross_windows, "cross_windows"), parse_numbers(word_weights, "word_weights")
    prompts = tuple(line.strip() for line in target_prompts.splitlines() if line.strip())
    return Sweep(word.strip(), weights, windows, prompts)


def sweep_plans(
    plan: EditPlan,
    *,
    targets: Sequence[Prompt] = (),
    word: str = "",
    weights: Sequence[float] = (),
    windows: Sequence[float] = (),
) -> list[EditPlan]:
    """The plan with every combination of these, row by row; the windows change fastest, the prompts slowest.

    targets: prompts beside the plan's own; word, weights: a word of every prompt and what it is to weigh, nothing
    without a word; windows: ends of the cross window, as fractions of the steps, the plan's own where there are none.
    Raises ValueError for a word that a prompt does not have, a window outside 0 to 1, and more than 64 plans.
    """
    if word and not weights:
        raise ValueError(f"there are no weights to try on '{shortened(word)}': write some as '0.5, 1, 2'")
    for window in windows:
        if not 0 <= window <= 1:
            raise ValueError(f"a cross window of {window:g} was asked for: windows lie between 0 and 1")
    prompts, windows = (plan.target, *targets), windows or (plan.cross,)
    count = len(prompts) * (len(weights) if word else 1) * len(windows)
    if count > MOST:
        raise ValueError(f"the sweep has {count} edits, {MOST} are the most: try fewer values or prompts")
    rows = [with_target(plan, prompt) for prompt in prompts]
    if word:
        rows = [with_weight(row, word, weight) for row in rows for weight in weights]
    return [replace(row, cross=window) for row in rows for window in windows]


def with_target(plan: EditPlan, target: Prompt) -> EditPlan:
    """The plan for another target prompt, without what it says of words that this one does not have.

    Raises ValueError where it has none of the words that alone say where the edit may act.
    """
    if plan.blend_target and not plan.blend_source and not any(find_word(target, word) for word in plan.blend_target):
        raise ValueError(
            f"'{shortened(target.text)}' has none of the blend words {shortened(', '.join(plan.blend_target))}, so all "
            "of the picture would change: name a blend word of the source prompt as well"
        )
    return replace(
        plan,
        target=target,
        weights={word: weight for word, weight in plan.weights.items() if find_word(target, word)},
        windows={word: window for word, window in plan.windows.items() if find_word(target, word)},
        blend_target=tuple(word for word in plan.blend_target if find_word(target, word)),
        subtracted=tuple(word for word in plan.subtracted if find_word(plan.source, word) or find_word(target, word)),
    )


def with_weight(plan: EditPlan, word: str, weight: float) -> EditPlan:
    """The plan with another weight of a word, which counts whatever other weights its tokens have."""
    # The last of several weights of a token counts.
    others = {other: value for other, value in plan.weights.items() if other != word}
    return replace(plan, weights={**others, word: weight})


def label(plan: EditPlan, word: str = "", *, prompt: bool = False) -> str:
    """What sets a plan apart from the others of its sweep: 'cross 0.5, origami × 2', and its target prompt where the
    prompts differ."""
    settings = [f"cross {plan.cross:g}", *([f"{word} × {plan.weights[word]:g}"] if word else [])]
    # First, as a label that is too long loses its end.
    return ", ".join(settings) + (f": {plan.target.text}" if prompt else "")


def parse_numbers(text: str, name: str) -> tuple[float, ...]:
    """'0.2, 0.5', separated by commas or lines. name: of the input, for the sentence of the ValueError."""
    numbers = []
    for entry in parse_words(text):
        try:
            number = float(entry)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"'{shortened(entry)}' in {name} is no number: write them as '0.2, 0.5, 0.8'")
        numbers.append(number)
    return tuple(numbers)
