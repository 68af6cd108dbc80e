"""Words and tokens: which token positions a word has, and how the tokens of two prompts belong together.

A word is a whitespace-separated run of the prompt, with or without its edge punctuation: "Spider-Man" is one word of
three CLIP tokens, and "red" is found in "red,". A tokenizer is anything that turns text into a `Prompt` by naming its
pieces. The alignments are those of Prompt-to-Prompt (arXiv 2208.01626, section 3), as used by Video-P2P
(arXiv 2303.04761, section 3.2).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

TEXT, START, END, PAD = "text", "start", "end", "pad"
ALIGNMENTS = ("default", "official")
KINDS = ("auto", "replace", "refine")


@dataclass(frozen=True)
class Piece:
    """One token. Equal ids are equal tokens; `text` is what it spells, stray UTF-8 bytes as surrogate escapes."""

    id: Hashable
    text: str = ""
    kind: str = TEXT


@dataclass(frozen=True)
class Word:
    text: str
    tokens: tuple[int, ...]  # positions in the prompt's embedding


@dataclass(frozen=True)
class Prompt:
    """A prompt as its tokenizer read it.

    text: what was tokenized, markup such as `(word:1.2)` taken out.
    chunks: the pieces of each chunk, start, end and padding included; token i is the i-th piece of all chunks.
    """

    text: str
    chunks: tuple[tuple[Piece, ...], ...]

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
        tokens = {}
        for position, run in zip(self.content, _runs_of_pieces(self), strict=True):
            tokens.setdefault(run, []).append(position)
        return tuple(Word(run, tuple(tokens[i])) for i, run in enumerate(self.text.split()) if i in tokens)

    @cached_property
    def places(self) -> tuple[dict[str, set[int]], ...]:
        """Where among `words` each spelling stands, with its edge punctuation or without: as it is, and in any case."""
        places = tuple({} for _ in _SAME)
        for i, word in enumerate(self.words):
            for same, found in zip(_SAME, places, strict=True):
                for spelling in (word.text, _bare(word.text)):
                    found.setdefault(same(spelling), set()).add(i)
        return places

    def ids(self, positions: Sequence[int]) -> tuple[Hashable, ...]:
        return tuple(self.pieces[i].id for i in positions)


Tokenizer = Callable[[str], Prompt]


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where each target token takes its attention map from, before windows and weights.

    kind: "replace" or "refine".
    source: [N_source, N_target], the share of each source token's map.
    own: [N_target], the share of its own map: 1 for a token without a counterpart, else 0.
    """

    kind: str
    source: Tensor
    own: Tensor


# --- words -----------------------------------------------------------------------------------------------------------


def word_tokens(prompt: Prompt, word: str, alignment: str = "default", role: str = "") -> tuple[int, ...]:
    """Token positions of every occurrence of a word, or of several words in a row, in the prompt.

    Exact spelling is tried first, then any case. Raises ValueError, listing the words there are, if it is not found;
    `role` ("source", "target") names the prompt in that message.
    """
    find = {"default": find_word, "official": find_word_officially}[alignment]
    tokens = find(prompt, word)
    if not tokens:
        known = ", ".join(prompt.text.split()) or "it is empty"
        raise ValueError(
            f"'{shortened(word)}' is not a word of the {role + ' ' if role else ''}prompt: {shortened(known, 500)}"
        )
    return tokens


def find_word(prompt: Prompt, word: str) -> tuple[int, ...]:
    """As `word_tokens`, with no tokens for a word that is not there."""
    phrase = word.split()
    for same, places in zip(_SAME, prompt.places, strict=True):
        starts = [{place - i for place in places.get(same(part), ())} for i, part in enumerate(phrase)]
        found = {start + i for start in set.intersection(*starts) for i in range(len(phrase))} if phrase else ()
        if found:
            return tuple(sorted(token for i in found for token in prompt.words[i].tokens))
    return ()


def find_word_officially(prompt: Prompt, word: str) -> tuple[int, ...]:
    """The reference's search: exact equality with a part of the prompt split at single spaces; pieces are counted off
    against the parts by their number of characters, so that every further space or stray byte shifts the count."""
    parts = prompt.text.split(" ")
    if word not in parts:
        return ()
    return tuple(t for part, tokens in zip(parts, _official_parts(prompt), strict=True) if part == word for t in tokens)


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


def _runs_of_pieces(prompt: Prompt) -> list[int]:
    """For each content piece the whitespace-separated run it belongs to: the run that holds its first letter."""
    written = [(i, letter.lower()) for i, run in enumerate(prompt.text.split()) for letter in _composed(run)]
    letters = [letter for _, letter in written]

    spelled, starts = b"", []
    for position in prompt.content:
        part = _spelled(prompt.pieces[position])
        # a piece that spells nothing, as a textual inversion's later vectors, stays with the one before it
        starts.append(len(spelled.decode("utf-8", "ignore")) if part or not starts else starts[-1])
        spelled += part
    spelling = [letter.lower() for letter in spelled.decode("utf-8", "replace")]
    if "\ufffd" in spelling and "\ufffd" not in letters:
        raise ValueError(
            f"The tokenizer does not say how its pieces spell '{shortened(prompt.text)}', so no word has tokens."
        )

    # A tokenizer may rewrite the text (quotes, joiners): then pair what it spells with what was written.
    same = spelling == letters
    runs, run = [], 0
    for letter in range(len(letters)) if same else global_alignment(letters, spelling, gap=-1):
        run = written[letter][0] if letter >= 0 else run
        runs.append(run)
    return [runs[start] if start < len(runs) else run for start in starts]


