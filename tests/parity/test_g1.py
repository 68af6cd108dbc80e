from pathlib import Path

import pytest
from comfyui_videop2p.tests.parity import g1

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def results():
    return g1.check(REFERENCE)


def test_the_forward_pass_agrees_with_the_reference(results):
    assert len(results) >= 4
    assert not [str(result) for result in results if not result.passed]
