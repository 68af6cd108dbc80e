from pathlib import Path

import pytest
from comfyui_videop2p.tests.parity import g5

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def results():
    return g5.check(REFERENCE)


def test_whole_edits_agree_with_the_reference(results):
    assert {result.name.split(".")[-1] for result in results} == {"latents", "masks", "mask_maps"}
    assert not [str(result) for result in results if not result.passed]
