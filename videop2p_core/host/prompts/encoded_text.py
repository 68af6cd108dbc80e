"""Where the words of a text stand in its embedding, whatever encoder made it.

A CLIP may have several encoders, of which some go into the embedding, one behind the other; an encoder that is a
language model wraps the text in a template, and may cut the beginning of that off again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from comfy.sd import CLIP
from torch import Tensor

from ...edit.prompt import PAD, TEXT, Piece, Prompt, find_word, word_tokens
from ...edit.sequence_alignment import common_beginning
from ..comfy.conditioning import Conditioning, embedding_of
from .clip_tokens import pieces_of, read_prompt, reads_weights, tokenized, without_markup

CLIP_STREAMS = ("l", "g", "h")  # encoders of CLIP itself, whose chunks agree
Chunks = Sequence[Sequence[tuple[Any, ...]]]  # (token, weight, number of its segment, 0 for none) of each chunk


@dataclass(frozen=True)
class PlacedPrompt:
    """A text as one encoder read it; first: where its first token would stand in the embedding, under 0 where the
    beginning was cut off."""

    prompt: Prompt
    first: int


@dataclass(frozen=True)
class EncodedText:
    """A text, its CONDITIONING, and how the encoders that made the embedding read it."""

    text: str
    conditioning: Conditioning
    tokens: int
    readings: tuple[PlacedPrompt, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """All that it has, each once."""
        return tuple(dict.fromkeys(word.text for word in self.readings[-1].prompt.words))

    def tokens_of(self, word: str) -> tuple[int, ...]:
        """Positions in the embedding of every occurrence of a word. Raises ValueError, naming the words there are."""
        positions = {
            reading.first + token for reading in self.readings for token in find_word(reading.prompt, word)
        } & set(range(self.tokens))
        if not positions:
            positions = set(word_tokens(self.readings[0].prompt, word))  # says which words there are
        return tuple(sorted(positions))

    def columns_of(self, words: Sequence[str]) -> Tensor:
        """[tokens, words]: 1 at the tokens of each word, of all that the text has where none is given.

        Raises as `tokens_of` does, and for a text of no words.
        """
        words = words or self.words
        if not words:
            raise ValueError("the text has no words: write the sentence that has them")
        columns = torch.zeros(self.tokens, len(words))
        for column, word in enumerate(words):
            columns[list(self.tokens_of(word)), column] = 1
        return columns


def encoded_text(clip: CLIP, text: str) -> EncodedText:
    """Raises ValueError for a text that cannot be read, and for encoders that are not known."""
    if clip is None:
        raise ValueError("there is no CLIP: connect the text encoder of the model")
    streams = tokenized(clip, text, return_word_ids=True)
    conditioning = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    tokens = embedding_of(conditioning, "text").shape[1]
    if set(streams) <= set(CLIP_STREAMS):
        return EncodedText(text, conditioning, tokens, (PlacedPrompt(read_prompt(clip, text), 0),))
    readings = tuple(
        PlacedPrompt(_read(clip, text, name, streams[name]), first) for name, first in _placed(clip, streams, tokens)
    )
    return EncodedText(text, conditioning, tokens, readings)


def _placed(clip: CLIP, streams: dict[str, Any], tokens: int) -> list[tuple[str, int]]:
    """The encoders that made an embedding of so many tokens, each with its place."""
    there = [name for name in streams if _part(clip.cond_stage_model, name) is not None]
    clips = [name for name in there if name in CLIP_STREAMS][:1]
    others = [name for name in there if name not in CLIP_STREAMS and name != "byt5"]  # which reads quotes alone
    lengths = {name: sum(map(len, streams[name])) for name in there}
    if len(others) == 1:
        (other,) = others
        if clips and lengths[clips[0]] + lengths[other] == tokens:
            return [(clips[0], 0), (other, lengths[clips[0]])]
        if tokens <= lengths[other]:
            return [(other, tokens - lengths[other])]
    if clips and lengths[clips[0]] == tokens:
        return [(clips[0], 0)]
    raise ValueError(
        f"it is not known where the words of a text stand in what this CLIP makes of it ({', '.join(streams)}; "
        f"{tokens} tokens): use the text encoder that belongs to the model"
    )


def _read(clip: CLIP, text: str, name: str, chunks: Chunks) -> Prompt:
    """A text as the encoder of one stream read it, what that wrapped it in taken for padding."""
    tokenizer = _part(clip.tokenizer, name)
    pieces, bare = (
        [piece for chunk in read for piece in pieces_of(tokenizer, chunk, repeat(""))]
        for read in (chunks, tokenized(clip, "", return_word_ids=True)[name])
    )
    content = [i for i, piece in enumerate(pieces) if piece.kind == TEXT]
    template = [piece.id for piece in bare if piece.kind == TEXT]
    ids = [pieces[i].id for i in content]
    before = common_beginning(ids, template)
    after = common_beginning(ids[before:][::-1], template[before:][::-1])
    inside = set(content[before : len(content) - after])
    placed = tuple(piece if i in inside else Piece(piece.id, kind=PAD) for i, piece in enumerate(pieces))
    written, edges = without_markup(text) if reads_weights(clip, name) else (text, frozenset())
    return Prompt(written, (placed,), edges)


def _part(holder: Any, name: str) -> Any:
    """An encoder, or a tokenizer, by the name of its stream: the host calls that of 'l' clip_l, some by their own."""
    return next(
        (getattr(holder, attribute) for attribute in (f"clip_{name}", name) if hasattr(holder, attribute)), holder
    )
