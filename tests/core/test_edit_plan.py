"""An edit in words: what is read from text, and what it compiles to."""

import re
from dataclasses import replace

import pytest
import torch
from comfyui_videop2p.videop2p_core.edit.curves import KeyFrames
from comfyui_videop2p.videop2p_core.edit.edit_fields import parse_guidance, parse_weights, parse_windows, parse_words
from comfyui_videop2p.videop2p_core.edit.edit_plan import FRESH, EditPlan
from comfyui_videop2p.videop2p_core.edit.matrices import compile_edit
from comfyui_videop2p.videop2p_core.edit.prompt import END, START, Piece, Prompt


def prompt(text):
    pieces = (Piece("<", kind=START), *(Piece(word, word) for word in text.split()), Piece(">", kind=END))
    return Prompt(text, (pieces,))


RABBIT, ORIGAMI = prompt("a rabbit eats grass"), prompt("an origami rabbit eats grass")


def test_words_are_separated_by_commas_and_lines():
    assert parse_words(" man, motor bike\n\nhat ,") == ("man", "motor bike", "hat")
    assert parse_words(" \n") == ()
    assert parse_words("猫，沙滩、海") == ("猫", "沙滩", "海") and parse_weights("猫：2，海:0.5") == {
        "猫": 2,
        "海": 0.5,
    }


def test_weights_are_words_with_numbers():
    assert parse_weights("origami: 2, eats grass:0.5\nrabbit : -1") == {"origami": 2, "eats grass": 0.5, "rabbit": -1}
    assert parse_weights("12:30: 2") == {"12:30": 2}
    for text in ("origami", "origami:", ": 2", "origami: two", "origami: nan", "origami: inf"):
        with pytest.raises(ValueError, match="write each as 'origami: 2'"):
            parse_weights(text)


def test_weights_go_through_the_points_that_are_given_and_words_have_windows():
    text = "origami: 1 @ 0, 2.5 @ 0.5\nrabbit: 2, eats grass: window 0.1 - 0.6, an: window 0.3"
    assert parse_weights(text) == {"origami": KeyFrames(((0, 1), (0.5, 2.5))), "rabbit": 2}
    assert parse_windows(text) == {"eats grass": (0.1, 0.6), "an": (0, 0.3)}
    assert parse_windows("origami: 2") == {} == parse_weights("an: window 0 - 1")
    for wrong in ("an: window", "an: window 0.6 - 0.1", "an: window 0 - 2", "an: window 0 - 0.5 - 1", "an: window x"):
        with pytest.raises(ValueError, match="robot: window 0.1 - 0.6"):
            parse_windows(wrong)
    with pytest.raises(ValueError, match="key-frames need rising positions"):
        parse_weights("origami: 1 @ 0.5, 2 @ 0.1")
    with pytest.raises(ValueError, match="'origami' is given the weight 2000"):
        EditPlan(RABBIT, ORIGAMI, weights=parse_weights("origami: 1 @ 0, 2000 @ 1"))


@pytest.mark.parametrize(
    ("text", "cross", "steps", "message"),
    [
        (
            "origami: 8",
            0.0,
            50,
            r"inside its window, of 'origami' acts in none of the 50 steps: .* 0 to 0.02 ",
        ),
        ("origami: 8", 0.2, 3, r"acts in none of the 3 steps: a window from 0 to 0.25 opens in the first"),
        ("origami: window 0.15 - 0.2", 0.2, 8, r"the window of 'origami' acts in none of the 8 steps"),
        ("origami: 8, origami: window 0", 0.2, 8, r"the weight, inside its window, of 'origami' acts in none"),
    ],
)
def test_what_acts_in_no_step_is_refused(text, cross, steps, message):
    plan = EditPlan(RABBIT, ORIGAMI, cross=cross, weights=parse_weights(text), windows=parse_windows(text))
    (sentence,) = plan.without_effect(steps)
    assert re.search(message, sentence)


def test_what_acts_in_a_step_is_not(caplog):
    caplog.set_level("INFO", "videop2p")
    assert not EditPlan(RABBIT, ORIGAMI, cross=0.25, weights={"origami": 8}).without_effect(3)
    assert not EditPlan(RABBIT, ORIGAMI, windows=parse_windows("origami: window 0")).without_effect(8)  # as asked
    EditPlan(RABBIT, ORIGAMI, cross=0.25).log_closed_windows(3)
    assert not caplog.messages
    EditPlan(RABBIT, ORIGAMI).log_closed_windows(3)
    assert caplog.messages == ["The cross window of 0.2 opens in none of the 3 steps"]


def test_a_words_own_curve_and_window_reach_the_matrices():
    """Without a weight a word has 1; where its window is closed, its own map."""
    plain, steps, origami, rabbit = EditPlan(RABBIT, ORIGAMI, cross=1.0), 11, 2, 3
    curved = replace(plain, weights=parse_weights("origami: 1 @ 0, 3 @ 1")).compile(steps)
    assert torch.allclose(curved.target[:, origami], torch.linspace(1, 3, steps))
    assert replace(plain, weights=parse_weights("origami: 1 @ 0, 3 @ 1")).token_weights()[origami] == 3
    peaked = replace(plain, weights=parse_weights("origami: 1 @ 0.1, 3 @ 0.13, 1 @ 0.16"))
    assert peaked.token_weights()[origami] == 3  # however short it is the largest
    windowed = replace(plain, windows=parse_windows("rabbit: window 0.5 - 1")).compile(steps)
    assert windowed.target[:, rabbit].tolist() == [1.0] * 6 + [0.0] * 5
    assert torch.equal(windowed.target[:, :rabbit], plain.compile(steps).target[:, :rabbit])


