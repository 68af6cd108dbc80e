"""Prompts of any text, read as the host reads them: an edit whose numbers are numbers, or one sentence. VP2P_FUZZ=30
tries thirty times as many."""

import json
import logging
import re
import time
from dataclasses import asdict

import pytest
import torch
from comfy.sd1_clip import SD1Tokenizer
from comfy.sdxl_clip import SDXLTokenizer
from comfyui_videop2p.tests.core.fuzzing import many
from comfyui_videop2p.tests.core.texts import (
    LONGEST,
    NUMBERS,
    SHARES,
    WEIGHTS,
    answer,
    listed,
    texts,
    two_prompts,
    words_of,
)
from comfyui_videop2p.tests.host.test_clip_tokens import clip_with
from comfyui_videop2p.tests.host.wan import tiny_text
from comfyui_videop2p.videop2p_core.edit import prompt_difference as difference
from comfyui_videop2p.videop2p_core.edit.alignment import KINDS, align, pairs_up, swaps
from comfyui_videop2p.videop2p_core.edit.edit_fields import parse_weights, parse_words
from comfyui_videop2p.videop2p_core.edit.edit_plan import EditPlan
from comfyui_videop2p.videop2p_core.edit.prompt import find_word
from comfyui_videop2p.videop2p_core.host.images.edit_metrics import text_features
from comfyui_videop2p.videop2p_core.host.prompts.browser_tokenizer import typing_clip, unknown_inversions
from comfyui_videop2p.videop2p_core.host.prompts.clip_tokens import read_prompt
from hypothesis import assume, example, given, note
from hypothesis import strategies as st
from safetensors.torch import save_file

PATIENCE = 10  # seconds of one case, on a machine that does other things as well


