import json
from pathlib import Path

import pytest
from comfyui_videop2p.tests.parity import g6

REFERENCE = Path(__file__).parents[1] / "reference"


def test_the_official_alignment_agrees_with_the_reference():
    results = g6.check(REFERENCE)
    assert {result.name for result in results} >= {
        f"G6 {name}" for name in ("replacement mapper", "refinement mapper", "word positions", "windows", "weights")
    }
    assert not [str(result) for result in results if not result.passed]


@pytest.mark.parametrize(
    "name, spoil",
    [
        ("replacement mapper", lambda case: case["replacement_mapper"]["diff_from_identity"].append([1, 1, 0.5])),
        ("refinement mapper", lambda case: case["refinement_mapper"]["mapper_diff_from_identity"].append([1, 2])),
        ("word positions", lambda case: case["word_inds"][0]["source"].append(7)),
        ("windows", lambda case: case["time_words_attention_alpha"]["result"].update(default_range="0-1")),
        ("weights", lambda case: case["equalizer"]["result"]["not_one"].append([1, 1.01])),
    ],
)
def test_the_check_sees_a_wrong_number(tmp_path, name, spoil):
    length, cases = g6.read_cases(REFERENCE)
    case = next(case for case in cases if g6.answered(case["replacement_mapper"]))
    spoil(case)
    (tmp_path / "g6_prompt_alignment.json").write_text(
        json.dumps({"max_len": length, "cases": [case]}), encoding="utf-8"
    )
    failed = [result.name for result in g6.check(tmp_path) if not result.passed]
    assert failed == [f"G6 {name}"]
