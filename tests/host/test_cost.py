"""What a long node will take, told before it runs: POST /videop2p/cost, and what runs teach it."""

import json
import urllib.error
import urllib.request

import folder_paths
import pytest
import torch
from comfy_execution.graph import DynamicPrompt
from comfyui_videop2p.tests.host.graphs import Graph, succeeded
from comfyui_videop2p.tools.host import LOCAL
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.host.cost import measured_runs as runs
from comfyui_videop2p.videop2p_core.host.cost.cost_route import LARGEST, MOST, PATH, checked, cost
from comfyui_videop2p.videop2p_core.host.cost.measured_runs import MeasuredRun, device_name, known, last_run, note
from comfyui_videop2p.videop2p_core.host.cost.origins import ancestors, signature
from comfyui_videop2p.videop2p_core.host.storage import files

INVERT = {"method": "direct-exact", "steps": 20, "rounds": 0, "inner_steps": 10, "keep_source": "off"}
INVERTED = [["VP2P_DDIMInvert", INVERT]]
INFLATED = [*INVERTED, ["VP2P_InflateUNet", {}]]
ONE = [[{}, None]]
# 2 prompts x 2 weights x 3 windows, of one look at the source on an image model
SWEEP = {"cross_windows": "0.1, 0.3, 0.7", "word": "kite", "word_weights": "0.5, 2", "target_prompts": "a kite\n\n"}
MAPS = {"branch": "source", "step": 0, "words": ""}
TARGETS = MAPS | {"branch": "target"}


def asked(**question):
    return cost(*checked({"origins": [], **question}))


def ask(host, body, kind="application/json"):
    """(status, answer) of a question."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        with LOCAL.open(urllib.request.Request(host.url + PATH, data, {"Content-Type": kind}), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


# --- steps and forwards -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where this process keeps what runs took."""
    monkeypatch.setattr(runs.folder_paths, "get_system_user_directory", lambda _: str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "question, steps, forwards, at_most",
    [
        ({"node": "VP2P_DDIMInvert", "values": INVERT}, 20, 20, False),
        ({"node": "VP2P_DDIMInvert", "values": INVERT | {"rounds": 2, "checked": True}}, 20, 80, False),
        ({"node": "VP2P_DDIMInvert", "values": INVERT | {"method": "virtual"}}, 20, 0, False),
        ({"node": "VP2P_DDIMInvert", "values": INVERT | {"method": "shared null-text"}}, 20, 20 * (1 + 12 + 2), True),
        ({"node": "VP2P_TuneOnVideo", "values": {"steps": 150, "patience": 50, "preview_every": 0}}, 150, 214, True),
        ({"node": "VP2P_DecoupledSample", "edits": ONE, "origins": INVERTED}, 20, 60, True),
        (
            {"node": "VP2P_DecoupledSample", "edits": [[{"strength": 0.5}, None], *ONE], "origins": INVERTED},
            20,
            90,
            True,
        ),
        ({"node": "VP2P_DecoupledSample", "edits": [[{}, SWEEP]], "origins": INFLATED}, 20, 20 * (1 + 2 * 12), True),
        ({"node": "VP2P_DecoupledSample", "edits": [[{}, SWEEP | {"word": " "}]], "origins": INFLATED}, 20, 260, True),
        ({"node": "VP2P_DecoupledSample", "edits": [[{}, SWEEP]], "origins": INVERTED}, 20, 20 * 3 * 12, True),
        ({"node": "VP2P_DecoupledSample", "origins": INVERTED}, 20, None, None),  # edits of another node
        ({"node": "VP2P_DecoupledSample", "edits": [[{}, {}]], "origins": INVERTED}, None, None, None),  # over links
        ({"node": "VP2P_DecoupledSample", "edits": [[{}, SWEEP | {"word": 1}]], "origins": INVERTED}, None, None, None),
        (
            {"node": "VP2P_DecoupledSample", "edits": [[{"strength": 1e400}, None]], "origins": INVERTED},
            None,
            None,
            None,
        ),
        ({"node": "VP2P_DecoupledSample", "edits": ONE}, None, None, None),
        ({"node": "VP2P_DecoupledSample", "edits": ONE, "origins": INVERTED * 2}, None, None, None),
        ({"node": "VP2P_AttentionMaps", "values": MAPS, "origins": INVERTED}, 20, 20, False),
        ({"node": "VP2P_AttentionMaps", "values": MAPS | {"step": 3}, "origins": INVERTED}, 1, 1, False),
        ({"node": "VP2P_AttentionMaps", "values": MAPS | {"step": 3, "sharp": True}, "origins": INVERTED}, 2, 2, False),
        (
            {"node": "VP2P_AttentionMaps", "values": MAPS | {"step": 20, "sharp": True}, "origins": INVERTED},
            1,
            1,
            False,
        ),
        ({"node": "VP2P_AttentionMaps", "values": TARGETS, "edits": ONE, "origins": INVERTED}, 20, 60, True),
        ({"node": "VP2P_AttentionMaps", "values": TARGETS, "origins": INVERTED}, 20, None, None),
        ({"node": "VP2P_DDIMInvert", "values": {"method": "direct"}}, None, None, None),  # steps over a link
        ({"node": "KSampler", "values": {"steps": 20}}, None, None, None),
    ],
)
def test_steps_and_forwards_are_told_without_any_run(question, steps, forwards, at_most):
    answer = asked(**question)
    assert (answer["steps"], answer["forwards"], answer["at_most"]) == (steps, forwards, at_most)
    assert answer["seconds"] is answer["bytes"] is None


