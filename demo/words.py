"""Captions as token ids, word by word: what training needs to know of CLIP's tokenizer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

LENGTH = 77
PUNCTUATION = ","


@cache
def pieces(word: str) -> tuple[int, ...]:
    """The BPE token ids of one word. CLIP splits at spaces first, so a caption is the sum of its words."""
    return tuple(_tokenizer()(word)["input_ids"][1:-1])


@cache
def _tokenizer():
    from comfy.sd1_clip import SDTokenizer

    return SDTokenizer().tokenizer


@cache
def token_rows(vocabulary: tuple[str, ...]) -> tuple[int, ...]:
    """The token ids that a demo model knows: start, end and every piece of every word of its captions."""
    start, end = _tokenizer()("")["input_ids"]
    tokens = {i for word in [*vocabulary, PUNCTUATION] for i in pieces(word)}
    return (start, *sorted(tokens), end)


@dataclass(frozen=True)
class Tokens:
    """`rows` [77]: indices into `token_rows`; `spans`: each word's token positions."""

    rows: np.ndarray
    spans: dict[str, list[int]]


def tokenize(vocabulary: tuple[str, ...], caption: str) -> Tokens:
    row = {token: i for i, token in enumerate(token_rows(vocabulary))}
    end = len(row) - 1
    rows, spans = [0], {}
    for word in caption.replace(PUNCTUATION, f" {PUNCTUATION} ").split():
        ids = [row[i] for i in pieces(word)]
        spans.setdefault(word, []).extend(range(len(rows), len(rows) + len(ids)))
        rows += ids
    return Tokens(np.array(rows + [end] * (LENGTH - len(rows)), dtype=np.int64), spans)
