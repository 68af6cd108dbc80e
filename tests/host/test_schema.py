"""Saved workflows stay valid: ids, types, defaults and places of what the nodes had at some time are what they were."""

from copy import deepcopy

import pytest
from comfyui_videop2p.tools.schema import COMMAND, FILE, as_text, compared, main, present, read


@pytest.fixture(scope="module")
def now():
    return present()


def test_no_node_changed_under_saved_workflows(now):
    breaks, _ = compared(read(), now)
    assert not breaks, "; ".join(breaks)


def test_what_is_new_is_in_the_snapshot(now):
    _, news = compared(read(), now)
    assert FILE.read_text(encoding="utf-8") == as_text(now), f"run `{COMMAND}`: {'; '.join(news)}"


def inputs(schema, node="VP2P_InflateUNet"):
    return schema[node]["inputs"]


def outputs(schema, node="VP2P_DDIMInvert"):
    return schema[node]["outputs"]


APPENDED = {"id": "strength", "type": "FLOAT", "required": False, "widget": True, "default": 1.0}


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda s: s.pop("VP2P_DDIMInvert"), "VP2P_DDIMInvert is gone"),
        (
            lambda s: s["VP2P_ContactSheet"].update(takes_lists=False),
            "VP2P_ContactSheet is one that takes its inputs as",
        ),
        (lambda s: inputs(s).pop(), "pass_overlap is gone"),
        (lambda s: inputs(s).append(inputs(s).pop(1)), "the order was model, frames_read, .* and is model, temporal"),
        (lambda s: inputs(s).insert(1, APPENDED), "the order was .* and is model, strength, frames_read"),
        (
            lambda s: inputs(s, "VP2P_DDIMInvert")[-1].update(default=1),
            "default of kept_structure_window was 0.0 and is 1",
        ),
        (lambda s: inputs(s)[1]["options"].remove("all"), "options of frames_read was"),
        (lambda s: inputs(s)[2].update(type="INT"), "type of temporal_layers was 'BOOLEAN' and is 'INT'"),
        (lambda s: inputs(s)[4].update(max=8), "max of window was 64 and is 8"),
        (lambda s: inputs(s)[4].update(id="reach"), "window is gone"),
        (lambda s: inputs(s).append(APPENDED | {"required": True}), "strength is new and required"),
        (lambda s: outputs(s).insert(0, outputs(s).pop()), "VP2P_DDIMInvert, outputs: the order was"),
        (lambda s: outputs(s)[0].update(name="inverted"), "name of .* was 'inversion' and is 'inverted'"),
        (lambda s: outputs(s)[0].update(type="LATENT"), "type of .* was 'VP2P_INVERSION' and is 'LATENT'"),
        (lambda s: outputs(s)[0].update(is_list=True), "is_list of .* was False and is True"),
    ],
)
def test_a_change_that_breaks_saved_workflows_is_named(now, change, sentence):
    changed = deepcopy(now)
    change(changed)
    breaks, _ = compared(now, changed)
    assert breaks
    with pytest.raises(AssertionError, match=sentence):
        raise AssertionError("; ".join(breaks))


def test_another_default_of_what_every_saved_workflow_gives_breaks_none(now):
    changed = deepcopy(now)
    inputs(changed)[1].update(default="first")
    assert compared(now, changed) == (
        [],
        ["VP2P_InflateUNet, inputs: default of frames_read was 'first+self' and is 'first'"],
    )


def test_a_snapshot_is_read_as_it_was_written(now, tmp_path, monkeypatch):
    monkeypatch.setattr("comfyui_videop2p.tools.schema.FILE", tmp_path / "schema.json")
    (tmp_path / "schema.json").write_text(as_text(now), encoding="utf-8")
    assert read() == now


def test_the_command_writes_over_a_break_only_when_told_to(now, tmp_path, monkeypatch):
    older = now | {"VP2P_Gone": now["VP2P_DDIMInvert"]}
    file = tmp_path / "schema.json"
    file.write_text(as_text(older), encoding="utf-8")
    monkeypatch.setattr("comfyui_videop2p.tools.schema.FILE", file)
    monkeypatch.setattr("sys.argv", ["schema"])
    assert "saved workflows would break" in main() and read() == older
    monkeypatch.setattr("sys.argv", ["schema", "--break"])
    assert main() is None and read() == now


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda s: s.update(VP2P_Another=s["VP2P_DDIMInvert"]), "VP2P_Another is new"),
        (lambda s: inputs(s).append(APPENDED), "VP2P_InflateUNet, inputs: strength is new"),
        (lambda s: inputs(s)[1]["options"].append("last"), "options of frames_read was"),
        (lambda s: inputs(s)[4].update(max=128), "max of window was 64 and is 128"),
        (lambda s: outputs(s).append(APPENDED), "VP2P_DDIMInvert, outputs: strength is new"),
    ],
)
def test_what_is_appended_breaks_nothing_and_is_told(now, change, sentence):
    changed = deepcopy(now)
    change(changed)
    breaks, news = compared(now, changed)
    assert not breaks
    assert any(sentence in told for told in news), news
