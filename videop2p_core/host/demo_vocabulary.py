"""The words that the demo model learnt: others are refused by name, and told while they are typed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from safetensors import SafetensorError, safe_open

from .prompts.browser_tokenizer import tokens_of

DEMO = Path(__file__).parents[2] / "demo"
DEMO_FILE = DEMO / "videop2p_demo.safetensors"
TOKEN_ROWS = "token_rows"  # the token id of each row of the file's table
# Brackets, colons and numbers are how a prompt weighs a word, not words.
WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*")


def unknown_words(text: str, known_tokens: Iterable[int], tokens_of: Callable[[str], Iterable[int]]) -> list[str]:
    """The words of a text with a token that is not among those that are known, once each."""
    known = frozenset(known_tokens)
    return [word for word in dict.fromkeys(WORD.findall(text)) if not known.issuperset(tokens_of(word))]


def never_learnt(word: str, vocabulary: Iterable[str]) -> str:
    """The sentence for a word that is unknown."""
    return f"the demo model never learnt '{word}'; it knows: {', '.join(vocabulary)}"


def faults_of(text: str) -> list[str]:
    """A sentence for the first word of a prompt that the demo model will refuse; none where its file cannot be read."""
    known, vocabulary = _known()
    unknown = unknown_words(text, known, tokens_of) if known else []
    return [never_learnt(word, vocabulary) for word in unknown[:1]]


@cache
def _known() -> tuple[frozenset[int], list[str]]:
    """(tokens, words) by the model's file."""
    try:
        with safe_open(DEMO_FILE, "pt") as file:
            tokens, metadata = file.get_tensor(TOKEN_ROWS).tolist(), file.metadata() or {}
        return frozenset(tokens), json.loads(metadata["vocabulary"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return frozenset(), []
