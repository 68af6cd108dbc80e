"""Fields of any text, and edits of any settings: what they say, or one sentence. VP2P_FUZZ=30 tries thirty times
as many."""

import math
import re

import pytest
import torch
from comfyui_videop2p.tests.core.fuzzing import many
from comfyui_videop2p.tests.core.test_prompt import prompt_of
from comfyui_videop2p.tests.core.texts import (
    NUMBERS,
    SHARES,
    WEIGHTS,
    WORDS,
    Drawn,
    answer,
    listed,
    often,
    texts,
    words_of,
)
from comfyui_videop2p.videop2p_core.diffusion.attention_records import RecordSettings
from comfyui_videop2p.videop2p_core.edit.alignment import ALIGNMENTS, KINDS
from comfyui_videop2p.videop2p_core.edit.curves import KeyFrames
from comfyui_videop2p.videop2p_core.edit.edit_fields import parse_weights, parse_words
from comfyui_videop2p.videop2p_core.edit.edit_plan import EditPlan
from comfyui_videop2p.videop2p_core.edit.local_blend import checked_mask, fit_mask
from comfyui_videop2p.videop2p_core.edit.matrices import compile_edit
from comfyui_videop2p.videop2p_core.edit.prompt import find_word, shortened, word_tokens
from comfyui_videop2p.videop2p_core.edit.sequence_alignment import global_alignment
from comfyui_videop2p.videop2p_core.edit.sweep import MOST, label, parse_numbers, sweep_plans
from hypothesis import given, note
from hypothesis import strategies as st

ENTRIES = st.builds("{}:{}".format, texts(20), NUMBERS) | st.builds("{}: {:g}".format, texts(20), WEIGHTS) | texts(40)


@many(150)
@given(listed(ENTRIES))
def test_a_field_of_words(text):
    note(ascii(text))
    words = parse_words(text)
    assert all(word == word.strip() and word and "," not in word and len(word.splitlines()) == 1 for word in words)
    assert parse_words("\n".join(words)) == words == parse_words(",".join(words))
    weights = answer(parse_weights, text)
    if weights is not None:
        assert len(weights) <= len(words) and all(map(math.isfinite, weights.values())) and "" not in weights


@many(150)
@given(listed(NUMBERS | SHARES.map(str) | texts(20)))
def test_a_field_of_numbers(text):
    note(ascii(text))
    numbers = answer(parse_numbers, text, "cross_windows")
    assert numbers is None or len(numbers) == len(parse_words(text)) and all(map(math.isfinite, numbers))


# --- prompts of a tokenizer of any kind: `|` parts a word into pieces -------------------------------------------------

SPELLED = st.lists(
    st.sampled_from(WORDS) | st.sampled_from(["Spi|der|-|man", "re|d|,", "一|只", "sh|i|n|y"]), min_size=1, max_size=30
).map(" ".join)


@st.composite
def two_spelled(draw):
    """(source, target), in chunks of a few tokens each."""
    source, target = draw(SPELLED), draw(SPELLED)
    if draw(st.booleans()):
        words = source.split()
        words[draw(st.integers(0, len(words) - 1))] = draw(SPELLED.map(lambda text: text.split()[0]))
        target = " ".join(words)
    chunk = draw(st.integers(3, 40))
    return prompt_of(source, chunk), prompt_of(target, chunk)


POINTS = st.lists(st.tuples(SHARES, st.floats(-3, 3)), max_size=3, unique_by=lambda point: point[0])
WINDOWS = st.one_of(SHARES, st.tuples(SHARES, SHARES), POINTS)


def window_of(drawn):
    """A list of points becomes key-frames, or a sentence instead of them."""
    return answer(lambda: KeyFrames(tuple(sorted(drawn)))) if isinstance(drawn, list) else drawn


