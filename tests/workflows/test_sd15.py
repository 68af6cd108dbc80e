"""Every workflow for a checkpoint, on a full-size Stable Diffusion 1.5 of random weights, at 8x8 latents."""

import json
import shutil

import pytest
from comfyui_videop2p.demo import videos
from comfyui_videop2p.demo.edits import EDITED
from comfyui_videop2p.tools.client import run_graph, shown_frames
from comfyui_videop2p.tools.workflows.catalogue import RECIPES
from comfyui_videop2p.tools.workflows.shelf import prompt_file
from comfyui_videop2p.tools.workflows.worlds import OWN_CLIP, SD15

SIZE, FRAMES = 64, 2
# Another size and fewer steps; all else is as it is shipped.
SMALLER = {
    "VP2P_ClipFrames": {"frames": FRAMES, "side": SIZE},
    "VHS_LoadVideo": {"custom_width": SIZE, "custom_height": SIZE, "frame_load_cap": FRAMES},
    "VP2P_TuneOnVideo": {"steps": 1},
    "VP2P_DDIMInvert": {"steps": 2, "inner_steps": 1},
}
# What the nodes say that write files.
KEPT = {"SaveVideo": "images", "VHS_VideoCombine": "gifs", "VP2P_SaveTuning": "text", "VP2P_SaveInversion": "text"}


@pytest.fixture(scope="module")
def host(sd15_host):
    (sd15_host.folder / "input").mkdir(exist_ok=True)
    shutil.copy(videos.FIRST, sd15_host.folder / "input" / OWN_CLIP)
    return sd15_host


NAMES = [name for name in RECIPES if name.startswith("sd15_") and RECIPES[name].world == SD15]
# As demo workflows, or the others, are.
SLOW = (
    "sd15_sweep", "sd15_compare", "sd15_several_prompts", "sd15_reweight", "sd15_null_text", "sd15_refine",
    "sd15_style",
)  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NAMES])
def test_a_checkpoint_workflow_runs(host, name):
    if RECIPES[name].needs not in (None, *host.get("/object_info")):
        pytest.skip(f"no {RECIPES[name].needs} here: VP2P_PEERS names no folder with a checkout of its pack")
    graph = json.loads(prompt_file(name).read_text(encoding="utf-8"))
    for node in graph.values():
        node["inputs"] |= SMALLER.get(node["class_type"], {})
    ran = run_graph(host.url, graph)
    for node, entry in graph.items():
        if kept := KEPT.get(entry["class_type"]):
            assert ran.outputs[node][kept]
    edits = sum(entry["class_type"] == "VP2P_AttentionController" for entry in graph.values())
    for node in (node for node, entry in graph.items() if entry["_meta"]["title"] == EDITED):
        frames = shown_frames(host.url, ran.outputs[node])
        assert frames.shape == (edits * FRAMES, SIZE, SIZE, 3)
        assert (frames.std(axis=(1, 2, 3)) > 0.01).all()  # what is not finite is saved as black
