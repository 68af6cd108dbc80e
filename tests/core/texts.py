"""What may be written into a field, as hypothesis draws it, and whether the pack answers with a sentence."""

import traceback
from dataclasses import dataclass
from pathlib import Path

import torch
from hypothesis import strategies as st

PACK = Path(__file__).parents[2]
LONGEST = 2000  # characters
LONG = 1000  # characters of a sentence

WORDS = "a red ball on the beach old man Spider-Man, don't origami".split()
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "1.2", "0.5", "2", "1e3", "-1e3", "1e30", "-1e30", "1e300", "1e999", "nan", "inf", "-inf", ""]
    + ["two", "1_0", "٣", "0x10", "1" * 400, "1,5", " 2 ", "--1", "1.2:3"]
)  # fmt: skip
ODD = st.sampled_from(
    ["\0", "\0\1", "\0\2", "\1\2", "\r\n", "\n", "\t", "\v", "\f", "\x1c", "\x1f", "\x85", "\u2028", "\u2029", "\u00a0"]
    + ["\u3000", "\u200b", "\u200d", "\u2060", "\ufeff", "\ufffd", "\uffff", "\U0010ffff", "\ue000", "\u00ad"]
    + ["👩\u200d🚀", "👨\u200d👩\u200d👧", "🏳️\u200d🌈", "🇩🇪", "🇩", "1\ufe0f\u20e3", "👍🏽", "\ufe0f", "🏴\U000e0067"]
    + ["e\u0301", "é", "\u0301", "a" + "\u0300\u0316\u0489" * 9, "Å", "ｅ", "ﬁ", "ß", "İ", "ǅ", "Ω", "ΐ"]
    + ["مرحبا", "שָׁלוֹם", "\u202e", "\u2067", "\u200f", "नमस्ते", "ไทย", "한국어", "각", "一只猫", "кот", "\U00020001"]
    + ["\ud83d", "\ude80", "\udc80", "<|endoftext|>", "<|startoftext|>", "</w>", "▁", "</s>", "<unk>"]
    + ["<extra_id_0>", "\\", "\\(", "\\)", "\\\\(", "$", "$\\alpha$", "%s", "{}", "{0}", "'", '"', "“", "&amp;", "<b>"]
    + ["..", "/", ",", ":"]
)  # fmt: skip
INVERSIONS = st.sampled_from(
    ["embedding:mystyle", "embedding:nothere", "embedding:", "embedding:\0", "embedding:../x", "embedding:mystyle,"]
    + ["embedding:mystyle<a", "(embedding:mystyle:1.2)", "x(embedding:mystyle)", "embedding:embedding:mystyle"]
)  # fmt: skip
LETTERS = st.characters(exclude_categories=())  # halves of characters among them


def often(usual, rare, times=10):
    """Mostly the one; `one_of` takes what is named several times for a single choice."""
    return st.integers(0, times).flatmap(lambda number: usual if number else rare)


def _weighted(inner):
    return st.builds("({}:{})".format, inner, NUMBERS) | st.builds("({})".format, inner)


def _fragments():
    plain = st.one_of(st.sampled_from(WORDS), ODD, st.text(LETTERS, max_size=8), INVERSIONS)
    few, hundreds = st.integers(1, 5), st.sampled_from([90, 400, 995, 1100])
    number = often(few, hundreds)
    brackets = st.builds(lambda bracket, n: bracket * n, st.sampled_from("()[]{}"), number)
    nested = st.builds(
        lambda inner, n, weight: "(" * n + inner + (f":{weight}" if weight else "") + ")" * n, plain, number, NUMBERS
    )
    return st.one_of(st.sampled_from(WORDS), plain, st.recursive(plain, _weighted, max_leaves=3), brackets, nested)


