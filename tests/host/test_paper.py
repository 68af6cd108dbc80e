"""`dev.py paper`: every method edits by its own means, and what is said of the paper's claims is what was measured."""

from dataclasses import replace

import pytest
import torch
from comfyui_videop2p.demo import evaluation_world
from comfyui_videop2p.demo.paper import compare, page
from comfyui_videop2p.demo.paper.claims import CLAIMS, findings
from comfyui_videop2p.demo.paper.figures import Figures, feature_distance
from comfyui_videop2p.demo.paper.methods import (
    COUPLED,
    DEFAULT,
    IMAGE,
    METHODS,
    NONE,
    OURS,
    PER_FRAME,
    QUERIES,
    TEMPORAL,
    TUNE_A_VIDEO,
    TUNINGS,
    UNTUNED,
    VIDEO_P2P,
    shortened,
)
from comfyui_videop2p.demo.paper.runs import Run
from comfyui_videop2p.tests.host.family_worlds import fingerprint
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate, inflation_of

SEED, STEPS = 1_000_001, 2
ONE = shortened(METHODS, 1)


@pytest.fixture(scope="module")
def world():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation_world, "FRAMES", 2)
        with torch.inference_mode():
            opened = evaluation_world.opened(SEED, 1, STEPS)
        yield opened


@pytest.fixture(scope="module")
def run(world):
    return Run(world, SEED, 7.5, 2)


@pytest.fixture(scope="module")
def measured(world):
    with torch.inference_mode():
        return compare.paper(page.COMPARISONS, world, 7.5, 1, 1)


def test_every_method_has_its_figures(measured):
    assert list(measured["methods"]) == list(METHODS)
    for figures in measured["methods"].values():
        assert all(value is not None for value in figures.values())
    assert [found["claim"]["text"] for found in measured["claims"]] == [claim.text for claim in CLAIMS]
    assert measured["settings"]["tuning steps"] == 1
    for name in METHODS:
        assert f"| {name} |" in measured["page"]


def test_methods_differ_by_what_they_say(measured):
    """Each takes a way of its own, so no two have the same pictures."""
    words = [figures["background"] for figures in measured["methods"].values()]
    assert len(set(words)) == len(words)


def test_the_source_is_guided_as_each_says(run):
    with torch.inference_mode():
        none, shared, each = (run.inversion(ONE[name]) for name in (NONE, VIDEO_P2P, PER_FRAME))
        assert all((null == none.initial_null).all() for null in none.null)
        assert shared.null.shape[1] == 1 and each.null.shape[1] == 2
        assert run.inversion(ONE[COUPLED]) is shared and run.model(ONE[UNTUNED]) is not run.model(ONE[VIDEO_P2P])
        assert inflation_of(run.model(ONE[IMAGE])) is None
        assert inflation_of(run.model(ONE[TUNE_A_VIDEO])).frames_read == "first+previous"


@pytest.mark.parametrize("trained, deltas, temporal", [(QUERIES, True, False), (TEMPORAL, False, True)])
def test_a_tuning_trains_what_it_names_alone(run, trained, deltas, temporal):
    with torch.inference_mode():
        inflation = replace(DEFAULT.inflation, temporal_layers=trained != QUERIES)
        model = inflate(run.world.model, inflation)
        before = fingerprint(run.world.model)
        tuning = run.tuning(model, 1, trained)
        assert (bool(tuning.deltas), bool(tuning.temporal)) == (deltas, temporal)
        assert fingerprint(run.world.model) == before


def test_a_tuning_is_measured_by_the_default_way(world, monkeypatch):
    some = {name: TUNINGS[name] for name in ("not inflated", "100 steps, temporal layers alone")}
    monkeypatch.setitem(compare.CALLED, page.TUNINGS, some)
    with torch.inference_mode():
        measured = compare.paper(page.TUNINGS, world, 7.5, 1, 1)
    for figures in measured["methods"].values():
        assert figures["seconds"] > 0 and figures["reconstruction"] is None
    assert not measured["claims"] and "reconstruction" not in measured["page"]


def test_distance_is_none_between_equal_frames(world):
    frames = torch.rand(2, 128, 128, 3, generator=torch.Generator().manual_seed(0))
    assert feature_distance(world.judge, frames, frames) == 0
    near, far = (feature_distance(world.judge, frames, (frames * share)) for share in (0.95, 0.5))
    assert 0 < near < far


FIGURES = Figures(50.0, 50.0, 20.0, 0.1, 0.1, 1.0, True, 25.0)


def rows(**figures):
    """Three clips, in which one method has these figures and all others the same."""
    changes = [{name: value + error for name, value in figures.items()} for error in (-0.01, 0, 0.01)]
    return [dict.fromkeys(METHODS, FIGURES) | {VIDEO_P2P: replace(FIGURES, **change)} for change in changes]


@pytest.mark.parametrize(
    "figures, verdicts",
    [
        ({"flicker": 0.5}, ["holds", "holds", "holds", "not decided", "holds"]),
        ({"flicker": 1.5}, ["does not hold", "does not hold", "holds", "not decided", "holds"]),
        ({"reconstruction": 24.9}, [None, None, "holds", None, None]),
        ({"reconstruction": 24.7}, [None, None, "does not hold", None, None]),
        ({"background": 21.0}, [None, None, None, "holds", None]),
        ({"changed": 40.0}, [None, None, None, None, "does not hold"]),
    ],
)
def test_a_claim_holds_as_its_figures_say(figures, verdicts):
    found = findings(rows(**figures))
    for finding, verdict in zip(found, verdicts, strict=True):
        if finding.claim.figure in figures:
            assert finding.verdict == verdict and f"**{verdict}**" in finding.sentence()
            assert finding.holding == 3 * (verdict == "holds") and finding.clips == 3


def test_what_scatters_is_not_decided():
    scattered = rows(flicker=0.9)
    scattered[0][VIDEO_P2P] = replace(FIGURES, flicker=1.15)
    assert findings(scattered)[0].verdict == "not decided"
    missing = [{name: replace(FIGURES, background=None) for name in METHODS}]
    assert "background" not in {finding.claim.figure for finding in findings(missing)}


def test_the_page_keeps_all_but_the_part_that_is_written():
    text = page.FILE.read_text(encoding="utf-8")
    written = page.with_section(text, page.TUNINGS, "| a table |\n")
    assert "| a table |" in written and written.split("<!-- tunings")[0] == text.split("<!-- tunings")[0]
    assert page.with_section(written, page.TUNINGS, "| a table |\n") == written
    with pytest.raises(ValueError, match="has no marks of its tunings"):
        page.with_section("", page.TUNINGS, "")


def test_tuning_can_be_cut_short():
    assert max(method.tuning for method in shortened(METHODS, 7).values()) == 7
    assert shortened(METHODS, 10**6) == METHODS and OURS.tuning > 7
