"""A sweep over the settings of an edit: which plans it makes, and in which order."""

import pytest
from comfyui_videop2p.tests.core.test_edit_plan import ORIGAMI, RABBIT, prompt
from comfyui_videop2p.videop2p_core.edit.edit_plan import EditPlan
from comfyui_videop2p.videop2p_core.edit.sweep import MOST, label, parse_numbers, sweep_plans

PLAN = EditPlan(
    RABBIT, ORIGAMI, cross=0.4, weights={"origami": 3, "grass": 2}, blend_source=("rabbit",),
    blend_target=("origami", "rabbit"), subtracted=("eats",),
)  # fmt: skip
PAPER = prompt("a paper rabbit eats grass")


def test_without_values_a_sweep_is_the_edit():
    assert sweep_plans(PLAN) == [PLAN]
    assert sweep_plans(PLAN, weights=(0.5, 1)) == [PLAN]  # of no word


def test_the_grid_is_in_order_row_by_row():
    plans = sweep_plans(PLAN, targets=[PAPER], word="rabbit", weights=(0.5, 2), windows=(0.2, 0.8, 1))
    assert [(plan.target, plan.weights["rabbit"], plan.cross) for plan in plans] == [
        (target, weight, window) for target in (ORIGAMI, PAPER) for weight in (0.5, 2) for window in (0.2, 0.8, 1)
    ]


def test_what_is_not_tried_stays():
    (plan,) = sweep_plans(PLAN, windows=(0.8,))
    assert plan == EditPlan(
        RABBIT, ORIGAMI, cross=0.8, weights={"origami": 3, "grass": 2}, blend_source=("rabbit",),
        blend_target=("origami", "rabbit"), subtracted=("eats",),
    )  # fmt: skip
    (plan,) = sweep_plans(PLAN, word="origami", weights=(1,))
    assert plan.weights == {"origami": 1, "grass": 2} and plan.cross == 0.4


def test_the_weight_that_is_tried_counts_before_the_edits_own():
    plan = EditPlan(RABBIT, ORIGAMI, weights={"rabbit": 3, "origami rabbit": 4})
    (tried,) = sweep_plans(plan, word="rabbit", weights=(0.5,))
    assert tried.token_weights().tolist() == [1, 1, 4, 0.5, 1, 1, 1]


def test_another_prompt_leaves_out_the_words_that_it_does_not_have():
    _, paper = sweep_plans(PLAN, targets=[PAPER])
    assert paper == EditPlan(
        RABBIT, PAPER, cross=0.4, weights={"grass": 2}, blend_source=("rabbit",), blend_target=("rabbit",),
        subtracted=("eats",),
    )  # fmt: skip
    _, fox = sweep_plans(PLAN, targets=[prompt("a fox eats grass")])
    assert fox.blend_target == () and fox.blend() is not None
    own = EditPlan(RABBIT, ORIGAMI, blend_source=("rabbit",), subtracted=("origami",))
    assert [plan.subtracted for plan in sweep_plans(own, targets=[PAPER])] == [("origami",), ()]


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"windows": (0.2, 1.5)}, "a cross window of 1.5 was asked for: windows lie between 0 and 1"),
        ({"windows": (-0.1,)}, "a cross window of -0.1 was asked for"),
        ({"word": "bike", "weights": (1,)}, "'bike' is not a word of the target prompt: an, origami, rabbit"),
        ({"word": "origami", "weights": (1,), "targets": [PAPER]}, "'origami' is not a word of the target prompt: a,"),
        ({"word": "origami"}, "there are no weights to try on 'origami'"),
        ({"windows": (0.5,) * 13, "weights": (1,) * 5, "word": "origami"}, "the sweep has 65 edits, 64 are the most"),
        ({"targets": [prompt("")]}, "the target prompt is empty"),
    ],
)
def test_a_sweep_that_cannot_be_says_so(values, sentence):
    with pytest.raises(ValueError, match=sentence):
        sweep_plans(PLAN, **values)


def test_as_many_as_are_allowed_are_made():
    assert len(sweep_plans(PLAN, windows=(0.5,) * MOST)) == MOST


def test_labels_say_what_differs():
    (plan,) = sweep_plans(PLAN, word="origami", weights=(2,), windows=(0.5,))
    assert label(plan) == "cross 0.5"
    assert label(plan, "origami") == "cross 0.5, origami × 2"
    assert label(plan, "origami", prompt=True) == "cross 0.5, origami × 2: an origami rabbit eats grass"


def test_numbers_are_separated_by_commas_and_lines():
    assert parse_numbers(" 0.2, .5\n-1 ,", "windows") == (0.2, 0.5, -1)
    assert parse_numbers(" ", "windows") == ()
    for text in ("0,5;x", "0.2 0.5", "two", "nan", "inf"):
        with pytest.raises(ValueError, match="in windows is no number: write them as '0.2, 0.5, 0.8'"):
            parse_numbers(text, "windows")


def test_a_prompt_without_the_only_blend_words_is_refused():
    plan = EditPlan(prompt("a rabbit eats grass"), prompt("a robot eats grass"), blend_target=("robot",))
    with pytest.raises(ValueError, match="'a gorilla eats grass' has none of the blend words robot"):
        sweep_plans(plan, targets=[prompt("a gorilla eats grass")])