# --- what runs teach --------------------------------------------------------------------------------------------------


def test_a_run_is_known_by_operation_origins_and_device():
    origins = [("CheckpointLoaderSimple", {"ckpt_name": "a.safetensors"})]
    run = MeasuredRun("DDIM inversion", signature(origins), device_name(), 0.5, 2**30)
    note(MeasuredRun(*run.key, 9.0, 1.0))
    note(run)
    note(MeasuredRun("Decoupled Sample", run.origins, run.device, 3.0, 4.0))
    note(MeasuredRun(run.operation, run.origins, "another device", 7.0, 8.0))
    assert last_run("DDIM inversion", run.origins) == run and len(known()) == 3
    asking = {"node": "VP2P_DDIMInvert", "values": INVERT, "origins": [[kind, values] for kind, values in origins]}
    assert asked(**asking) == {"steps": 20, "forwards": 20, "at_most": False, "seconds": 10.0, "bytes": 2**30}
    asking["origins"][0][1] = {"ckpt_name": "b.safetensors"}
    assert asked(**asking)["seconds"] is None


@pytest.mark.parametrize("written", ["", "[", "{}", '[{"operation": 1}]', "[[]]", "[" * 10_000])
def test_a_damaged_file_is_no_run(folder, written):
    (folder / "measured_runs.json").write_text(written, encoding="utf-8")
    assert known() == []


def test_the_oldest_runs_are_forgotten(monkeypatch):
    monkeypatch.setattr(runs, "MOST", 2)
    for name in ("a", "b", "c"):
        note(MeasuredRun("DDIM inversion", name, "cpu", 1.0, 1.0))
    assert [run.origins for run in known()] == ["b", "c"]


def test_a_folder_that_cannot_be_written_stops_no_run(folder, monkeypatch, caplog):
    (folder / "file").touch()
    monkeypatch.setattr(runs.folder_paths, "get_system_user_directory", lambda _: str(folder / "file"))
    note(MeasuredRun("DDIM inversion", "a", "cpu", 1.0, 1.0))
    assert "How long DDIM inversion took is not kept" in caplog.text


# --- where model, clip and CONDITIONING come from ---------------------------------------------------------------------


def graph(**changes):
    nodes = {
        "load": ("CheckpointLoaderSimple", {"ckpt_name": "a.safetensors"}),
        "empty": ("EmptyLatentImage", {"width": 512, "height": 512, "batch_size": 8}),
        "words": ("CLIPTextEncode", {"text": "a cat", "clip": ["load", 1]}),
        "sample": (
            "KSampler",
            {"model": ["load", 0], "latent_image": ["empty", 0], "positive": ["words", 0], "seed": 1, "steps": 20},
        ),
        "invert": ("VP2P_DDIMInvert", {"model": ["load", 0], "latent": ["sample", 0], "source": ["words", 0]}),
    }
    return {
        name: {"class_type": kind, "inputs": inputs | changes.get(name, {})} for name, (kind, inputs) in nodes.items()
    }


def told(**changes):
    return signature(ancestors(DynamicPrompt(graph(**changes)), "invert"))


def test_words_and_seeds_cost_nothing():
    assert told() == told(words={"text": "a dog"}) == told(sample={"seed": 2}) == told(invert={"steps": 3})


@pytest.mark.parametrize(
    "change",
    [{"load": {"ckpt_name": "b.safetensors"}}, {"empty": {"batch_size": 9}}, {"empty": {"width": 640}}],
)
def test_another_model_or_size_is_another(change):
    assert told() != told(**change)


def test_pictures_and_controls_that_stand_between_the_words_and_a_node_are_another():
    more = graph(invert={"source": ["shown", 0]})
    more["shown"] = {"class_type": "ControlNetApplyAdvanced", "inputs": {"positive": ["words", 0], "end_percent": 1.0}}
    shown = signature(ancestors(DynamicPrompt(more), "invert"))
    more["shown"]["inputs"]["end_percent"] = 0.5
    assert len({told(), shown, signature(ancestors(DynamicPrompt(more), "invert"))}) == 3


def test_a_page_tells_the_same_in_another_order_and_with_more_values():
    page = [
        ("EmptyLatentImage", {"width": 512.0, "height": 512, "batch_size": 8}),
        ("KSampler", {"seed": 7, "steps": 20, "control_after_generate": "fixed"}),
        ("CheckpointLoaderSimple", {"ckpt_name": "a.safetensors", "upload": "image"}),
        ("CLIPTextEncode", {"text": "a dog"}),
    ]
    assert signature(page) == told()


