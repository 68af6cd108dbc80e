"""Prompts as ComfyUI's CLIP reads them: SD1.x, SD2.x, SDXL and any other whose streams agree on their tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import accumulate
from numbers import Integral
from typing import Any

import torch
from comfy.sd import CLIP
from comfy.sd1_clip import escape_important, token_weights, unescape_important

from ...edit.edit_plan import HEAVIEST
from ...edit.prompt import END, PAD, START, Piece, Prompt, shortened
from ..families.kandinsky import STREAM, without_template, wraps_text
from ..families.ltxav import is_of_connector, with_register_pieces, without_padding

EMBEDDING = re.compile(r"(?<!\S)embedding:[^\s<\[]*[^\s<\[,]")
WORD_END, SPACE = "</w>", "\u2581"  # of CLIP's vocabulary, of SentencePiece's


def read_prompt(clip: CLIP, text: str) -> Prompt:
    """The words and tokens of a prompt, as `CLIPTextEncode` would encode it with this CLIP.

    `(word:1.2)`, escaped brackets and `embedding:name` are understood; a long prompt has several chunks.
    Raises ValueError where the CLIP's streams (as SDXL's two) split the prompt differently, and where `tokenized` does.
    """
    first, *others = _streams(clip, text)
    if any(_content(stream) != _content(first) for stream in others):
        raise ValueError(
            "the text encoders of this CLIP split the prompt into different tokens: use one of a single kind"
        )
    # A textual inversion that is not installed is passed over by ComfyUI, and so is no word.
    segments = [
        EMBEDDING.sub(lambda name: name[0] if _content_tokens(clip, name[0]) else "", segment)
        for segment, _ in (
            _segments(text) if reads_weights(clip) else [(unescape_important(escape_important(text)), 1.0)]
        )
    ]
    vectors = iter(_vector_names(clip, segments, first))
    edges = _edges(segments)
    if is_of_connector(clip.tokenizer):
        chunks = (with_register_pieces(pieces_of(clip.tokenizer, without_padding(chunk), vectors)) for chunk in first)
    elif wraps_text(clip.tokenizer):
        (nothing,), (something,) = (_streams(clip, other)[0] for other in ("", "a"))
        seen = (without_template(chunk, nothing, something) for chunk in first)
        chunks = (pieces_of(clip.tokenizer, chunk, vectors) for chunk in seen)
    else:
        chunks = (pieces_of(clip.tokenizer, chunk, vectors) for chunk in first)
    return Prompt("".join(segments), tuple(chunks), edges)


def _streams(clip: CLIP, text: str) -> list[Sequence[Sequence[tuple]]]:
    """The chunks of each encoder whose tokens the attention looks at."""
    streams = tokenized(clip, text, return_word_ids=True)
    return [streams[STREAM]] if wraps_text(clip.tokenizer) else list(streams.values())


def reads_weights(clip: CLIP, stream: str = "") -> bool:
    """Whether an encoder of a CLIP, by default its first, takes brackets for weights, rather than for text."""
    streams = tokenized(clip, "(a:2)")
    chunks = streams[stream] if stream else next(iter(streams.values()))
    return any(weight != 1 for chunk in chunks for _, weight in chunk)


def tokenized(clip: CLIP, text: str, **options: Any) -> dict[str, Any]:
    """clip.tokenize(text). Raises ValueError for a text that the host cannot read, or would encode into numbers that no
    model can take."""
    try:
        check_text(text)
        return clip.tokenize(text, **options)
    except RecursionError:  # of the host's own reading of brackets, a level each
        raise ValueError("the prompt has brackets within brackets by the hundred: take some away") from None
    except IndexError:  # the host takes the first of no words for the name
        raise ValueError(
            "the prompt says 'embedding:' and no name after it: write that of a textual inversion, or take it away"
        ) from None


def check_text(text: str) -> None:
    """Raises ValueError for half a character, and for a weight that leaves nothing else of the prompt."""
    broken = next((letter for letter in text if "\ud800" <= letter <= "\udfff"), None)
    if broken is not None:
        raise ValueError(
            f"the prompt holds half of a character (U+{ord(broken):X}, as left of an emoji that was cut): delete it"
        )
    for segment, weight in _segments(text):
        if not abs(weight) <= HEAVIEST:
            raise ValueError(
                f"the prompt gives '{shortened(segment)}' the weight {weight:g}: weights of brackets lie between "
                f"-{HEAVIEST} and {HEAVIEST}"
            )


def inversions_in(text: str) -> list[str]:
    """The textual inversions of a prompt as they are written, 'embedding:name' each."""
    return [name for segment, _ in _segments(text) for name in EMBEDDING.findall(segment)]


def without_markup(text: str) -> tuple[str, frozenset[int]]:
    """A prompt without the markup of its weights, and the places in it where there was some, as Prompt has them."""
    segments = [segment for segment, _ in _segments(text)]
    return "".join(segments), _edges(segments)


def _edges(segments: Sequence[str]) -> frozenset[int]:
    return frozenset(accumulate(map(len, segments)))


def _segments(text: str) -> list[tuple[str, float]]:
    """The parts of a prompt without the markup of their weights, as the host parts it, and the weights."""
    return [(unescape_important(segment), weight) for segment, weight in token_weights(escape_important(text), 1.0)]


def pieces_of(tokenizer: Any, chunk: Sequence[tuple], vectors: Iterator[str]) -> tuple[Piece, ...]:
    """The tokens of one chunk (token, weight, number of its segment, 0 for none), by the host's tokenizer that made it;
    vectors: what the vectors of textual inversions spell, in their order."""
    spell = _spelling(tokenizer, chunk)
    pieces, special = [], START
    for place, (token, _, group) in enumerate(chunk):
        if group:
            pieces.append(Piece(_identity(token), spell(token) if _is_index(token) else next(vectors)))
        else:
            special = START if place == 0 else END if special == START else PAD
            pieces.append(Piece(_identity(token), "", special))
    return tuple(pieces)


def _spelling(tokenizer: Any, chunk: Sequence[tuple]) -> Callable[[Any], str]:
    entries = [entry for entry in chunk if _is_index(entry[0])]
    names = {entry[0]: name for entry, name in tokenizer.untokenize(entries)}
    if any(SPACE in name for name in names.values()):
        return lambda token: names[token].replace(SPACE, "")
    # Some vocabularies of bytes begin a word with the space before it.
    return lambda token: "".join(clip_spelling(names[token]).split())


def clip_spelling(name: str) -> str:
    """What an entry of CLIP's vocabulary spells: its letters stand for bytes, which may be parts of a character."""
    letters = name.removesuffix(WORD_END)
    if not all(letter in BYTES for letter in letters):
        return letters
    return bytes(BYTES[letter] for letter in letters).decode("utf-8", "surrogateescape")


