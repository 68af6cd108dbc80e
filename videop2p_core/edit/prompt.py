"""Words and tokens: which token positions a word has.

A word is a unit of the text (`segmentation`): "Spider-Man" is one word of three CLIP tokens, and "red" ends before the
comma of "red,hair". In scripts without spaces it is a character, or the characters of one token. A tokenizer is
anything that turns text into a `Prompt` by naming its pieces. Words "officially" found are those of the official code
of Video-P2P (arXiv 2303.04761, section 3.2).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

from .segmentation import Unit, runs, segmented
from .sequence_alignment import global_alignment

TEXT, START, END, PAD = "text", "start", "end", "pad"
REGISTER = "register"  # a vector that a model learnt for its place, no token of any text


@dataclass(frozen=True)
class Piece:
    """One token. Equal ids are equal tokens; `text` is what it spells, stray UTF-8 bytes as surrogate escapes."""

    id: Hashable
    text: str = ""
    kind: str = TEXT


@dataclass(frozen=True)
class Word:
    """A word of a prompt; tokens: its positions in the prompt's embedding; units: of the text that it takes;
    joined: whether it follows the word before it in one run of a script without spaces."""

    text: str
    tokens: tuple[int, ...]
    units: tuple[str, ...]
    joined: bool = False


@dataclass(frozen=True)
class Prompt:
    """A prompt as its tokenizer read it.

    text: what was tokenized, markup such as `(word:1.2)` taken out.
    chunks: the pieces of each chunk, start, end and padding included; token i is the i-th piece of all chunks.
    edges: places in the text where markup stood, which ends a word.
    """

    text: str
    chunks: tuple[tuple[Piece, ...], ...]
    edges: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self.pieces)

    @cached_property
    def pieces(self) -> tuple[Piece, ...]:
        return tuple(piece for chunk in self.chunks for piece in chunk)

    @cached_property
    def content(self) -> tuple[int, ...]:
        """Positions of the tokens that spell the text."""
        return tuple(i for i, piece in enumerate(self.pieces) if piece.kind == TEXT)

    @cached_property
    def words(self) -> tuple[Word, ...]:
        """The words that have tokens, in order. Raises ValueError where the pieces do not say what they spell."""
        tokens: dict[int, list[int]] = {}
        for position, unit in zip(self.content, _units_of_pieces(self), strict=True):
            tokens.setdefault(unit, []).append(position)
        words: list[Word] = []
        for i, unit in enumerate(self.units):
            goes_on = i > 0 and unit.joined and unit.unspaced and self.units[i - 1].unspaced
            if i in tokens:
                words.append(Word(unit.text, tuple(tokens[i]), (unit.text,), goes_on))
            elif goes_on and words:  # of one token with the character before
                last = words[-1]
                words[-1] = replace(last, text=last.text + unit.text, units=(*last.units, unit.text))
        return tuple(words)

    @cached_property
    def word_at(self) -> dict[int, Word]:
        """The word of each position that one has."""
        return {position: word for word in self.words for position in word.tokens}

    @cached_property
    def units(self) -> tuple[Unit, ...]:
        return tuple(segmented(self.text, self.edges)[0])

    @cached_property
    def places(self) -> tuple[dict[str, set[int]], ...]:
        """Where among the units of `words` each spelling stands, with its edge punctuation or without: as it is, and in
        any case."""
        places = tuple({} for _ in _SAME)
        for i, unit in enumerate(self.spelled):
            for same, positions in zip(_SAME, places, strict=True):
                for spelling in (unit, _bare(unit)):
                    positions.setdefault(same(spelling), set()).add(i)
        return places

    @cached_property
    def known(self) -> str:
        """Its words as a person writes them, for a sentence that names them."""
        return ", ".join(runs(self.text))

    @cached_property
    def spelled(self) -> tuple[str, ...]:
        """The units of `words`, in their order."""
        return tuple(unit for word in self.words for unit in word.units)

    @cached_property
    def word_of_unit(self) -> tuple[int, ...]:
        """Of each of `spelled`."""
        return tuple(i for i, word in enumerate(self.words) for _ in word.units)

    def ids(self, positions: Sequence[int]) -> tuple[Hashable, ...]:
        return tuple(self.pieces[i].id for i in positions)


Tokenizer = Callable[[str], Prompt]


# --- words -----------------------------------------------------------------------------------------------------------


def word_tokens(prompt: Prompt, word: str, alignment: str = "default", role: str = "") -> tuple[int, ...]:
    """Token positions of every occurrence of a word, or of several words in a row, in the prompt.

    Exact spelling is tried first, then any case. Raises ValueError, listing the words there are, if it is not found;
    `role` ("source", "target") names the prompt in that message.
    """
    find = {"default": find_word, "official": find_word_officially}[alignment]
    tokens = find(prompt, word)
    if not tokens:
        known = prompt.known or "it is empty"
        raise ValueError(
            f"'{shortened(word)}' is not a word of the {role + ' ' if role else ''}prompt: {shortened(known, 500)}"
        )
    return tokens


def find_word(prompt: Prompt, word: str) -> tuple[int, ...]:
    """As `word_tokens`, with no tokens for a word that is not there."""
    phrase = [unit.text for unit in segmented(word)[0]]
    for same, places in zip(_SAME, prompt.places, strict=True):
        starts = [{place - i for place in places.get(same(part), ())} for i, part in enumerate(phrase)]
        matches = {start + i for start in set.intersection(*starts) for i in range(len(phrase))} if phrase else ()
        if matches:
            words = {prompt.word_of_unit[unit] for unit in matches}
            return tuple(sorted(token for i in words for token in prompt.words[i].tokens))
    return ()


def find_word_officially(prompt: Prompt, word: str) -> tuple[int, ...]:
    """The reference's search: exact equality with a part of the prompt split at single spaces; pieces are counted off
    against the parts by their number of characters, so that every further space or stray byte shifts the count."""
    parts = prompt.text.split(" ")
    if word not in parts:
        return ()
    return tuple(t for part, tokens in zip(parts, official_parts(prompt), strict=True) if part == word for t in tokens)


def shortened(text: str, most: int = 100) -> str:
    """A text as a sentence can hold it: in one line, not too long, and no half of a character in it."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= most else f"{text[:most]}…"


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(text: str) -> str:
    return _composed(text).casefold()


