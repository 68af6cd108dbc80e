"""The workflows for other families, as they are shipped, on small models of their architecture."""

import json
import shutil

import pytest
from comfyui_videop2p.demo import videos
from comfyui_videop2p.demo.edits import EDITED
from comfyui_videop2p.tools.client import run_graph, shown_frames
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.host import Host
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.tools.workflows.catalogue import RECIPES
from comfyui_videop2p.tools.workflows.shelf import graph_file, prompt_file
from comfyui_videop2p.tools.workflows.worlds import OWN_CLIP, SD2, SD15_INPAINT, SDXL, WORLDS

NAMES = [name for name, recipe in RECIPES.items() if recipe.world in (SD2, SDXL, SD15_INPAINT)]
FRAMES, SIDE = 2, 176  # SDXL has word maps from 20 latent places on
# Another size and fewer steps; all else is as it is shipped. A model that learnt nothing looks nearly everywhere.
SMALLER = {
    "VP2P_ClipFrames": {"frames": FRAMES, "side": SIDE},
    "VP2P_TuneOnVideo": {"steps": 1},
    "VP2P_DDIMInvert": {"steps": 2},
    "VP2P_EditRegion": {"threshold": 0.8, "grow": 0},
}


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder, models = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("models")
    with Host(host_path(), folder, models=models, packs=[ROOT / "tests" / "packs" / "tiny_models"]) as running:
        (running.folder / "input").mkdir(exist_ok=True)
        shutil.copy(videos.FIRST, running.folder / "input" / OWN_CLIP)
        yield running


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_runs_on_its_family(host, name):
    graph = json.loads(prompt_file(name).read_text(encoding="utf-8"))
    for entry in graph.values():
        if entry["class_type"] == "CheckpointLoaderSimple":
            entry |= {"class_type": "TinyModel", "inputs": {"family": RECIPES[name].world}}
        entry["inputs"] |= SMALLER.get(entry["class_type"], {})
    ran = run_graph(host.url, graph)
    shown = {
        entry["_meta"]["title"]: shown_frames(host.url, ran.outputs[node])
        for node, entry in graph.items()
        if entry["class_type"] == "PreviewImage"
    }
    for title in (EDITED, "Reconstruction"):
        assert shown[title].shape == (FRAMES, SIDE, SIDE, 3)
        assert (shown[title].std(axis=(1, 2, 3)) > 0.01).all()  # what is not finite is saved as black
    assert abs(shown[EDITED] - shown["Reconstruction"]).max() > 0.02
    if "The region" in shown:
        mask = shown["Where the edit was let through"]
        assert 0 < mask.mean() < 1


def test_what_the_models_need_is_in_the_graphs():
    """SDXL's null text, and the picture on all three inputs of an inpainting model's edit."""
    needed = {SD2: set(), SDXL: {"null"}, SD15_INPAINT: {"source", "target", "null"}}
    for name in NAMES:
        graph = json.loads(prompt_file(name).read_text(encoding="utf-8"))
        (sampled,) = (entry["inputs"] for entry in graph.values() if entry["class_type"] == "VP2P_DecoupledSample")
        assert needed[RECIPES[name].world] == {"source", "target", "null"} & set(sampled)


def test_checkpoints_can_be_downloaded_from_the_browser():
    for name in NAMES:
        nodes = json.loads(graph_file(name).read_text(encoding="utf-8"))["nodes"]
        (loader,) = (node for node in nodes if node["type"] == "CheckpointLoaderSimple")
        (model,) = loader["properties"]["models"]
        assert model["name"] == loader["widgets_values"][0] and model["url"].endswith(f"/resolve/main/{model['name']}")
        assert model["directory"] == "checkpoints"
        (clip,) = (node for node in nodes if node["type"] == "VP2P_ClipFrames")
        assert WORLDS[RECIPES[name].world].side in clip["widgets_values"]