def _official_parts(prompt: Prompt) -> list[list[int]]:
    parts = prompt.text.split(" ")
    tokens, part, length = [[] for _ in parts], 0, 0
    for position in prompt.content:
        if part == len(parts):
            raise ValueError(
                f"The official alignment cannot count off the tokens of '{shortened(prompt.text)}' by its letters."
            )
        tokens[part].append(position)
        length += len(_spelled(prompt.pieces[position]).decode("utf-8", "replace").strip("#"))
        if length >= len(parts[part]):
            part, length = part + 1, 0
    return tokens


# --- alignment of two prompts ----------------------------------------------------------------------------------------


def align(source: Prompt, target: Prompt, kind: str = "auto", alignment: str = "default") -> Alignment:
    """Align a target prompt with its source.

    kind: "replace" pairs the words one to one; "refine" pairs equal tokens in order and leaves the rest to the target;
    "auto" replaces where the words pair up, else refines.
    alignment: "official" repeats the reference, which after a swapped word of unlike token length leaves the
    unchanged words shifted. Raises ValueError where the kind does not fit the prompts.
    """
    if kind not in KINDS or alignment not in ALIGNMENTS:
        raise ValueError(f"An edit is one of {KINDS}, its alignment one of {ALIGNMENTS}; not '{kind}', '{alignment}'.")
    if alignment == "official" and (len(source.chunks) > 1 or len(target.chunks) > 1 or len(source) != len(target)):
        raise ValueError("The official alignment knows prompts of one chunk only; shorten them or use the default one.")
    if kind == "refine" or (kind == "auto" and not pairs_up(source, target)):
        return refine_alignment(source, target)
    return {"default": replace_alignment, "official": official_replace_alignment}[alignment](source, target)


def pairs_up(source: Prompt, target: Prompt) -> bool:
    """As many words on either side, and no shift would leave more of them unchanged than each in its own place."""
    before, after = ([prompt.ids(word.tokens) for word in prompt.words] for prompt in (source, target))
    in_place = sum(a == b for a, b in zip(before, after, strict=False))
    shifted = sum(i >= 0 for i in global_alignment(before, after))
    return len(before) == len(after) and in_place == shifted


def replace_alignment(source: Prompt, target: Prompt) -> Alignment:
    """Word i onto word i: token by token if they are equally long, else each of the source's k tokens onto each of
    the target's l tokens with 1/l. What follows keeps its place in the sentence, whatever the lengths.

    Padding follows its end token: the k-th on either side, the last of the source standing in for any beyond it.
    """
    if len(source.words) != len(target.words):
        raise _unequal(len(source.words), len(target.words))
    mapper, own = torch.zeros(len(source), len(target)), torch.ones(len(target))

    def connect(i: Sequence[int], j: Sequence[int]):
        mapper[_cells(i, j)] = 1 if len(i) == len(j) else 1 / len(j)
        own[list(j)] = 0

    for before, after in zip(source.words, target.words, strict=True):
        connect(before.tokens, after.tokens)
    for before, after in zip(_chunk_positions(source), _chunk_positions(target), strict=False):
        for kind in (START, END, PAD):
            if before[kind]:
                counterparts = [before[kind][min(k, len(before[kind]) - 1)] for k in range(len(after[kind]))]
                connect(counterparts, after[kind])
    return Alignment("replace", mapper, own)


def refine_alignment(source: Prompt, target: Prompt) -> Alignment:
    """Equal tokens in order, by the best global alignment of the two sequences; a new token keeps its own map.

    Start and end tokens of a chunk belong together; padding keeps its position.
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
    column = torch.tensor(column)
    return Alignment("refine", (torch.arange(len(source))[:, None] == column).float(), (column < 0).float())


def official_replace_alignment(source: Prompt, target: Prompt) -> Alignment:
    """The reference's mapper: as `replace_alignment` up to the last changed word, the plain diagonal after it."""
    parts = source.text.split(" "), target.text.split(" ")
    if len(parts[0]) != len(parts[1]):
        raise _unequal(len(parts[0]), len(parts[1]))
    changed = [n for n, (before, after) in enumerate(zip(*parts, strict=True)) if before != after]
    tokens = (_official_parts(source), _official_parts(target)) if changed else ([], [])
    swaps = [(tokens[0][n], tokens[1][n]) for n in changed]
    if any(not before or not after for before, after in swaps):
        raise ValueError(f"The official alignment finds no tokens for a changed word of '{shortened(target.text)}'.")

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


def global_alignment(x: Sequence, y: Sequence, gap=0, match=1, mismatch=-1) -> list[int]:
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


def _cells(i: Sequence[int], j: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Index of the cells (i, j): one by one where as many, else every i with every j."""
    i, j = torch.tensor(i, dtype=torch.long), torch.tensor(j, dtype=torch.long)
    return (i, j) if len(i) == len(j) else (i[:, None], j)


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