_SAME = (_composed, _folded)


def _bare(run: str) -> str:
    """The run without its edge punctuation; a run of nothing else stays as it is."""
    inner = [i for i, letter in enumerate(run) if not unicodedata.category(letter).startswith("P")]
    return run[inner[0] : inner[-1] + 1] if inner else run


def _spelled(piece: Piece) -> bytes:
    return piece.text.encode("utf-8", "surrogateescape")


def _units_of_pieces(prompt: Prompt) -> list[int]:
    """For each content piece the unit of the text that holds the first letter it spells of any, -1 for punctuation."""
    written = _letters(prompt)
    letters = [letter for _, letter in written]

    spelled, spans = b"", []
    for position in prompt.content:
        part = _spelled(prompt.pieces[position])
        start = len(spelled.decode("utf-8", "ignore"))
        spelled += part
        # a piece that spells nothing, as a textual inversion's later vectors, stays with the one before it
        end = max(len(spelled.decode("utf-8", "ignore")), start + 1)
        spans.append(range(start, end) if part or not spans else spans[-1])
    spelling = [letter.lower() for letter in spelled.decode("utf-8", "replace")]
    if "\ufffd" in spelling and "\ufffd" not in letters:
        raise ValueError(
            f"the tokenizer does not say how its pieces spell '{shortened(prompt.text)}': use a CLIP of another loader"
        )

    # A tokenizer may rewrite the text (quotes, joiners): then pair what it spells with what was written.
    same = spelling == letters
    units, unit = [], 0
    for letter in range(len(letters)) if same else global_alignment(letters, spelling, gap=-1):
        unit = written[letter][0] if letter >= 0 else unit
        units.append(unit)
    last = units[-1] if units else 0
    held = ([units[letter] if letter < len(units) else last for letter in span] for span in spans)
    return [next((unit for unit in some if unit >= 0), -1) for some in held]


def _letters(prompt: Prompt) -> list[tuple[int, str]]:
    """The letters of the text as a tokenizer spells them, each with its unit, -1 for punctuation."""
    _, owners = segmented(prompt.text, prompt.edges)
    groups = groupby(zip(owners, prompt.text, strict=True), key=lambda pair: pair[0])
    parts = ((owner, "".join(letter for _, letter in group)) for owner, group in groups)
    return [(owner, letter.lower()) for owner, part in parts for letter in _composed(part) if not letter.isspace()]


def official_parts(prompt: Prompt) -> list[list[int]]:
    """The token positions of each part between spaces, counted off by letters as the official code does."""
    parts = prompt.text.split(" ")
    tokens, part, length = [[] for _ in parts], 0, 0
    for position in prompt.content:
        if part == len(parts):
            raise ValueError(
                f"the official alignment cannot count off the tokens of '{shortened(prompt.text)}' by its letters: "
                "use the default"
            )
        tokens[part].append(position)
        length += len(_spelled(prompt.pieces[position]).decode("utf-8", "replace").strip("#"))
        if length >= len(parts[part]):
            part, length = part + 1, 0
    return tokens
