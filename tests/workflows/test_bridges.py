"""The workflows for Wan on small models: VACE paints where Video-P2P looks, and a word is swapped on Wan alone."""

import json

import pytest
import torch
from comfyui_videop2p.tools.client import node_titled, run_graph, shown_frames
from comfyui_videop2p.tools.workflows.shelf import graph_file, prompt_file
from safetensors.torch import save_file

FRAMES, SIDE, SOURCE, TARGET = 5, 128, "a red rabbit on the beach", "a red star on the beach"
TEXT = 128  # the width of the demo model's text, which stands for Wan's
SIZES = {"dim": 64, "ffn_dim": 64, "num_heads": 2, "num_layers": 2, "freq_dim": 32, "text_dim": TEXT}
VACE, SWAP, PAIR = "wan_vace_region", "wan_word_swap", "wan22_word_swap"


def shipped(name):
    """A shipped graph; the demo's models stand where a checkpoint and Wan's text encoder would."""
    graph = json.loads(prompt_file(name).read_text(encoding="utf-8"))
    texts = [node for node, entry in graph.items() if entry["class_type"] == "CLIPLoader"]
    (demo,) = [node for node, entry in graph.items() if entry["class_type"] == "CheckpointLoaderSimple"] or texts
    changes = {
        "CheckpointLoaderSimple": ("VP2P_LoadDemoModel", {}),
        "CLIPLoader": ("VP2P_LoadDemoModel", {}),
        "LoadVideo": ("VP2P_LoadDemoClip", {"clip": SOURCE}),
    }
    for entry in graph.values():
        given = entry["inputs"]
        given |= {name: [demo, 1] for name, value in given.items() if value in [[text, 0] for text in texts]}
        if isinstance(given.get("width"), int):
            given |= {"width": SIDE, "height": SIDE}
        if entry["class_type"] in changes:
            entry["class_type"], entry["inputs"] = changes[entry["class_type"]]
        elif entry["class_type"] in ("KSampler", "VP2P_DDIMInvert"):
            given["steps"] = 3
        elif entry["class_type"] == "VP2P_ClipFrames":
            given |= {"frames": FRAMES, "side": SIDE}
    graph[node_titled(graph, "Source prompt")]["inputs"]["value"] = SOURCE
    return graph


@pytest.fixture(scope="module")
def models(host):
    """Files that the stock loaders take for Wan, VACE and their VAE, small and of random weights."""
    from comfyui_videop2p.tools.pack import use_host

    use_host()
    import comfy.ops
    from comfy.ldm.wan.model import VaceWanModel, WanModel
    from comfy.ldm.wan.vae import WanVAE

    torch.manual_seed(0)
    made = {"in_dim": 16, "out_dim": 16, "operations": comfy.ops.disable_weight_init, **SIZES}
    files = {
        "diffusion_models/wan2.1_vace_1.3B_fp16": VaceWanModel(
            model_type="vace", vace_layers=1, vace_in_dim=96, **made
        ),
        **{
            f"diffusion_models/{name}": WanModel(model_type="t2v", **made)
            for name in (
                "wan2.1_t2v_1.3B_fp16",
                "wan2.2_t2v_high_noise_14B_fp8_scaled",
                "wan2.2_t2v_low_noise_14B_fp8_scaled",
            )
        },
        "vae/wan_2.1_vae": WanVAE(dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True]),
    }
    for file, network in files.items():
        path = host.models / f"{file}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {name: settled(name, value) for name, value in network.state_dict().items()}
        save_file(weights, path, {"config": json.dumps({"transformer": SIZES})} if "diffusion" in file else None)


def settled(name, value):
    """Weights under which every layer gives about what it is given."""
    if value.ndim > 1 and "modulation" not in name and "gamma" not in name:
        return torch.randn(value.shape) / value[0].numel() ** 0.5
    return torch.full_like(value, float(name.endswith(("weight", "gamma"))))


def pictures(host, graph, ran, title):
    shown = shown_frames(host.url, ran.outputs[node_titled(graph, title)])
    assert shown.shape == (FRAMES, SIDE, SIDE, 3)
    return shown


def test_vace_paints_the_clip(host, models):
    graph = shipped(VACE)
    words = {
        "Target prompt": {"value": TARGET},
        "Attention Controller": {"blend_source": "rabbit"},
        "What it does not": {"text": ""},
    }
    for title, inputs in words.items():
        graph[node_titled(graph, title)]["inputs"] |= inputs
    ran = run_graph(host.url, graph)
    pictures(host, graph, ran, "The region")
    painted = pictures(host, graph, ran, "Edited frames")
    assert (painted.std(axis=(1, 2, 3)) > 0.01).all()  # what is not finite is saved as black
    assert ran.outputs[node_titled(graph, "Save the edited clip")]["images"]


@pytest.mark.parametrize("name", [SWAP, PAIR])
def test_a_word_is_swapped_on_wan(host, models, name):
    graph = shipped(name)
    words = {"target_prompt": TARGET, "blend_source": "rabbit", "blend_target": "star", "threshold": 0.9}
    graph[node_titled(graph, "Attention Controller")]["inputs"] |= words
    ran = run_graph(host.url, graph)
    edited, source = (pictures(host, graph, ran, title) for title in ("Edited frames", "Reconstruction"))
    assert (edited.std(axis=(1, 2, 3)) > 0.01).all() and abs(edited - source).max() > 0.02
    assert pictures(host, graph, ran, "Where the edit was let through").max() == 1


@pytest.mark.parametrize("name, loaders", [(VACE, 4), (SWAP, 3), (PAIR, 4)])
def test_its_models_can_be_downloaded_from_the_browser(name, loaders):
    nodes = json.loads(graph_file(name).read_text(encoding="utf-8"))["nodes"]
    needed = [
        (node["widgets_values"][0], node["properties"]["models"]) for node in nodes if "models" in node["properties"]
    ]
    assert len(needed) == loaders
    for name, (model,) in needed:
        assert model["name"] == name and model["url"].endswith(f"/{name}")
        assert model["directory"] in ("checkpoints", "diffusion_models", "text_encoders", "vae")
