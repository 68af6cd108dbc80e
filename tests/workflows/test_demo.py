"""Every demo workflow as it is shipped, run on a real ComfyUI, and what came of it judged by the ground truth."""

import json

import pytest
from comfyui_videop2p.demo.edits import edited_clips, with_frames_shown
from comfyui_videop2p.tools.client import run_graph
from comfyui_videop2p.tools.workflows.catalogue import RECIPES
from comfyui_videop2p.tools.workflows.shelf import prompt_file

KEPT = 20  # dB that the background keeps under blend words
# What the paper compares with need not succeed.
COMPARED = ("demo_ablation_", "demo_baseline_")
# What other tests prove in short, on one workflow or in one process.
SLOW = (
    *COMPARED,
    "demo_null_text",
    "demo_sweep",
    "demo_custom_sampler",
    "demo_refine",
    "demo_from_lora",
    "demo_re_edit",
    "demo_style",
    "demo_reweight",
    "demo_several_prompts",
    "demo_compare",
    "demo_local_blend",
)
# The longest take fewer steps here; `dev.py gallery` takes all of them.
STEPS = dict.fromkeys(("demo_null_text", "demo_ablation_coupled_guidance"), 20) | dict.fromkeys(COMPARED, 10)
STEPS["demo_sweep"] = 10
WHOLE = 1000  # steps: no workflow has as many
TUNING_STEPS = 20  # of all, as they share one tuning
# These show no edit, or on one sheet many that need not all succeed.
WITHOUT_EDIT = (
    "demo_keep",
    "demo_export",
    "demo_attention_maps",
    "demo_sweep",
    "demo_word_weights",
    "demo_watch_words",
)


def api_text(name):
    return prompt_file(name).read_text(encoding="utf-8")


def shorten(graph, steps):
    """Inversion and edit."""
    for node in graph.values():
        if "steps" in node["inputs"]:
            most = TUNING_STEPS if node["class_type"] == "VP2P_TuneOnVideo" else steps
            node["inputs"]["steps"] = min(node["inputs"]["steps"], most)


# Re-editing needs what `keep` kept.
ORDER = sorted((name for name in RECIPES if name.startswith("demo_")), key="demo_re_edit".__eq__)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name.startswith(SLOW) else ()) for name in ORDER]
)
def test_a_demo_workflow_does_what_it_says(host, name):
    graph = with_frames_shown(json.loads(api_text(name)))
    shorten(graph, next((STEPS[start] for start in STEPS if name.startswith(start)), WHOLE))
    clips = edited_clips(host.url, graph, run_graph(host.url, graph))
    assert bool(clips) == (name not in WITHOUT_EDIT)
    blended = [
        node["inputs"]["blend_source"] for node in graph.values() if node["class_type"] == "VP2P_AttentionController"
    ]
    for i, clip in enumerate(clips):
        measured = clip.figures()
        if not name.startswith(COMPARED):
            assert measured.missed == (), f"{clip.target}: {measured}"
            assert not any(blended[i : i + 1]) or measured.background > KEPT, f"{clip.target}: {measured}"
