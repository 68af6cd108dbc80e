"""Tuning and inversion that are cancelled go on where they stopped, to the same bits."""

import folder_paths
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from comfy_execution.graph import DynamicPrompt
from comfyui_videop2p.tests.faults.injected import Calls, calls_of_models, interrupt, run_out_of_memory
from comfyui_videop2p.tests.host.calls import SOURCE, encode, run
from comfyui_videop2p.videop2p_core.host.source import resume as unfinished
from comfyui_videop2p.videop2p_core.host.source.graph_signature import graph_signature

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def often(monkeypatch, tmp_path):
    """Every second step is kept, in a folder of the test's own."""
    monkeypatch.setattr(folder_paths, "get_system_user_directory", lambda name: str(tmp_path / name))
    for stage in ("TUNING", "INVERSION", "NULL_TEXT"):
        monkeypatch.setattr(unfinished, stage, 2)


QUEUED = DynamicPrompt({kind: {"class_type": f"VP2P_{kind}", "inputs": {}} for kind in ("TuneOnVideo", "DDIMInvert")})


def kept_files():
    """Their stages."""
    return sorted(file.name.split("_", 1)[1] for file in unfinished.folder().glob("*.safetensors"))


@pytest.fixture
def runs(model, clip, latent, inverting):
    def tuning(model, **changed):
        settings = {"steps": 6, "learning_rate": 1e-3, "positive": encode(clip, SOURCE), "latent": latent}
        found = run("TuneOnVideo", model=model, **{"graph": QUEUED} | settings | changed)[1]
        return [*found.deltas.values(), *found.temporal.values(), found.losses]

    def inversion(model, **changed):
        settings = inverting | {"steps": 6, "method": "direct", "rounds": 1, "model": model}
        found = run("DDIMInvert", **{"graph": QUEUED} | settings | changed)[0]
        return [found.trajectory] + [found.null] * (found.null is not None)

    def null_text(model):
        return inversion(model, method="shared null-text", inner_steps=2)

    return {"tuning": tuning, "inversion": inversion, "null text": null_text}


def cancelled(operation, model, at):
    with calls_of_models(Calls(at, interrupt)), pytest.raises(InterruptProcessingException):
        operation(model)


def forwards(operation, model):
    calls = Calls()
    with calls_of_models(calls):
        return operation(model), calls.number


@pytest.mark.parametrize(
    "name, at",
    [("tuning", 5), ("inversion", 9), ("null text", 24), pytest.param("null text", 5, marks=pytest.mark.slow)],
)
def test_what_was_cancelled_goes_on(runs, model, name, at):
    expected, whole = forwards(runs[name], model)
    cancelled(runs[name], model, at)
    assert kept_files()
    found, rest = forwards(runs[name], model)
    assert all(map(torch.equal, found, expected)) and rest < whole
    assert not kept_files()


@pytest.mark.slow
def test_no_frames_are_shown_of_steps_before_those_kept(runs, model):
    def shown(model):
        return runs["tuning"](model, preview_every=2)

    expected, whole = forwards(shown, model)
    cancelled(shown, model, whole - 2)
    found, rest = forwards(shown, model)
    assert whole == 6 + 3 and rest == 1 + 1 + 2 + 1  # the first step anew, the fourth shown, the others done and shown
    assert all(map(torch.equal, found, expected))


def test_other_inputs_are_another_run(runs, model, latent):
    tuning = runs["tuning"]
    cancelled(tuning, model, 5)
    other = {"samples": latent["samples"] + 1}
    for changed in ({"latent": other}, {"seed": 1}, {"learning_rate": 2e-3}):
        _, calls = forwards(lambda model, changed=changed: tuning(model, **changed), model)
        assert calls == 6
    patched = {"patch": {"class_type": "FreeU", "inputs": {"b1": 1.3}}}
    patched["TuneOnVideo"] = {"class_type": "VP2P_TuneOnVideo", "inputs": {"model": ["patch", 0]}}
    assert forwards(lambda model: tuning(model, graph=DynamicPrompt(patched)), model)[1] == 6
    assert kept_files() == ["tuning_whole.safetensors"] and forwards(tuning, model)[1] < 6


def test_a_run_that_keeps_the_source_begins_anew(runs, model):
    """What it keeps is not in the file."""

    def inversion(model):
        return runs["inversion"](model, keep_source="in memory")

    expected, whole = forwards(inversion, model)
    cancelled(runs["inversion"], model, 9)
    cancelled(inversion, model, 9)
    found, again = forwards(inversion, model)
    assert again == whole and all(map(torch.equal, found, expected))
    assert forwards(runs["inversion"], model)[1] < whole  # what another run kept is still there


def test_what_nobody_goes_on_with_is_given_up(runs, model, monkeypatch):
    cancelled(runs["tuning"], model, 5)
    runs["inversion"](model)
    assert kept_files() == ["tuning_whole.safetensors"]
    monkeypatch.setattr(unfinished, "OLD", -1)
    runs["inversion"](model)
    assert not kept_files()


