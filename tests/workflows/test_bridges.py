"""Wan VACE paints where Video-P2P looks: the shipped graph on small models, with every stock node in its place."""

import json

import pytest
import torch
from comfyui_videop2p.tools.client import node_titled, run_graph, shown_frames
from comfyui_videop2p.tools.workflows.bridges import VACE, WAN_VAE
from comfyui_videop2p.tools.workflows.write import FOLDER
from safetensors.torch import save_file

FRAMES, SIDE, SOURCE, TARGET = 5, 128, "a red ball on the beach", "a red star on the beach"
TEXT = 128  # the width of the demo model's text, which stands for Wan's
SIZES = {"dim": 64, "ffn_dim": 64, "num_heads": 2, "num_layers": 2, "freq_dim": 32, "text_dim": TEXT}
NAME = "wan_vace_region"


@pytest.fixture(scope="module")
def graph():
    """The shipped graph; the demo's models stand where a checkpoint and Wan's text encoder would."""
    graph = json.loads((FOLDER / "api" / f"{NAME}.json").read_text(encoding="utf-8"))
    demo = next(node for node, entry in graph.items() if entry["class_type"] == "CheckpointLoaderSimple")
    text = next(node for node, entry in graph.items() if entry["class_type"] == "CLIPLoader")
    changes = {
        "CheckpointLoaderSimple": ("VP2P_LoadDemoModel", {}),
        "LoadVideo": ("VP2P_LoadDemoClip", {"clip": SOURCE}),
    }
    for entry in graph.values():
        if entry["class_type"] in changes:
            entry["class_type"], entry["inputs"] = changes[entry["class_type"]]
        elif entry["class_type"] in ("KSampler", "VP2P_DDIMInvert"):
            entry["inputs"]["steps"] = 3
        given = entry["inputs"]
        given |= {name: [demo, 1] for name, value in given.items() if value == [text, 0]}
        given |= {
            name: value for name, value in (("width", SIDE), ("height", SIDE)) if isinstance(given.get(name), int)
        }
    words = {
        "The first 17 frames": {"length": FRAMES},
        "Source prompt": {"value": SOURCE},
        "Target prompt": {"value": TARGET},
        "Attention Controller": {"blend_source": "ball"},
        "What it does not": {"text": ""},
    }
    for title, inputs in words.items():
        graph[node_titled(graph, title)]["inputs"] |= inputs
    del graph[text]
    return graph


@pytest.fixture(scope="module")
def models(host):
    """Files that the stock loaders take for Wan VACE and its VAE, small and of random weights."""
    from comfyui_videop2p.tools.pack import use_host

    use_host()
    import comfy.ops
    from comfy.ldm.wan.model import VaceWanModel
    from comfy.ldm.wan.vae import WanVAE

    torch.manual_seed(0)
    vace = VaceWanModel(
        model_type="vace", in_dim=16, out_dim=16, vace_layers=1, vace_in_dim=96,
        operations=comfy.ops.disable_weight_init, **SIZES,
    )  # fmt: skip
    vae = WanVAE(dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], temperal_downsample=[False, True, True])
    config = json.dumps({"transformer": SIZES})
    for file, network, metadata in ((VACE, vace, {"config": config}), (WAN_VAE, vae, None)):
        path = host.models / file["directory"] / file["name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        weights = {name: settled(name, value) for name, value in network.state_dict().items()}
        save_file(weights, path, metadata)


def settled(name, value):
    """Weights under which every layer gives about what it is given."""
    if value.ndim > 1 and "modulation" not in name and "gamma" not in name:
        return torch.randn(value.shape) / value[0].numel() ** 0.5
    return torch.full_like(value, float(name.endswith(("weight", "gamma"))))


def test_vace_paints_the_clip(host, graph, models):
    ran = run_graph(host.url, graph)
    region, painted = (
        shown_frames(host.url, ran.outputs[node_titled(graph, title)]) for title in ("The region", "Edited frames")
    )
    assert region.shape == painted.shape == (FRAMES, SIDE, SIDE, 3)
    assert (painted.std(axis=(1, 2, 3)) > 0.01).all()  # what is not finite is saved as black
    assert ran.outputs[node_titled(graph, "Save the edited clip")]["images"]


def test_its_models_can_be_downloaded_from_the_browser():
    nodes = json.loads((FOLDER / f"{NAME}.json").read_text(encoding="utf-8"))["nodes"]
    needed = [
        (node["widgets_values"][0], node["properties"]["models"]) for node in nodes if "models" in node["properties"]
    ]
    assert len(needed) == 4
    for name, (model,) in needed:
        assert model["name"] == name and model["url"].endswith(f"/{name}")
    assert {model["directory"] for _, (model,) in needed} == {"checkpoints", "diffusion_models", "text_encoders", "vae"}