@pytest.mark.parametrize("steps", [1, 7, 50])
def test_a_plan_compiles_for_any_number_of_steps(steps):
    plan = EditPlan(RABBIT, ORIGAMI, cross=0.8, weights={"origami": 2})
    expected = compile_edit(RABBIT, ORIGAMI, steps=steps, cross=0.8, weights={"origami": 2})
    compiled = plan.compile(steps)
    assert compiled.steps == steps
    assert torch.equal(compiled.source, expected.source) and torch.equal(compiled.target, expected.target)
    assert torch.equal(compiled.temporal, expected.temporal)
    assert plan.token_weights().tolist() == [1, 1, 2, 1, 1, 1, 1]


def test_blend_words_mark_their_tokens():
    assert EditPlan(RABBIT, ORIGAMI).blend() is None
    words = {"blend_source": ("rabbit",), "blend_target": ("origami rabbit",), "subtracted": ("grass",)}
    blend = EditPlan(RABBIT, ORIGAMI, **words).blend()
    assert blend.source.T.tolist() == [[0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]]
    assert blend.target.T.tolist() == [[0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0]]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"weights": {"bike": 2}}, "'bike' is not a word of the target prompt: an, origami"),
        ({"blend_source": ("origami",)}, "'origami' is not a word of the source prompt: a, rabbit"),
        ({"blend_target": ("a",)}, "'a' is not a word of the target prompt"),
        ({"blend_source": ("rabbit",), "subtracted": ("bike",)}, "'bike' is not a word of the prompt"),
        ({"subtracted": ("grass",)}, "none to blend"),
        ({"kind": "replace"}, "use refine"),
        ({"blend_source": ("rabbit",), "threshold": 1.0}, "threshold is 1, which no word's map exceeds: give less"),
        ({"cross": 1.5}, "between 0 and 1"),
        ({"target": prompt("")}, "the target prompt is empty: write what the clip is to show"),
        ({"source": prompt("")}, "the source prompt is empty: write what the clip shows"),
    ],
)
def test_a_plan_that_cannot_be_says_so_at_once(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        EditPlan(**{"source": RABBIT, "target": ORIGAMI} | settings)


# --- what an edit is kept to, and how strongly it is made -------------------------------------------------------------


def test_an_edit_of_looks_keeps_the_shape():
    """Where the words to blend are the same in both prompts."""
    source, target = (prompt(text) for text in ("a red ball on the beach", "a blue ball on the beach"))
    same = EditPlan(source, target, blend_source=("ball",), blend_target=("ball",), structure=None)
    assert same.keeps_shape and same.compile(10).structure.all()
    for words in ({}, {"blend_source": ("ball",)}, {"blend_source": ("red",), "blend_target": ("blue",)}):
        plan = EditPlan(source, target, structure=None, **words)
        assert not plan.keeps_shape and not plan.compile(10).structure.any()
    assert not replace(same, structure=0.0).compile(10).structure.any()
    assert replace(same, structure=0.2).compile(10).structure.sum() == 2


def test_noise_is_drawn_anew_where_one_thing_takes_the_place_of_another():
    source, target = (prompt(text) for text in ("a red ball on the beach", "a red star on the beach"))
    swap = EditPlan(source, target, blend_source=("ball",), blend_target=("star",), fresh=None)
    assert swap.compile(10).fresh == FRESH and replace(swap, fresh=0.5).compile(10).fresh == 0.5
    for words in ({}, {"blend_target": ("star",)}, {"blend_source": ("red",), "blend_target": ("red",)}):
        assert EditPlan(source, target, fresh=None, **words).compile(10).fresh == 0


def test_guidance_is_read_as_a_number_or_over_the_steps():
    assert parse_guidance("") is None and parse_guidance(" 2.5 ") == 2.5
    curve = parse_guidance("5 @ 0, 2 @ 0.5")
    assert curve.curve(5).tolist() == [5, 3.5, 2, 2, 2]
    source, target = prompt("a red ball"), prompt("a blue ball")
    assert EditPlan(source, target, guidance=curve).compile(5).guidance == (5, 3.5, 2, 2, 2)
    assert EditPlan(source, target).compile(5).guidance is None


@pytest.mark.parametrize("text", ["much", "5 @", "5 @ late", "nan", "5 @ 0, inf @ 1", "@ 0.5"])
def test_what_is_no_guidance_is_named(text):
    with pytest.raises(ValueError, match="is no guidance: write a number, or '5 @ 0, 2.5 @ 0.3' over the steps"):
        parse_guidance(text)


def test_guidance_runs_forward_in_time():
    with pytest.raises(ValueError, match="key-frames need rising positions between 0 and 1"):
        parse_guidance("5 @ 0.5, 2 @ 0.2")


def test_a_plan_knows_that_it_changes_nothing():
    assert EditPlan(RABBIT, RABBIT).changes_nothing and EditPlan(RABBIT, RABBIT, weights={"rabbit": 1}).changes_nothing
    assert not EditPlan(RABBIT, RABBIT, weights={"rabbit": 2}).changes_nothing
    assert not EditPlan(RABBIT, ORIGAMI).changes_nothing
