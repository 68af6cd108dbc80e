"""Where the words of a text stand in its embedding, of every kind of text encoder."""

from functools import cache

import pytest
import torch
from comfyui_videop2p.tests.host.encoders import MADE
from comfyui_videop2p.videop2p_core.host.prompts.encoded_text import encoded_text

every_encoder = pytest.mark.parametrize("name", MADE)
BEFORE, AFTER = "a (shiny:1.2) red ball on sand", "a (shiny:1.2) red star on sand"
IN_ORDER = [name for name in MADE if name not in ("wan", "flux", "sd3", "sd3 of t5")]  # a token reads those before it


@cache
def clip_of(name):
    with torch.inference_mode():
        return MADE[name]()


def encode(name, text):
    with torch.inference_mode():
        return encoded_text(clip_of(name), text)


def changes(name):
    """How much each token of the embedding changes with the word."""
    before, after = (encode(name, text).conditioning[0][0] for text in (BEFORE, AFTER))
    assert before.shape == after.shape
    return (before - after).abs().amax(dim=-1)[0]


@every_encoder
def test_a_word_stands_where_the_embedding_changes_with_it(name):
    changed, tokens = changes(name), encode(name, BEFORE).tokens_of("ball")
    if name in IN_ORDER:
        assert changed.nonzero().flatten()[0] == tokens[0]
        return
    for half in (slice(0, 77), slice(77, None)) if name == "sd3" else (slice(0, None),):  # an encoder's part each
        assert half.start + changed[half].argmax().item() in tokens


@every_encoder
def test_words_in_a_row_and_every_occurrence(name):
    encoded = encode(name, "big red ball on big red ball")
    both, ball = encoded.tokens_of("red ball"), encoded.tokens_of("ball")
    assert set(ball) < set(both)
    # Of the small vocabularies a piece that spells nothing belongs to the word before it.
    once = encode(name, "big red ball").tokens_of("red ball")
    assert 2 * len(once) <= len(both) <= 2 * len(once) + (1 if name in ("wan", "lumina2") else 0)
    assert encoded.words == ("big", "red", "ball", "on")


def test_markup_that_weighs_nothing_is_markup_all_the_same():
    encoded = encode("wan", "a (red:1.0) ball")
    assert encoded.words == ("a", "red", "ball")
    assert encoded.tokens_of("red") == encode("wan", "a (red:1.5) ball").tokens_of("red")


@every_encoder
def test_a_word_that_is_not_there_is_told(name):
    with pytest.raises(ValueError, match="'cat' is not a word of the prompt: a, shiny, red, ball"):
        encode(name, "a shiny red ball").tokens_of("cat")
    # A template's words are none of the text's.
    with pytest.raises(ValueError, match="'user' is not a word"):
        encode(name, "a shiny red ball").tokens_of("user")


@every_encoder
def test_markup_is_no_word_where_the_encoder_reads_it(name):
    known = encode(name, "a (shiny:1.2) ball").words
    reads = ("qwen-image", "z-image")  # for which a weight in brackets is text
    assert known == (("a", "shiny:1.2", "ball") if name in reads else ("a", "shiny", "ball"))


def test_an_encoder_that_is_not_known_is_told(monkeypatch):
    clip = clip_of("flux")
    monkeypatch.setattr(clip, "encode_from_tokens_scheduled", lambda tokens: [[torch.zeros(1, 1000, 8), {}]])
    with pytest.raises(
        ValueError, match=r"where the words of a text stand in what this CLIP makes of it \(l, t5xxl; 1000"
    ):
        encode("flux", "a ball")
    with pytest.raises(ValueError, match="there is no CLIP"):
        encoded_text(None, "a ball")
