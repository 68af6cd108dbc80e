from pathlib import Path

import pytest
from comfyui_videop2p.tests.parity import g4

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def results():
    return g4.check(REFERENCE)


def test_null_text_agrees_with_the_reference(results):
    assert len(results) >= 6
    assert not [str(result) for result in results if not result.passed]
