"""`dev.py demo-eval --parts edits` on one short clip, in few steps."""

from dataclasses import fields

import pytest
from comfyui_videop2p.demo import evaluate, evaluation_world, scenes, word_edits
from comfyui_videop2p.demo.word_edits import BLENDED, CHANGED, EXACT, VARIANTS, Case

SCENES = [scenes.random_scene(scenes.FIRST_EVALUATION_SEED + i) for i in range(24)]


@pytest.fixture
def edits(monkeypatch):
    """edits(**variants): their figures beside those of the exact edit."""
    monkeypatch.setattr(evaluation_world, "FRAMES", 2)

    def figures(**variants):
        monkeypatch.setattr(word_edits, "VARIANTS", {EXACT: VARIANTS[EXACT], **variants})
        return evaluate.evaluate(scenes.FIRST_EVALUATION_SEED, 1, ["edits"], 2, None)

    return figures


def test_every_field_has_its_turn_and_changes_alone():
    assert {Case(None, None, scene).field for scene in SCENES[: len(CHANGED)]} == set(CHANGED)
    for scene in SCENES:
        case = Case(None, None, scene)
        changed = [f.name for f in fields(scene) if getattr(scene, f.name) != getattr(case.target, f.name)]
        assert changed == [case.field]
        assert case.target == Case(None, None, scene).target == scenes.described(scene, case.captions[1])


def test_the_words_that_change_are_the_blend_words():
    for case in (Case(None, None, scene) for scene in SCENES):
        named = [word for role in ("blend_source", "blend_target") for word in case.words().get(role, ())]
        if case.field in BLENDED:
            assert named == [getattr(scene, case.field) for scene in (case.scene, case.target)]
        else:
            assert not named


def test_a_variant_has_figures_of_its_own_and_shares_the_inversion(edits, monkeypatch):
    calls, invert = [], word_edits.host_inversion.invert_latent

    def counted(*args, **kwargs):
        calls.append(kwargs)
        return invert(*args, **kwargs)

    monkeypatch.setattr(word_edits.host_inversion, "invert_latent", counted)
    found = edits(again=Case.edited, unedited=lambda case: case.frames)
    assert len(calls) == 1
    assert found["edit_success"] == found["edit_success_again"]
    assert found["background_psnr"] == found["background_psnr_again"]
    assert found["edit_success_unedited"] == 0
    assert found["background_psnr_unedited"] > found["background_psnr"] > 15


def test_a_variant_may_have_a_model_an_inversion_and_a_plan_of_its_own(edits):
    def variant(case):
        return case.edited(case.model, case.invert(case.model, rounds=1), {"freeze": 0.5}, cache_every=2)

    assert {"edit_success_other", "background_psnr_other"} <= edits(other=variant).keys()