@many(60)
@given(data=st.data(), prompts=two_spelled(), steps=st.integers(-1, 8))
def test_an_edit_of_any_windows_is_made_of_numbers(data, prompts, steps):
    source, target = prompts
    named = words_of(target.text)
    drawn = data.draw(WINDOWS | st.dictionaries(named, WINDOWS, max_size=2))
    cross = {word: window_of(window) for word, window in drawn.items()} if isinstance(drawn, dict) else window_of(drawn)
    temporal = data.draw(SHARES | st.tuples(SHARES, SHARES))
    if cross is None or isinstance(cross, dict) and None in cross.values():
        return
    edit = answer(
        compile_edit, source, target, steps=steps, kind=data.draw(st.sampled_from(KINDS)),
        alignment=data.draw(st.sampled_from(ALIGNMENTS)), cross=cross, temporal=temporal,
    )  # fmt: skip
    if edit is not None:
        assert edit.source.shape == (steps, len(source), len(target)) and edit.target.shape == (steps, len(target))
        assert edit.source.isfinite().all() and edit.target.isfinite().all() and edit.temporal.shape == (steps,)


@many(50)
@given(data=st.data(), prompts=two_spelled())
def test_what_order_words_are_named_in_does_not_matter(data, prompts):
    source, target = prompts
    blend = data.draw(st.lists(st.sampled_from(target.text.split()), min_size=1, max_size=3, unique=True))
    weights = dict.fromkeys(blend, data.draw(st.floats(-3, 3)))
    settings = {"cross": data.draw(st.floats(0, 1))}
    one = EditPlan(source, target, weights=weights, blend_target=tuple(blend), **settings)
    other = EditPlan(
        source, target, weights=dict(reversed(weights.items())), blend_target=tuple(reversed(blend)), **settings
    )
    assert torch.equal(one.compile(5).source, other.compile(5).source)
    assert torch.equal(one.token_weights(), other.token_weights())
    assert torch.equal(one.blend().target, other.blend().target)


@many(30)
@given(data=st.data(), prompts=two_spelled())
def test_a_sweep_of_anything_is_a_grid(data, prompts):
    source, target = prompts
    plan = answer(
        EditPlan, source, target, weights=data.draw(st.dictionaries(words_of(target.text), WEIGHTS, max_size=2)),
        blend_source=data.draw(st.lists(words_of(source.text), max_size=1).map(tuple)),
        blend_target=data.draw(st.lists(words_of(target.text), max_size=2).map(tuple)),
    )  # fmt: skip
    if plan is None:
        return
    others = [prompt_of(text) for text in data.draw(st.lists(SPELLED, max_size=3))]
    word = data.draw(words_of(target.text).map(str.strip) | st.just(""))
    weights, windows = data.draw(st.lists(WEIGHTS, max_size=5)), data.draw(st.lists(SHARES, max_size=5))
    plans = answer(sweep_plans, plan, targets=others, word=word, weights=weights, windows=windows)
    if plans is None:
        return
    assert len(plans) == (1 + len(others)) * (len(weights) if word else 1) * max(len(windows), 1) <= MOST
    assert all(swept.compile(2).source.isfinite().all() for swept in plans)
    assert all(find_word(swept.target, word) and label(swept, word, prompt=True) for swept in plans if word)


@many(150)
@given(st.text("abc", max_size=20), st.text("abc", max_size=20), st.sampled_from([0, -1]))
def test_partners_are_alike_and_in_order(x, y, gap):
    partners = global_alignment(x, y, gap=gap)
    paired = [(i, j) for j, i in enumerate(partners) if i >= 0]
    assert paired == sorted(paired) and len({i for i, _ in paired}) == len(paired)
    assert gap or all(x[i] == y[j] for i, j in paired)
    assert x != y or partners == list(range(len(y)))


# --- masks ------------------------------------------------------------------------------------------------------------

FRAMES = st.integers(0, 4)
KINDS_OF_NUMBERS = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.uint8, torch.int64, torch.bool]


