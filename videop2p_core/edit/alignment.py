"""Which token of the source prompt a token of the target prompt stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from .prompt import END, PAD, REGISTER, START, Prompt, official_parts, shortened
from .sequence_alignment import global_alignment

ALIGNMENTS = ("default", "official")
Span = tuple[Sequence[int], Sequence[int]]  # tokens of the source, and those of the target in their place

KINDS = ("auto", "replace", "refine")


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each target token takes its attention map from, before windows and weights.

    kind: "replace" or "refine".
    source: [N_source, N_target], the share of each source token's map.
    target: [N_target], the share of its own map: 1 for a token without a counterpart, else 0.
    """

    kind: str
    source: Tensor
    target: Tensor


def align(source: Prompt, target: Prompt, kind: str = "auto", alignment: str = "default") -> Alignment:
    """Align a target prompt with its source.

    kind: "replace" pairs the words one to one; "refine" pairs equal tokens in order and leaves the rest to the target;
    "auto" replaces where the words pair up, else refines, with words replaced where others stand between the same two.
    alignment: "official" repeats the reference, which after a swapped word of unlike token length leaves the
    unchanged words shifted. Raises ValueError where the kind does not fit the prompts.
    """
    if kind not in KINDS or alignment not in ALIGNMENTS:
        raise ValueError(
            f"'{kind}' is no edit or '{alignment}' no alignment: choose {', '.join(KINDS)}, aligned by "
            f"{' or '.join(ALIGNMENTS)}"
        )
    if alignment == "official" and (len(source.chunks) > 1 or len(target.chunks) > 1 or len(source) != len(target)):
        raise ValueError("the official alignment knows prompts of one chunk only: shorten them, or use the default")
    if alignment == "official" and _registers(source, target):
        raise ValueError("the official alignment knows no registers, which this model has: use the default")
    if kind == "refine" or (alignment == "official" and kind == "auto" and not pairs_up(source, target)):
        return refine_alignment(source, target)
    if kind == "auto" and not pairs_up(source, target):
        return refine_alignment(source, target, swaps(source, target))
    return {"default": replace_alignment, "official": official_replace_alignment}[alignment](source, target)


def pairs_up(source: Prompt, target: Prompt) -> bool:
    """As many words on either side, and no shift would leave more of them unchanged than each in its own place."""
    before, after = ([prompt.ids(word.tokens) for word in prompt.words] for prompt in (source, target))
    in_place = sum(a == b for a, b in zip(before, after, strict=False))
    shifted = sum(i >= 0 for i in global_alignment(before, after))
    return len(before) == len(after) and in_place == shifted


def swaps(source: Prompt, target: Prompt) -> list[Span]:
    """Where other words stand between two that are kept: as many of them, or two parts of runs without spaces; of
    either prompt their tokens."""
    before, after = ([prompt.ids(word.tokens) for word in prompt.words] for prompt in (source, target))
    anchors = [(i, j) for j, i in enumerate(global_alignment(before, after)) if i >= 0]
    anchors = [(-1, -1), *((i, j) for i, j in anchors if before[i] == after[j]), (len(before), len(after))]
    pairs: list[Span] = []
    for (i, j), (next_i, next_j) in pairwise(anchors):
        old, new = source.words[i + 1 : next_i], target.words[j + 1 : next_j]
        if old and len(old) == len(new):
            pairs += [(a.tokens, b.tokens) for a, b in zip(old, new, strict=True)]
        elif old and new and all(word.joined for word in (*old[1:], *new[1:])):
            pairs.append(([t for word in old for t in word.tokens], [t for word in new for t in word.tokens]))
    return pairs


def replace_alignment(source: Prompt, target: Prompt) -> Alignment:
    """Word i onto word i: token by token if they are equally long, else each of the source's k tokens onto each of
    the target's l tokens with 1/l. What follows keeps its place in the sentence, whatever the lengths.

    Padding follows its end token: the k-th on either side, the last of the source standing in for any beyond it. A
    register keeps its position.
    """
    if len(source.words) != len(target.words):
        raise _unequal(len(source.words), len(target.words))
    mapper, unmapped = torch.zeros(len(source), len(target)), torch.ones(len(target))

    def connect(i: Sequence[int], j: Sequence[int]) -> None:
        mapper[_cells(i, j)] = 1 if len(i) == len(j) else 1 / len(j)
        unmapped[list(j)] = 0

    for before, after in zip(source.words, target.words, strict=True):
        connect(before.tokens, after.tokens)
    for before, after in zip(_punctuation(source), _punctuation(target), strict=True):
        if before and after:
            connect(before, after)
    for before, after in zip(_chunk_positions(source), _chunk_positions(target), strict=False):
        for kind in (START, END, PAD):
            if before[kind]:
                counterparts = [before[kind][min(k, len(before[kind]) - 1)] for k in range(len(after[kind]))]
                connect(counterparts, after[kind])
    registers = _registers(source, target)
    connect(registers, registers)
    return Alignment("replace", mapper, unmapped)


