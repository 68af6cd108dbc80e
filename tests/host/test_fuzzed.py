"""Drawn cases as a section of `dev.py faults`: counted as they ran, and what fails is told with its example."""

import pytest
from comfyui_videop2p.tools.faults import prompts
from comfyui_videop2p.tools.faults.fuzzed import fuzzed

TESTS = """
import os
import pytest
from hypothesis import given, settings, strategies as st

many = settings(max_examples=int(os.environ["VP2P_FUZZ"]), deadline=None, database=None, derandomize=True)

@pytest.mark.parametrize("least", [0, 1000])
@many
@given(st.integers(1, 10**6))
def test_numbers_above(least, number):
    assert number > least

@many
@given(st.integers())
def test_numbers(number):
    pass

@many
@given(st.booleans())
def test_few_values(value):
    pass

def test_no_cases():
    pass

def test_without_cases_that_fails():
    raise ValueError("no cases here")
"""


def test_cases_are_counted_and_failures_are_told(tmp_path):
    path = tmp_path / "test_drawn.py"
    path.write_text(TESTS)
    figures = {figure.what: figure for figure in fuzzed([path], 30)}
    assert set(figures) == {"numbers above", "numbers", "few values", "without cases that fails"}
    assert figures["numbers"].number == 30 and figures["few values"].number == 2  # there are no more
    assert not figures["numbers"].wrong and not figures["few values"].wrong
    assert figures["numbers above"].number > 30
    (said,) = figures["numbers above"].wrong
    assert said.startswith("test_numbers_above[1000]: ") and "number=1," in said
    (said,) = figures["without cases that fails"].wrong
    assert "no cases here" in said


def test_no_tests_are_no_success(tmp_path):
    path = tmp_path / "test_none.py"
    path.write_text("")
    with pytest.raises(RuntimeError, match="ran no tests"):
        list(fuzzed([path], 1))


@pytest.mark.slow
def test_prompts_and_numbers_of_the_short_form_are_answered():
    figures = list(prompts.figures(short=True))
    assert not [said for figure in figures for said in figure.wrong]
    assert len(figures) >= 16 and all(figure.number >= prompts.SHORT for figure in figures)
