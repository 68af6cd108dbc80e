"""The same seed and inputs, the same bits, and a section that would tell if they were not."""

import pytest
import torch
from comfyui_videop2p.tools.faults import determinism
from comfyui_videop2p.tools.faults.determinism import far, promised

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bits():
    found = list(determinism.figures(short=True))
    assert not [said for figure in found for said in figure.wrong]
    halves = next(figure for figure in found if figure.what.startswith("halves"))
    assert "in 12 calls for 8" in halves.said


def test_other_bits_are_told():
    values = torch.ones(3)
    near = values.nextafter(torch.tensor(2.0))
    assert promised("it", {"twice": ([values], [values])}).wrong == ()
    assert promised("it", {"twice": ([near], [values])}).wrong == ("it: twice differs by 1e-07",)
    assert far([near], [values]) == "1e-07 off"
