"""The shipped workflows as files: what the recipes write, complete, each with its picture."""

import json

import pytest
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.workflows.catalogue import RECIPES
from comfyui_videop2p.tools.workflows.shelf import FOLDER, TEMPLATES, graph_file, picture_file, prompt_file
from comfyui_videop2p.tools.workflows.write import SUBGRAPHS, files, subgraphs
from PIL import Image


def test_the_files_are_what_the_recipes_write(info):
    written = files(info)
    assert set(FOLDER.rglob("*.json")) == {file(name) for name in RECIPES for file in (graph_file, prompt_file)}
    stale = [path.name for path, text in written.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `python dev.py workflows`: {', '.join(stale)}"


def test_every_node_of_the_pack_is_used(host):
    graphs = [json.loads(path.read_text(encoding="utf-8")) for path in FOLDER.glob("api/*.json")]
    used = {node["class_type"] for graph in graphs for node in graph.values()}
    assert set(host.pack_nodes()) <= used


@pytest.mark.parametrize("name", RECIPES)
def test_every_workflow_has_a_picture(name):
    with Image.open(picture_file(name)) as picture:
        width, height = picture.size
    assert 256 <= height <= width <= 1200


def test_checkpoints_can_be_downloaded_from_the_browser():
    for name in (name for name in RECIPES if name.startswith("sd15_")):
        nodes = json.loads(graph_file(name).read_text(encoding="utf-8"))["nodes"]
        (loader,) = [node for node in nodes if node["type"] == "CheckpointLoaderSimple"]
        (model,) = loader["properties"]["models"]
        assert model["name"] == loader["widgets_values"][0] and model["url"].endswith(model["name"])
        assert model["directory"] == "checkpoints"


def test_the_browser_lists_them(host):
    listed = host.get("/workflow_templates")["comfyui-videop2p"]
    assert set(listed) == set(TEMPLATES.values()) and 12 <= len(listed) <= 14
    assert all(name in RECIPES for name in TEMPLATES) and sorted(TEMPLATES.values()) == list(TEMPLATES.values())


def test_the_first_one_is_small():
    nodes = json.loads(graph_file(next(iter(TEMPLATES))).read_text(encoding="utf-8"))["nodes"]
    assert len([node for node in nodes if node["type"] != "MarkdownNote"]) <= 12


def test_no_second_folder_of_examples():
    # ComfyUI would list it as well.
    assert not (ROOT / "example_workflows").exists()


def test_the_blueprints_are_what_the_boxes_write(info):
    written = subgraphs(info)
    assert set(SUBGRAPHS.glob("*.json")) == set(written)
    stale = [path.name for path, text in written.items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `python dev.py workflows`: {', '.join(stale)}"