def texts(longest=LONGEST):
    """Of up to so many characters: most of them short, some repeat a few fragments until they are as long as may be."""
    short = st.builds(str.join, st.sampled_from([" ", ""]), st.lists(_fragments(), max_size=8))
    long = st.builds(lambda text, joint: (text + joint) * longest, short, st.sampled_from(["", " "]))
    return often(short, st.text(LETTERS, max_size=40) | long).map(lambda text: text[:longest])


def prompts():
    """Half of them of plain words, so that edits get as far as their matrices."""
    plain = st.lists(st.sampled_from([*WORDS, "кот", "一只猫", "👩\u200d🚀"]), min_size=1, max_size=12)
    return often(plain.map(" ".join), texts(), 1)


@st.composite
def two_prompts(draw):
    """(source, target): the target the same, with some words changed, or another one altogether."""
    source = draw(prompts())
    if draw(st.booleans()):
        words = source.split()[:200]
        for _ in range(draw(st.integers(0, 3))):
            place, length = draw(st.integers(0, max(len(words) - 1, 0))), draw(often(st.just(1), st.integers(0, 2), 2))
            words[place : place + length] = draw(
                often(st.sampled_from(WORDS).map(lambda word: [word]), st.lists(_fragments(), max_size=2), 2)
            )
        return source, " ".join(words)[:LONGEST]
    return source, draw(prompts())


def words_of(text):
    """A word of a text, several in a row, or anything."""
    known = text.split() or [""]
    phrase = st.tuples(st.integers(0, len(known) - 1), often(st.just(1), st.integers(2, 3), 4)).map(
        lambda place: " ".join(known[place[0] : sum(place)])
    )
    return often(phrase, texts(60), 6)


def listed(entries):
    """Several entries of a field, separated in one of the ways there are."""
    return st.builds(str.join, st.sampled_from([",", ", ", "\n", " ,\r\n"]), st.lists(entries, max_size=4))


NAN, INFINITY = float("nan"), float("inf")
SHARES = often(
    st.floats(0, 1), st.sampled_from([0, True, -0.0, -1.0, 1.0000001, 2.0, 1e30, NAN, INFINITY, -INFINITY]), 20
)
WEIGHTS = often(st.floats(-3, 3), st.sampled_from([0, 1e3, -1e3, 1e4, 1e30, -1e30, 1e-300, 1e300, NAN, INFINITY]))


@dataclass(frozen=True)
class Drawn:
    """A tensor, told in one line where a case fails: uniform noise times `scale`, and somewhere an odd value."""

    shape: tuple[int, ...]
    seed: int
    scale: float = 1
    odd: float | None = None
    kind: torch.dtype = torch.float32

    def tensor(self):
        generator = torch.Generator().manual_seed(self.seed)
        values = self.scale * torch.rand(self.shape, generator=generator)
        if self.odd is not None and values.numel() and self.kind.is_floating_point:
            values.view(-1)[self.seed % values.numel()] = self.odd
        return values.to(self.kind)


@st.composite
def images(draw, frames):
    """IMAGEs of so many frames, or of any number."""
    number = st.integers(0, 4) if frames is None else st.just(frames)
    shape = draw(st.tuples(number, st.integers(1, 40), st.integers(1, 40), st.sampled_from([3, 3, 3, 1, 4])))
    return Drawn(shape, draw(st.integers(0, 9)))


def answer(function, *args, **settings):
    """What a function gives, None where it says in a sentence of the pack's own why it gives nothing."""
    try:
        return function(*args, **settings)
    except ValueError as error:
        check_sentence(error)
        return None


def check_sentence(error: ValueError) -> None:
    """Said by a `raise` of the pack, for nothing that Python or torch complain of is a sentence to an artist."""
    said, at = str(error), traceback.extract_tb(error.__traceback__)[-1]
    assert Path(at.filename).is_relative_to(PACK) and at.line.startswith("raise "), f"{at.filename}: {said}"
    assert 0 < len(said) < LONG and "\n" not in said and said.encode(), said
