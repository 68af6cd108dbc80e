"""How two sequences belong together: how far they begin alike, and their best global alignment."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import torch


def common_beginning(first: Sequence[Any], second: Sequence[Any]) -> int:
    """How many items two sequences begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def global_alignment(x: Sequence, y: Sequence, gap: int = 0, match: int = 1, mismatch: int = -1) -> list[int]:
    """For each item of y the index of its partner in x, or -1: Needleman-Wunsch, ties skipping y before x.

    A partner is an equal item unless two gaps cost more than `mismatch`.
    """
    number = {item: n for n, item in enumerate(dict.fromkeys((*x, *y)))}
    y_numbers = torch.tensor([number[item] for item in y], dtype=torch.int32)
    gaps = gap * torch.arange(len(y) + 1, dtype=torch.int32)
    y_skipped, x_skipped = torch.empty(2, len(x) + 1, len(y) + 1, dtype=torch.bool)
    row = gaps
    for i, item in enumerate(x, 1):
        above = row
        paired = above[:-1] + torch.where(y_numbers == number[item], match, mismatch)
        best = torch.cat([gaps.new_tensor([gap * i]), torch.maximum(above[1:] + gap, paired)])
        # Skipping on in y costs a gap an item wherever it began: the best beginning is a running maximum.
        row = (best - gaps).cummax(dim=0).values + gaps
        y_skipped[i, 1:], x_skipped[i, 1:] = row[1:] == row[:-1] + gap, row[1:] == above[1:] + gap

    partners, i, j = [-1] * len(y), len(x), len(y)
    while j:
        if i == 0 or y_skipped[i, j]:
            j -= 1
        elif x_skipped[i, j]:
            i -= 1
        else:
            i, j = i - 1, j - 1
            partners[j] = i
    return partners
