"""`dev.py demo-eval --parts ways`: what ways to edit cost and give."""

import pytest
from comfyui_videop2p.demo import evaluate, evaluation_world, measured_ways, runs, scenes
from comfyui_videop2p.demo.accepted_edits import KINDS
from comfyui_videop2p.demo.ways import DEFAULT_WAY, WAYS, Way
from comfyui_videop2p.videop2p_core.edit.curves import KeyFrames

HALF = "6 steps, half of them guided"
UNGUIDED = KeyFrames(((0.0, 1.0),))


def test_each_way_pays_for_its_steps(monkeypatch):
    """Where it is guided, three forwards a step, inversion included: the source never runs twice."""
    for module in (evaluation_world, measured_ways):  # what a forward is, whatever its number of frames
        monkeypatch.setattr(module, "FRAMES", 2)
    monkeypatch.setattr(measured_ways, "WAYS", {"short": Way(2, 3), "unguided": Way(2, 2, UNGUIDED), HALF: WAYS[HALF]})
    ways = evaluate.evaluate(scenes.FIRST_EVALUATION_SEED, len(KINDS), ["ways"], None, None)["ways"]
    steps = {kind: 3 if kind in ("object", "background") else 2 for kind in KINDS}
    assert ways["short"]["forwards_by_kind"] == {kind: 3 * steps[kind] for kind in KINDS}
    assert ways["unguided"]["forwards_by_kind"] == dict.fromkeys(KINDS, 4)
    assert ways[HALF]["forwards"] == 15
    for one in ways.values():
        assert one["seconds"] > 0 and set(one["accepted_by_kind"]) == set(KINDS)
        assert one["accepted"] == pytest.approx(sum(one["accepted_by_kind"].values()) / len(KINDS))


def test_where_nothing_is_distilled_no_way_needs_it(tmp_path, monkeypatch):
    assert measured_ways.possible() == WAYS
    monkeypatch.setattr(runs, "DISTILLED", tmp_path / "none.safetensors")
    left = measured_ways.possible()
    assert DEFAULT_WAY in left and not any(way.distilled for way in left.values())


def test_the_default_is_one_of_them():
    assert DEFAULT_WAY in WAYS
