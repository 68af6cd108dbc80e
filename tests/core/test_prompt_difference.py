"""What becomes of every word between two prompts, and what an edit says of words that are not there."""

import pytest
from comfyui_videop2p.tests.core.test_prompt import PIECES, prompt_of
from comfyui_videop2p.videop2p_core.edit.prompt_difference import (
    ADDED,
    DROPPED,
    KEPT,
    MOST,
    SWAPPED,
    blend_words,
    difference,
    faults,
    weights,
    windows,
)
from hypothesis import given, settings
from hypothesis import strategies as st

BALL, STAR = prompt_of("a red ball rolls"), prompt_of("a red st|ar rolls")


def said(changes):
    return [(change.text, change.change, change.partners) for change in changes]


def test_a_swapped_word_is_bound_to_the_one_whose_place_it_takes():
    told = difference(BALL, STAR)
    assert told.kind == "replace"
    assert said(told.source) == [("a", KEPT, (0,)), ("red", KEPT, (1,)), ("ball", SWAPPED, (2,)), ("rolls", KEPT, (3,))]
    assert said(told.target) == [("a", KEPT, (0,)), ("red", KEPT, (1,)), ("star", SWAPPED, (2,)), ("rolls", KEPT, (3,))]


def test_a_refinement_adds_words_and_drops_others():
    told = difference(BALL, prompt_of("a big ball rolls slow|ly"), "refine")
    assert told.kind == "refine"
    assert said(told.source) == [("a", KEPT, (0,)), ("red", DROPPED, ()), ("ball", KEPT, (2,)), ("rolls", KEPT, (3,))]
    assert said(told.target) == [
        ("a", KEPT, (0,)), ("big", ADDED, ()), ("ball", KEPT, (2,)), ("rolls", KEPT, (3,)), ("slowly", ADDED, ()),
    ]  # fmt: skip


def test_words_join_without_hiding_what_is_swapped():
    told = difference(BALL, prompt_of("a red star rolls|, best quality"))
    assert told.kind == "refine"
    assert said(told.target) == [
        ("a", KEPT, (0,)), ("red", KEPT, (1,)), ("star", SWAPPED, (2,)), ("rolls", KEPT, (3,)),
        ("best", ADDED, ()), ("quality", ADDED, ()),
    ]  # fmt: skip
    assert {change.change for change in difference(BALL, prompt_of("a red ball|, rolls|.")).target} == {KEPT}


def test_a_word_of_a_text_without_spaces_takes_over_from_another_of_any_length():
    cat, robot = prompt_of("一|只|猫|在|沙滩|上"), prompt_of("一|只|机|器|人|在|沙滩|上")
    told = difference(cat, robot)
    assert [change.text for change in told.target] == ["一", "只", "机", "器", "人", "在", "沙滩", "上"]
    assert [change.change for change in told.target] == [KEPT] * 2 + [SWAPPED] * 3 + [KEPT] * 3
    assert {change.partners for change in told.target[2:5]} == {(2,)}
    longer = difference(prompt_of("a cat|,|beach|,|sunset sky"), prompt_of("a hip|po|,|beach|,|sunset sky"))
    assert [change.change for change in longer.target] == [KEPT, SWAPPED, KEPT, KEPT, KEPT]


def test_a_word_that_shares_a_token_only_is_not_kept():
    told = difference(prompt_of("a motor|bike"), prompt_of("a fast motor|boat"), "refine")
    assert said(told.source)[1] == ("motorbike", SWAPPED, (2,))
    assert said(told.target)[1:] == [("fast", ADDED, ()), ("motorboat", SWAPPED, (1,))]


def test_the_kind_decides_and_has_to_fit():
    assert [change.change for change in difference(BALL, STAR, "refine").target] == [KEPT, KEPT, ADDED, KEPT]
    with pytest.raises(ValueError, match="use refine"):
        difference(BALL, prompt_of("a ball"), "replace")


def test_an_empty_prompt_has_no_words():
    told = difference(prompt_of(""), STAR)
    assert told.source == () and {change.change for change in told.target} == {ADDED}
    assert difference(prompt_of(""), prompt_of("")).target == ()


WORDS = st.lists(PIECES, max_size=7).map(" ".join)


