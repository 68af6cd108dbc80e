import importlib
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from comfyui_videop2p.tests.parity import report
from comfyui_videop2p.tests.parity.result import Result, compare


def run(monkeypatch, error):
    groups = {
        "g1": SimpleNamespace(check=lambda directory: [Result("a", 0.1, 1.0), Result("b", error, 1.0)]),
        "g2": SimpleNamespace(check=lambda directory: [Result("exact", 0.0, 0.0)]),
    }
    monkeypatch.setattr(report, "GROUPS", tuple(groups))
    monkeypatch.setattr(importlib, "import_module", lambda name: groups[name.split(".")[-1]])
    return report.report(Path())


def test_a_line_a_group_with_its_largest_error(monkeypatch, capsys):
    assert run(monkeypatch, 0.5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("G1 ok") and "largest error 0.5 of its tolerance" in lines[0]


@pytest.mark.parametrize("error", [1.5, float("nan"), float("inf")])
def test_one_comparison_out_of_tolerance_fails_the_report(monkeypatch, capsys, error):
    assert not run(monkeypatch, error)
    assert capsys.readouterr().out.startswith("G1 FAIL")


def test_a_comparison_is_judged_by_its_worst_element():
    expected = torch.tensor([0.0, 100.0])
    assert compare("", torch.tensor([0.0, 100.5]), expected, atol=0.01, rtol=0.01).passed
    assert not compare("", torch.tensor([0.5, 100.0]), expected, atol=0.01, rtol=0.01).passed
    assert not compare("", torch.tensor([0.0, float("nan")]), expected, atol=0.01).passed
    with pytest.raises(ValueError, match="shape"):
        compare("", torch.zeros(3), expected, atol=0.01)