# --- loaded inversions ------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path, monkeypatch):
    """The name of an inversion of 7 steps with a null text, in a folder of its own."""
    folder = tmp_path / "inversions"
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "videop2p_inversions", ([str(folder)], {".safetensors"}))
    latents, text = torch.zeros(8, 2, 4, 8, 8), torch.zeros(1, 77, 16)
    inversion = Inversion(
        "shared null-text", latents, torch.linspace(1, 0, 8), text, text, torch.zeros(7, 1, 77, 16), rounds=1
    )
    return files.save(files.INVERSIONS, inversion, "one")


def test_a_loaded_inversion_says_what_an_edit_of_it_takes(saved):
    origins = [["VP2P_LoadInversion", {"inversion_name": saved}]]
    answer = asked(node="VP2P_DecoupledSample", edits=ONE, origins=origins)
    assert (answer["steps"], answer["forwards"]) == (7, 7 * (2 + 2))  # of the source under its null text too
    assert asked(node="VP2P_AttentionMaps", values=MAPS, origins=origins)["forwards"] == 7


@pytest.mark.parametrize("name", ["two.safetensors", "../one.safetensors", "", None, 3])
def test_one_that_is_not_there_says_nothing(saved, name):
    origins = [["VP2P_LoadInversion", {"inversion_name": name}]]
    assert asked(node="VP2P_DecoupledSample", edits=ONE, origins=origins)["steps"] is None


def test_one_that_is_damaged_says_nothing(saved, tmp_path):
    (tmp_path / "inversions" / saved).write_bytes(b"no such file")
    origins = [["VP2P_LoadInversion", {"inversion_name": saved}]]
    assert asked(node="VP2P_DecoupledSample", edits=ONE, origins=origins)["steps"] is None


# --- over the wire ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "question",
    [
        [], "x", None, {}, {"node": 1}, {"node": "x", "path": "y"}, {"node": "x", "values": []},
        {"node": "x", "edits": 1}, {"node": "x", "edits": [{}]}, {"node": "x", "edits": [[None, {}]]},
        {"node": "x", "edits": ONE * (MOST + 1)}, {"node": "x", "origins": {}}, {"node": "x", "origins": [["a"]]},
        {"node": "x", "origins": [[1, {}]]}, {"node": "x", "origins": [["a", {}]] * (MOST + 1)},
    ],
)  # fmt: skip
def test_a_question_of_another_shape_is_refused(question):
    with pytest.raises(ValueError, match="ask with|is a text|are a list"):
        checked(question)


@pytest.mark.parametrize("value", ["20", None, [], {}, -1, 10_001, 1e9, 2.5])
def test_values_that_no_node_takes_are_not_counted(value):
    assert asked(node="VP2P_DDIMInvert", values=INVERT | {"steps": value})["steps"] is None


def test_a_run_on_the_server_teaches_it(host):
    chain = Graph(host.get("/object_info"))
    chain.add("model", "VP2P_LoadDemoModel")
    chain.add("clip", "VP2P_LoadDemoClip")
    chain.add("latent", "VAEEncode", pixels=["clip", 1], vae=["model", 2])
    chain.add("source", "CLIPTextEncode", text=["clip", 3], clip=["model", 1])
    chain.add("null", "CLIPTextEncode", text="", clip=["model", 1])
    chain.add("inflate", "VP2P_InflateUNet", model=["model", 0])
    chain.add(
        "invert", "VP2P_DDIMInvert", model=["inflate", 0], source=["source", 0], null=["null", 0],
        latent=["latent", 0], steps=2, method="direct-exact",
    )  # fmt: skip
    chain.add("show", "PreviewAny", source=["invert", 0])
    values = {name: value for name, value in chain["invert"]["inputs"].items() if not isinstance(value, list)}
    origins = [
        [node["class_type"], {name: value for name, value in node["inputs"].items() if not isinstance(value, list)}]
        for name, node in chain.items()
        if name not in ("invert", "show")
    ]
    question = {"node": "VP2P_DDIMInvert", "values": values | {"steps": 7}, "origins": origins}
    status, before = ask(host, question)
    assert status == 200 and (before["forwards"], before["seconds"]) == (7, None)
    succeeded(host, chain)
    _, after = ask(host, question)
    _, twice = ask(host, question | {"values": values | {"steps": 14}})
    assert after["seconds"] > 0 and after["bytes"] > 0
    assert twice["seconds"] == pytest.approx(2 * after["seconds"])


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 20_000, [], {"node": 1}])
def test_nonsense_is_a_bad_request(host, body):
    status, answer = ask(host, body)
    assert status == 400 and answer["error"]


def test_a_question_has_a_type_and_a_size(host):
    assert ask(host, {"node": "x"}, kind="text/plain")[0] == 415
    assert ask(host, b" " * (LARGEST + 1))[0] == 413