def _byte_letters() -> dict[str, int]:
    """CLIP's byte-level BPE writes a printable Latin-1 byte as itself and any other as the next letter from U+0100."""
    printable = [byte for first, last in ("!~", "¡¬", "®ÿ") for byte in range(ord(first), ord(last) + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTES = _byte_letters()


def _vector_names(clip: CLIP, segments: Sequence[str], chunks: Sequence[Sequence[tuple]]) -> list[str]:
    """What each vector of the prompt's textual inversions spells: the first of one its name, the rest nothing."""
    groups = [group for chunk in chunks for token, _, group in chunk if not _is_index(token)]
    written = (name for segment in segments for name in EMBEDDING.findall(segment))
    names = iter(name for name in written if not all(map(_is_index, _content_tokens(clip, name))))
    return [next(names, "") if i == 0 or group != groups[i - 1] else "" for i, group in enumerate(groups)]


def _content_tokens(clip: CLIP, text: str) -> list:
    stream = next(iter(clip.tokenize(text, return_word_ids=True).values()))
    return [token for chunk in stream for token, _, group in chunk if group]


def _content(stream: Sequence[Sequence[tuple]]) -> list[list]:
    """Which positions hold text, and which token where it is one of the vocabulary."""
    return [[group and (token if _is_index(token) else "vector") for token, _, group in chunk] for chunk in stream]


def _is_index(token: Any) -> bool:
    return isinstance(token, Integral)


def _identity(token: Any) -> Hashable:
    return tuple(token.flatten().tolist()) if isinstance(token, torch.Tensor) else token
