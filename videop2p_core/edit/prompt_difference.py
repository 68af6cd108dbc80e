"""What becomes of every word between two prompts, and which of the words that an edit names are unknown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from .alignment import Alignment, align
from .curves import KeyFrames
from .edit_fields import AUTO, parse_weights, parse_windows, parse_words, word_entries
from .prompt import Prompt, find_word, word_tokens

KEPT, SWAPPED, ADDED, DROPPED = "kept", "swapped", "added", "dropped"
SAMPLES = 21  # of a curve that is shown
MOST = 8  # faults told of one field


@dataclass(frozen=True)
class Change:
    """A word. partners: places among the words of the other prompt that it is bound to."""

    text: str
    change: str
    partners: tuple[int, ...]


@dataclass(frozen=True)
class Difference:
    """kind: replace or refine; source and target: the words of both prompts in their order."""

    kind: str
    source: tuple[Change, ...]
    target: tuple[Change, ...]


def difference(source: Prompt, target: Prompt, kind: str = "auto") -> Difference:
    """Words are bound where a token of the target takes its map from a token of the source (arXiv 2208.01626,
    section 3.2). Raises ValueError where the kind does not fit the prompts."""
    alignment = align(source, target, kind)
    pairs = bound(source, target, alignment)
    same = [(i, j) for i, j in pairs if source.ids(source.words[i].tokens) == target.ids(target.words[j].tokens)]
    return Difference(
        alignment.kind,
        _changes(source, pairs, same, DROPPED),
        _changes(target, [pair[::-1] for pair in pairs], [pair[::-1] for pair in same], ADDED),
    )


def blend_words(
    source: Prompt, target: Prompt, kind: str, words: Sequence[str], other_words: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words to blend of the source and of the target, where AUTO stands for those that are swapped. A prompt that
    has a word spelled so means that word."""
    if AUTO not in (*words, *other_words):
        return tuple(words), tuple(other_words)
    told = difference(source, target, kind)
    return _named(source, told.source, words), _named(target, told.target, other_words)


def _named(prompt: Prompt, changes: Sequence[Change], words: Sequence[str]) -> tuple[str, ...]:
    swapped = (AUTO,) if find_word(prompt, AUTO) else _swapped(prompt, changes)
    return tuple(part for word in words for part in (swapped if word == AUTO else (word,)))


def _swapped(prompt: Prompt, changes: Sequence[Change]) -> tuple[str, ...]:
    """Words, those in a row as one phrase."""
    phrases: list[str] = []
    told = zip(prompt.words, changes, strict=True)
    for swapped, run in groupby(told, key=lambda pair: pair[1].change == SWAPPED):
        if swapped:
            phrases.append("".join(word.text if word.joined else f" {word.text}" for word, _ in run).strip())
    return tuple(phrases)


def bound(source: Prompt, target: Prompt, alignment: Alignment) -> list[tuple[int, int]]:
    """The pairs of words (of the source, of the target) of which the one takes after the other, in their order."""
    before, after = _word_of_token(source), _word_of_token(target)
    rows = torch.zeros(len(source.words) + 1, len(target)).index_add(0, before, alignment.source)
    shares = torch.zeros(len(source.words) + 1, len(target.words) + 1).index_add(1, after, rows)
    return [tuple(pair) for pair in shares[:-1, :-1].nonzero().tolist()]


def weights(target: Prompt, text: str) -> list[float | list[float]]:
    """The weight of every word of the target, as the field word_weights says it, or SAMPLES of its curve; what is at
    fault there says none."""
    known = _known(target, text, parse_weights)
    values = (known.get(word.tokens[0], 1.0) for word in target.words)
    return [value.curve(SAMPLES).tolist() if isinstance(value, KeyFrames) else value for value in values]


def windows(target: Prompt, text: str) -> list[tuple[float, float] | None]:
    """The window of every word of the target that has its own, from the same field."""
    known = _known(target, text, parse_windows)
    return [known.get(word.tokens[0]) for word in target.words]


def faults(source: Prompt, target: Prompt, fields: Mapping[str, str]) -> dict[str, list[str]]:
    """For each field of an edit as it is written (blend_source, blend_target, subtract, word_weights) a sentence for
    every word in it that is unknown, and for every weight that is none; of more than MOST the rest only counted."""
    checks = {
        "blend_source": (parse_words, lambda word: word == AUTO or word_tokens(source, word, role="source")),
        "blend_target": (parse_words, lambda word: word == AUTO or word_tokens(target, word, role="target")),
        "subtract": (parse_words, lambda word: find_word(source, word) or word_tokens(target, word, role="target")),
        "word_weights": (
            word_entries,
            lambda entry: [
                word_tokens(target, word, role="target") for word in (*parse_weights(entry), *parse_windows(entry))
            ],
        ),
    }
    return {
        name: _faults_of(check, dict.fromkeys(parse(fields.get(name, "")))) for name, (parse, check) in checks.items()
    }


def _known(target: Prompt, text: str, parse: Callable[[str], Mapping[str, Any]]) -> dict[int, Any]:
    """What the field's entries say of the target's tokens, the last counts."""
    known = {}
    for entry in word_entries(text):
        with suppress(ValueError):
            for phrase, value in parse(entry).items():
                known |= dict.fromkeys(find_word(target, phrase), value)
    return known


def _word_of_token(prompt: Prompt) -> Tensor:
    """The word that each token belongs to: [tokens]. Those of none have the place after the last word."""
    places = torch.full((len(prompt),), len(prompt.words))
    for i, word in enumerate(prompt.words):
        places[list(word.tokens)] = i
    return places


def _changes(
    prompt: Prompt, pairs: Iterable[Sequence[int]], same: Iterable[Sequence[int]], alone: str
) -> tuple[Change, ...]:
    """pairs: (a word of this prompt, a word of the other); same: those of them that are spelled alike."""
    partners, unchanged = {i: [] for i in range(len(prompt.words))}, {i for i, _ in same}
    for i, j in pairs:
        partners[i].append(j)
    return tuple(
        Change(word.text, KEPT if i in unchanged else SWAPPED if partners[i] else alone, tuple(partners[i]))
        for i, word in enumerate(prompt.words)
    )


def _faults_of(check: Callable[[str], Any], entries: Iterable[str]) -> list[str]:
    messages = []
    for entry in entries:
        try:
            check(entry)
        except ValueError as error:
            messages.append(str(error))
    return messages if len(messages) <= MOST else [*messages[:MOST], f"and {len(messages) - MOST} more like these"]