@settings(max_examples=50, deadline=None)
@given(WORDS, WORDS)
def test_partners_are_mutual_and_those_without_are_new_or_gone(before, after):
    source, target = prompt_of(before), prompt_of(after)
    told = difference(source, target)
    pairs = {(i, j) for i, change in enumerate(told.source) for j in change.partners}
    assert pairs == {(i, j) for j, change in enumerate(told.target) for i in change.partners}
    assert all((change.change == DROPPED) == (not change.partners) for change in told.source)
    assert all((change.change == ADDED) == (not change.partners) for change in told.target)
    assert [change.text for change in told.target] == [word.text for word in target.words]


def test_words_have_the_weights_that_are_given_them():
    assert weights(STAR, "star: 2, a red: 0.5") == [0.5, 0.5, 2, 1]
    assert weights(STAR, "star: 2, moon: 3, red: much, red") == [1, 1, 2, 1]
    assert weights(STAR, "star: 2\nstar: 0") == [1, 1, 0, 1]


def test_what_an_edit_names_rightly_is_no_fault():
    fields = {"blend_source": "ball", "blend_target": "red star", "subtract": "ball, star", "word_weights": "star: 2"}
    assert faults(BALL, STAR, fields) == {name: [] for name in fields}
    assert faults(BALL, STAR, {}) == {name: [] for name in fields}


def test_of_many_faults_the_rest_is_counted():
    told = faults(BALL, STAR, {"subtract": ",".join(f"x{i}" for i in range(MOST + 3))})["subtract"]
    assert len(told) == MOST + 1 and told[-1] == "and 3 more like these"
    assert len(faults(BALL, STAR, {"subtract": ",".join(f"x{i}" for i in range(MOST))})["subtract"]) == MOST


def test_words_have_the_curves_and_windows_that_are_given_them():
    text = "star: 1 @ 0, 3 @ 0.5, red: window 0.2 - 0.6"
    told = weights(STAR, text)
    assert told[:2] == [1, 1] and told[3] == 1
    assert len(told[2]) == 21 and (told[2][0], told[2][5], told[2][10], told[2][20]) == (1, 2, 3, 3)
    assert windows(STAR, text) == [None, (0.2, 0.6), None, None]
    assert not any(faults(BALL, STAR, {"word_weights": text}).values())


def test_every_fault_gets_its_sentence_once():
    told = faults(
        BALL,
        STAR,
        {"blend_source": "star, ball", "blend_target": "ball", "subtract": "moon", "word_weights": "x:1,y,y"},
    )
    assert told["blend_source"] == ["'star' is not a word of the source prompt: a, red, ball, rolls"]
    assert told["blend_target"] == ["'ball' is not a word of the target prompt: a, red, star, rolls"]
    assert told["subtract"] == ["'moon' is not a word of the target prompt: a, red, star, rolls"]
    assert told["word_weights"] == [
        "'x' is not a word of the target prompt: a, red, star, rolls",
        "'y' is no word with a weight: write each as 'origami: 2', 'origami: 1 @ 0, 2.5 @ 0.5' "
        "or 'robot: window 0.1 - 0.6'",
    ]


# --- the words to blend ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "source_words", "target_words", "expected"),
    [
        ("a red star rolls", ["auto"], ["auto"], (("ball",), ("star",))),
        ("a blue star rolls", ["auto"], ["auto"], (("red ball",), ("blue star",))),
        ("a red star rolls|, best quality", ["auto"], ["auto"], (("ball",), ("star",))),
        ("a red star rolls", ["auto", "red"], [], (("ball", "red"), ())),
        ("a red star rolls", ["ball"], ["auto"], (("ball",), ("star",))),
        ("a red star rolls", [], [], ((), ())),
        ("a big red ball rolls", ["auto"], ["auto"], ((), ())),
    ],
)
def test_auto_stands_for_the_words_that_are_swapped(target, source_words, target_words, expected):
    assert blend_words(BALL, prompt_of(target), "auto", source_words, target_words) == expected


def test_auto_is_a_word_where_the_prompt_has_it():
    car, boat = prompt_of("a auto drives"), prompt_of("a boat drives")
    assert blend_words(car, boat, "auto", ["auto"], ["auto"]) == (("auto",), ("boat",))


def test_auto_takes_a_part_of_a_text_without_spaces():
    cat, robot = prompt_of("一|只|猫|在|沙滩|上"), prompt_of("一|只|机|器|人|在|沙滩|上")
    assert blend_words(cat, robot, "auto", ["auto"], ["auto"]) == (("猫",), ("机器人",))