def test_only_the_newest_are_kept(runs, model, monkeypatch):
    monkeypatch.setattr(unfinished, "MOST", 2)
    for seed in range(4):
        cancelled(lambda model, seed=seed: runs["tuning"](model, seed=seed), model, 5)
    assert len(kept_files()) == 3  # one more since it was looked at
    assert forwards(lambda model: runs["tuning"](model, seed=3), model)[1] < 6


@pytest.mark.slow
def test_a_cancel_in_the_last_stage_costs_no_more_than_that(runs, model):
    """While the source is run down again, both stages before being done."""
    expected, whole = forwards(runs["null text"], model)
    cancelled(runs["null text"], model, whole - 1)
    assert "null_text_whole.safetensors" in kept_files()
    found, rest = forwards(runs["null text"], model)
    assert all(map(torch.equal, found, expected)) and rest < whole / 2


def test_out_of_memory_goes_on_from_what_was_kept(runs, model, caplog):
    """In the way that saves memory, to the same numbers."""
    expected, whole = forwards(runs["tuning"], model)
    short = Calls(4, run_out_of_memory)
    with calls_of_models(short):
        found = runs["tuning"](model)
    assert all(map(torch.equal, found, expected)) and "ran out of memory" in caplog.text
    assert short.number < whole + 4 and not kept_files()  # the first anew, then those from the third on


# --- the name of a run's inputs ---------------------------------------------------------------------------------------


def signature(node_id="invert", **nodes):
    """Of a node in a graph of {node: (class, inputs, what it says of its files)}, where "node.0" is a link."""

    def linked(value):
        name, _, output = str(value).rpartition(".")
        return [name, int(output)] if name in nodes else value

    def described(kind, inputs, *fresh):
        node = {"class_type": kind, "inputs": {key: linked(value) for key, value in inputs.items()}}
        return node | {"is_changed": [*fresh]} if fresh else node

    return graph_signature(DynamicPrompt({name: described(*node) for name, node in nodes.items()}), node_id)


LOADED = ("CheckpointLoaderSimple", {"ckpt_name": "demo.safetensors"})
TEXT = ("CLIPTextEncode", {"clip": "loader.1", "text": "a rabbit"})
INVERT = ("VP2P_DDIMInvert", {"model": "loader.0", "source": "text.0", "steps": 8})


def test_what_a_node_comes_from_is_the_same_under_other_numbers():
    first = signature(loader=LOADED, text=TEXT, invert=INVERT, other=TEXT)
    moved = {
        "7": (INVERT[0], {"model": "9.0", "source": "8.0", "steps": 8}),
        "8": (TEXT[0], {"clip": "9.1", "text": "a rabbit"}),
        "9": LOADED,
    }
    assert signature("7", **moved) == first
    own = (INVERT[0], INVERT[1] | {"steps": 9})  # the run says itself what of these counts
    assert signature(loader=LOADED, text=TEXT, invert=own) == first


@pytest.mark.parametrize(
    "other",
    [
        {"text": (TEXT[0], {"clip": "loader.1", "text": "a star"})},
        {"text": (TEXT[0], {"clip": "loader.2", "text": "a rabbit"})},
        {"text": ("CLIPTextEncodeFlux", TEXT[1])},
        {"loader": (LOADED[0], {"ckpt_name": "other.safetensors"})},
        {"loader": (*LOADED, "of another file")},
        {"invert": (INVERT[0], INVERT[1] | {"source": "loader.0"})},
        {"lora": ("LoraLoader", {"model": "loader.0"}), "invert": (INVERT[0], INVERT[1] | {"model": "lora.0"})},
    ],
)
def test_what_a_node_comes_from_is_told_apart(other):
    nodes = {"loader": LOADED, "text": TEXT, "invert": INVERT}
    assert signature(**nodes) != signature(**nodes | other) is not None


def test_two_nodes_are_not_one_that_is_used_twice():
    both = {"a": ("Noise", {}), "b": ("Noise", {})}
    twice, each = ({"x": "a.0", "y": y} for y in ("a.0", "b.0"))
    assert signature(invert=("Sum", twice), **both) != signature(invert=("Sum", each), **both)


def test_what_is_never_the_same_has_no_name():
    dice = ("Dice", {}, float("nan"))
    assert signature(dice=dice, invert=("VP2P_DDIMInvert", {"model": "dice.0"})) is None
    assert signature(dice=dice, text=TEXT, loader=LOADED, invert=INVERT) is not None
    assert unfinished.Run(None).stage("tuning", 1, None).of_same_run(torch.ones(1)) is None


def test_outside_of_a_queue_nothing_is_kept(runs, model):
    cancelled(lambda model: runs["tuning"](model, graph=None), model, 5)
    assert not kept_files()


def test_a_lora_of_other_weights_is_another_run(runs, model):
    """Its file may have been replaced under its name."""
    name, weight = next(item for item in model.model.named_parameters() if item[0].endswith("attn2.to_q.weight"))
    for strength in (1e-3, 2e-3):
        styled = model.clone()
        styled.add_patches({name: ("diff", (torch.full_like(weight, strength),))})
        cancelled(runs["inversion"], styled, 9)
    assert len(kept_files()) == 2
