"""Columns find their input by title or by name, and cells become its kind of value."""

import pytest
from comfyui_videop2p.batch.columns import converted, place_of
from comfyui_videop2p.batch.faults import BatchError, RowError
from comfyui_videop2p.batch.graph import read, title_of
from comfyui_videop2p.batch.template import template_of

INVERT = "DDIM Invert with Shared Null-Text"


@pytest.fixture(scope="module")
def graph():
    return template_of(read("demo_refine")).graph


@pytest.mark.parametrize(
    "column, title, name",
    [
        ("clip", "Load Demo Clip", "file"),
        ("source_prompt", "Source prompt", "value"),
        ("target_prompt", "Attention Controller", "target_prompt"),
        ("weights", "Attention Controller", "word_weights"),
        ("cross_window", "Attention Controller", "cross_window"),
        (f"{INVERT}.steps", INVERT, "steps"),
        ("tune on video.Learning Rate", "Tune on Video", "learning_rate"),
    ],
)
def test_a_column_finds_its_input(graph, column, title, name):
    node, found = place_of(graph, column)
    assert (title_of(graph[node]), found) == (title, name)


@pytest.mark.parametrize(
    "column, said",
    [
        ("steps", f"several nodes have an input 'steps': call the column 'Tune on Video.steps' or '{INVERT}.steps'"),
        ("tresholt", "no node of the graph has an input 'tresholt': write 'Title.input', for instance threshold"),
        ("Attention Controller.source_prompt", "another node gives 'Attention Controller.source_prompt' in this graph"),
    ],
)
def test_a_column_that_finds_none_is_a_sentence(graph, column, said):
    with pytest.raises(BatchError) as told:
        place_of(graph, column)
    assert str(told.value).startswith(said)


@pytest.mark.parametrize(
    "cell, like, value",
    [
        ("4", 20, 4),
        ("0.5", 1.0, 0.5),
        ("Yes", False, True),
        ("0", True, False),
        (" a ", "", " a "),
        (3, "", "3"),
        (3, 20, 3),
    ],
)
def test_a_cell_becomes_what_its_input_has(cell, like, value):
    made = converted(cell, like, "it")
    assert made == value and type(made) is type(value)


@pytest.mark.parametrize(
    "cell, like, said", [("x", 1, "no whole number"), ("1,5", 1.0, "no number"), ("maybe", True, "neither")]
)
def test_a_cell_that_cannot_is_a_sentence(cell, like, said):
    with pytest.raises(RowError, match=said):
        converted(cell, like, "it")