@pytest.fixture(scope="module", params=["SD1", "SDXL", "UMT5", "typing"])
def read(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("embeddings")
    save_file({"emb_params": torch.arange(2 * 768.0).reshape(2, 768)}, folder / "mystyle.safetensors")
    clip = {
        "SD1": lambda: clip_with(SD1Tokenizer(embedding_directory=[str(folder)])),
        "SDXL": lambda: clip_with(SDXLTokenizer()),
        "UMT5": tiny_text,
        "typing": typing_clip,
    }[request.param]()
    logging.disable(logging.WARNING)  # of the host, for each textual inversion that is not installed
    yield lambda text: read_prompt(clip, text)
    logging.disable(logging.NOTSET)


def in_time(function, *args, **settings):
    started = time.process_time()
    found = answer(function, *args, **settings)
    assert time.process_time() - started < PATIENCE
    return found


def pair(read, data):
    """Two prompts that can be read."""
    written = data.draw(two_prompts())
    note(ascii(written))
    prompts = [answer(read, text) for text in written]
    assume(None not in prompts)
    return prompts


@many(20)
@given(text=texts())
@example(text="(" * 1000 + ")" * 1000)
@example(text="(" * 999 + "a" + ")" * 999)
@example(text="一只猫在跑" * (LONGEST // 5))
@example(text="embedding:mystyle " * (LONGEST // 18))
@example(text=':) a "sign:"( ...')
@example(text="猫:犬 1,(000) a,")
@example(text="1,(0:1.2),5:(:1.3)b")
def test_every_token_is_of_a_word_and_every_word_is_found(read, text):
    note(ascii(text))
    prompt = in_time(read, text)
    if prompt is None:
        return
    words = answer(lambda: prompt.words)
    if words is None:
        return
    # What Python takes for a space, CLIP may have a token for.
    of_words = [token for word in words for token in word.tokens]
    assert len(set(of_words)) == len(of_words) and set(of_words) <= set(prompt.content)
    written = iter(prompt.text)
    assert all(letter in written for word in words for letter in word.text)  # in their order
    for word in words[:50]:
        assert set(word.tokens) <= set(find_word(prompt, word.text))
    assert unknown_inversions(text) is not None


@many(30)
@given(text=texts())
@example(text="a cat \ud83d")
@example(text="embedding:")
@example(text="(" * 1000 + ")" * 1000)
@example(text="a (cat:1e30)")
def test_why_any_prompt_has_no_score(text):
    """Of a CLIP that does not project it."""
    clip = clip_with(SD1Tokenizer())
    clip.encode_from_tokens = lambda tokens, return_pooled: (None, None)
    assert answer(text_features, clip, text) is None


@st.composite
def settings_of(draw, source, target):
    """Of an EditPlan, as a node would read them from its fields."""
    return {
        "kind": draw(st.sampled_from(KINDS)),
        "cross": draw(SHARES), "temporal": draw(SHARES), "threshold": draw(SHARES), "start": draw(SHARES),
        "freeze": draw(SHARES), "blend_source": draw(st.lists(words_of(source), max_size=2).map(tuple)),
        "blend_target": draw(st.lists(words_of(target), max_size=2).map(tuple)),
        "subtracted": draw(st.lists(words_of(source) | words_of(target), max_size=1).map(tuple)),
        "weights": draw(st.dictionaries(words_of(target), WEIGHTS, max_size=2)),
    }  # fmt: skip


@many(20)
@given(data=st.data())
def test_any_edit_is_made_of_numbers(read, data):
    source, target = pair(read, data)
    settings = data.draw(settings_of(source.text, target.text))
    plan = in_time(EditPlan, source, target, **settings)
    if plan is None:
        return
    steps = data.draw(st.integers(1, 3))
    check_edit(plan, in_time(plan.compile, steps), steps)
    check_blend(plan, plan.blend())


def check_edit(plan, edit, steps):
    """method.md 4.1: S is what the target takes of the source's maps, T what it keeps of its own."""
    aligned, weights = plan.alignment(), plan.token_weights()
    assert edit.source.isfinite().all() and edit.target.isfinite().all() and weights.isfinite().all()
    columns = aligned.source.sum(0)
    if aligned.kind == "refine":
        swapped = [j for _, tokens in swaps(plan.source, plan.target) for j in tokens] if plan.kind == "auto" else []
        others = [j for j in range(len(plan.target)) if j not in swapped]
        torch.testing.assert_close((columns + aligned.target)[others], torch.ones(len(others)))
        assert not aligned.target[swapped].any() and (columns[swapped] > 0).all()
    else:
        # A word's k tokens onto l: each of the k is handed on whole.
        words = [token for word in plan.source.words for token in word.tokens]
        shares = aligned.source[words].sum(1)
        alike = [len(a.tokens) == len(b.tokens) for a, b in zip(plan.source.words, plan.target.words, strict=True)]
        torch.testing.assert_close(shares, torch.ones_like(shares))
        of_words = [token for word in plan.target.words for token in word.tokens]
        assert not aligned.target[of_words].any() and (not all(alike) or aligned.source.max() == 1)
    if plan.kind == "auto":
        assert aligned.kind == ("replace" if pairs_up(plan.source, plan.target) else "refine")
    for step in range(steps):
        if step < int(plan.cross * (steps + 1)):
            torch.testing.assert_close(edit.source[step], (aligned.source * weights).float())
            torch.testing.assert_close(edit.target[step], (aligned.target * weights).float())
        else:
            assert edit.is_identity(step)
        assert edit.temporal[step] == (step < int(plan.temporal * steps))
    named = {token for word in plan.weights for token in find_word(plan.target, word)}
    assert all(weight == 1 for token, weight in enumerate(weights.tolist()) if token not in named)


def check_blend(plan, blend):
    if not (plan.blend_source or plan.blend_target):
        assert blend is None
        return
    for prompt, columns, words in (
        (plan.source, blend.source, plan.blend_source),
        (plan.target, blend.target, plan.blend_target),
    ):
        assert columns.shape == (len(prompt), 2) and set(columns.unique().tolist()) <= {0.0, 1.0}
        found = {token for word in words for token in find_word(prompt, word)}
        assert set(columns[:, 0].nonzero().flatten().tolist()) == found


@many(8)
@given(text=texts(), kind=st.sampled_from(KINDS))
def test_a_prompt_and_itself_are_the_same(read, text, kind):
    note(ascii(text))
    prompt = answer(read, text)
    if prompt is None or not answer(lambda: prompt.words):
        return
    aligned = in_time(align, prompt, prompt, kind)
    assert torch.equal(aligned.source, torch.eye(len(prompt))) and not aligned.target.any()
    changes = difference.difference(prompt, prompt, kind)
    assert {word.change for word in (*changes.source, *changes.target)} == {"kept"}


@many(10)
@given(data=st.data())
def test_whatever_is_typed_the_browser_gets_an_answer(read, data):
    """What a prompt says, and all fields beside it: of what is not understood each time a sentence."""
    source, target = pair(read, data)
    fields = {
        "blend_source": data.draw(listed(words_of(source.text))),
        "blend_target": data.draw(listed(words_of(target.text))),
        "subtract": data.draw(listed(words_of(source.text))),
        "word_weights": data.draw(listed(st.builds("{}:{}".format, words_of(target.text), NUMBERS) | texts(60))),
    }
    told = in_time(difference.difference, source, target, data.draw(st.sampled_from(KINDS)))
    weights = in_time(difference.weights, target, fields["word_weights"])
    faults = in_time(difference.faults, source, target, fields)
    assert len(weights) == len(target.words) and set(faults) == set(fields)
    assert json.dumps([told and asdict(told), weights, faults], allow_nan=False)
    if not faults["word_weights"]:
        assert answer(EditPlan, source, target, weights=parse_weights(fields["word_weights"])) or True
    for name, prompt in (("blend_source", source), ("blend_target", target)):
        known = [word for word in parse_words(fields[name]) if find_word(prompt, word)]
        assert bool(faults[name]) == (len(known) < len(parse_words(fields[name])))


# --- what such cases showed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("(" * 1100 + "a" + ")" * 1100, "the prompt has brackets within brackets by the hundred: take some away"),
        (
            "(" * 90 + "red rabbit" + ")" * 90,
            "the prompt gives 'red rabbit' the weight 5313.02: weights of brackets lie",
        ),
        ("a (red:nan) rabbit", "the prompt gives 'red' the weight nan"),
        ("a (red:1e999) rabbit", "the prompt gives 'red' the weight inf"),
        ("a (red:-1e30) rabbit", "the prompt gives 'red' the weight -1e+30: weights of brackets lie between -1000 and"),
        ("a red \ud83d", "the prompt holds half of a character (U+D83D, as left of an emoji that was cut): delete it"),
    ],
)
def test_prompts_that_no_model_can_take(read, text, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)):
        read(text)


def test_what_the_host_stumbles_over_gets_a_sentence(tmp_path):
    clip = clip_with(SD1Tokenizer(embedding_directory=[str(tmp_path)]))
    for text in ("embedding:", "a embedding: ", "a (embedding:\n:1.2) b"):
        with pytest.raises(ValueError, match="the prompt says 'embedding:' and no name after it"):
            read_prompt(clip, text)


def test_inversions_side_by_side_are_read_as_the_host_reads_them(tmp_path):
    """It parts a prompt at its brackets first."""
    for name in "ab":
        save_file({"emb_params": torch.full((2, 768), float(ord(name)))}, tmp_path / f"{name}.safetensors")
    clip = clip_with(SD1Tokenizer(embedding_directory=[str(tmp_path)]))
    prompt = read_prompt(clip, "cat (embedding:a:1.2)(embedding:b:0.8) dog(embedding:a) (embedding:none)")
    words = ["cat", "embedding:a", "embedding:b", "dog", "embedding:a"]
    assert [word.text for word in prompt.words] == words
    assert [len(word.tokens) for word in prompt.words] == [1, 2, 2, 1, 2]