@st.composite
def masks(draw, frames=FRAMES):
    """Of any rank, size, kind of numbers and values."""
    usual = st.tuples(frames, st.integers(1, 40), st.integers(1, 40))
    shape = draw(often(usual, st.lists(st.integers(0, 5), max_size=5).map(tuple), 4))
    odd = often(st.none(), st.sampled_from([-1.0, 0.5, 2.0, 1e4, torch.inf, -torch.inf, torch.nan]), 3)
    return Drawn(
        shape, draw(st.integers(0, 9)), draw(st.sampled_from([0, 1, 1, 1, 2, -1, 255])), draw(odd),
        draw(st.sampled_from(KINDS_OF_NUMBERS)),
    )  # fmt: skip


@many(150)
@given(mask=masks(), frames=st.integers(1, 3), size=st.tuples(st.integers(1, 20), st.integers(1, 20)))
def test_a_mask_of_anything_is_one_of_the_clip(mask, frames, size):
    fitted = answer(fit_mask, mask.tensor(), frames, size)
    if fitted is not None:
        assert fitted.shape == (frames, *size) and 0 <= fitted.min() and fitted.max() <= 1


# --- what such cases showed -------------------------------------------------------------------------------------------

SHORT = prompt_of("a red ball"), prompt_of("a blue ball")


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"cross": 1.5}, "the edit's cross window is 1.5: it lies between 0 and 1"),
        ({"temporal": math.nan}, "the edit's temporal window is nan"),
        ({"threshold": math.nan}, "the edit's threshold is nan"),
        ({"start": math.inf}, "the edit's blend_start is inf"),
        ({"freeze": -1}, "the edit's blend_freeze is -1"),
        ({"weights": {"blue": 1e30}}, "'blue' is given the weight 1e+30: weights lie between -1000 and 1000"),
        ({"weights": {"blue": math.nan}}, "'blue' is given the weight nan"),
    ],
)
def test_numbers_that_no_edit_can_take(settings, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        EditPlan(*SHORT, **settings)


def test_matrices_that_no_machine_holds_are_not_made():
    long = prompt_of("a " * 5000, chunk=77)
    with pytest.raises(ValueError, match="have 5159 and 5159 tokens, too many for 500 steps: write shorter ones"):
        compile_edit(long, long, steps=500)


def test_equal_steps_share_their_matrices_and_key_frames_have_their_own():
    edit = compile_edit(*SHORT, steps=6, cross=0.5, weights={"blue": KeyFrames(((0, 1.0), (1, 2.0)))})
    blue = SHORT[1].words[1].tokens[0]
    assert edit.source[:, :, blue].sum(1).tolist() == pytest.approx([1.0, 1.2, 1.4, 0, 0, 0])
    assert [edit.is_identity(step) for step in range(6)] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    "mask, sentence",
    [
        (torch.ones(8, 8), "the mask has shape [8, 8]: give [frames, height, width]"),
        (torch.tensor(1.0), "the mask has shape []"),
        (torch.ones(1, 0, 4), "the mask has shape [1, 0, 4]: give [frames, height, width], at least one of each"),
        (torch.full((1, 4, 4), torch.nan), "the mask holds values that are not numbers (NaN or infinity)"),
    ],
)
def test_masks_that_are_none(mask, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        checked_mask(mask)


def test_a_mask_beyond_its_range_counts_as_its_ends():
    assert fit_mask(torch.tensor([[[255, 0]]], dtype=torch.uint8), 1, (1, 2)).tolist() == [[[1, 0]]]
    assert fit_mask(torch.tensor([[[1.1, -0.1]]]), 1, (1, 2)).tolist() == [[[1, 0]]]


def test_what_is_quoted_fits_a_sentence():
    assert shortened("a\n b \ud83d") == "a b ?" and shortened("x" * 101) == "x" * 100 + "…"
    with pytest.raises(ValueError, match=f"'{'x' * 100}…' is not a word of the prompt: a, red, ball"):
        word_tokens(SHORT[0], "x" * 2000)


@pytest.mark.parametrize("share", [-0.1, 2, math.nan, math.inf])
def test_a_share_of_the_source_that_cannot_be_kept(share):
    with pytest.raises(ValueError, match="the kept temporal window is .*: it lies between 0 and 1"):
        RecordSettings(temporal=share)
