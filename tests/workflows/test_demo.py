"""Every demo workflow as it is shipped, run on a real ComfyUI, and what came of it judged by the ground truth."""

import json

import pytest
from comfyui_videop2p.demo.edits import edited_clips
from comfyui_videop2p.tools.client import run_graph
from comfyui_videop2p.tools.workflows.recipes import RECIPES
from comfyui_videop2p.tools.workflows.write import FOLDER

# What a workflow must reach: words that the judge may miss, least background PSNR in dB.
BASELINES = {}


@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith("demo_")])
def test_a_demo_workflow_does_what_it_says(host, name):
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))
    for clip in edited_clips(host.url, graph, run_graph(host.url, graph)):
        print(clip.figures())