def refine_alignment(source: Prompt, target: Prompt, swapped: Sequence[Span] = ()) -> Alignment:
    """Equal tokens in order, by the best global alignment of the two sequences; a new token keeps its own map, or takes
    that of the tokens that it is swapped for.

    Start and end tokens of a chunk belong together; padding and registers keep their position.
    """
    column = [-1] * len(target)
    paired = global_alignment(source.ids(source.content), target.ids(target.content))
    for j, i in zip(target.content, paired, strict=True):
        column[j] = source.content[i] if i >= 0 else -1
    for before, after in zip(_chunk_positions(source), _chunk_positions(target), strict=False):
        for kind in (START, END):
            for i, j in zip(before[kind], after[kind], strict=False):
                column[j] = i
        for j in after[PAD]:
            place = j - after["first"]
            column[j] = before["first"] + place if place < before["length"] else -1
    for j in _registers(source, target):
        column[j] = j
    columns = torch.tensor(column)
    mapper, unmapped = (torch.arange(len(source))[:, None] == columns).float(), (columns < 0).float()
    for i, j in swapped:
        mapper[:, list(j)] = 0
        mapper[_cells(i, j)] = 1 if len(i) == len(j) else 1 / len(j)
        unmapped[list(j)] = 0
    return Alignment("refine", mapper, unmapped)


def official_replace_alignment(source: Prompt, target: Prompt) -> Alignment:
    """The reference's mapper: as `replace_alignment` up to the last changed word, the plain diagonal after it."""
    parts = source.text.split(" "), target.text.split(" ")
    if len(parts[0]) != len(parts[1]):
        raise _unequal(len(parts[0]), len(parts[1]))
    changed = [n for n, (before, after) in enumerate(zip(*parts, strict=True)) if before != after]
    tokens = (official_parts(source), official_parts(target)) if changed else ([], [])
    swaps = [(tokens[0][n], tokens[1][n]) for n in changed]
    if any(not before or not after for before, after in swaps):
        raise ValueError(
            f"the official alignment finds no tokens for a changed word of '{shortened(target.text)}': use the default"
        )

    mapper, i, j = torch.zeros(len(source), len(target)), 0, 0
    while i < len(source) and j < len(target):
        if swaps and swaps[0][0][0] == i:
            before, after = swaps.pop(0)
            mapper[_cells(before, after)] = 1 if len(before) == len(after) else 1 / len(after)
            i, j = i + len(before), j + len(after)
        else:
            mapper[i if swaps else j, j] = 1
            i, j = i + 1, j + 1
    return Alignment("replace", mapper, torch.zeros(len(target)))


def _punctuation(prompt: Prompt) -> list[list[int]]:
    """The tokens of no word: before the first, between any two, after the last."""
    after = {token: i + 1 for i, word in enumerate(prompt.words) for token in word.tokens}
    gaps: list[list[int]] = [[] for _ in range(len(prompt.words) + 1)]
    gap = 0
    for token in prompt.content:
        gap = after.get(token, gap)
        if token not in after:
            gaps[gap].append(token)
    return gaps


def _registers(source: Prompt, target: Prompt) -> list[int]:
    """The positions at which both prompts have a register."""
    pairs = zip(source.pieces, target.pieces, strict=False)
    return [i for i, pieces in enumerate(pairs) if all(piece.kind == REGISTER for piece in pieces)]


def _cells(i: Sequence[int], j: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Index of the cells (i, j): one by one where as many, else every i with every j."""
    rows, columns = torch.tensor(i, dtype=torch.long), torch.tensor(j, dtype=torch.long)
    return (rows, columns) if len(i) == len(j) else (rows[:, None], columns)


def _chunk_positions(prompt: Prompt) -> list[dict]:
    chunks, first = [], 0
    for chunk in prompt.chunks:
        kinds = {kind: [first + k for k, piece in enumerate(chunk) if piece.kind == kind] for kind in (START, END, PAD)}
        chunks.append({"first": first, "length": len(chunk), **kinds})
        first += len(chunk)
    return chunks


def _unequal(source: int, target: int) -> ValueError:
    return ValueError(
        f"Replace pairs the words one to one, but the source prompt has {source} words and the target prompt {target}: "
        "use refine."
    )
