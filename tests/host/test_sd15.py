"""The whole way at full size: a Stable Diffusion 1.5 of random weights, with a LoRA and a ControlNet, over HTTP."""

import re

import pytest
from comfyui_videop2p.tests.host.checkpoints import CHECKPOINT, CONTROLNET, LORA
from comfyui_videop2p.tests.host.graphs import Graph, succeeded
from comfyui_videop2p.tools.client import shown_frames

SOURCE, TARGET = "a man drives a motorbike", "a robot drives a motorbike"
FRAMES, SIZE = 2, 64


@pytest.fixture(scope="module")
def info(sd15_host):
    return sd15_host.get("/object_info")


def whole_way(info, method):
    graph = Graph(info)
    graph.add("load", "CheckpointLoaderSimple", ckpt_name=CHECKPOINT)
    graph.add("lora", "LoraLoader", model=["load", 0], clip=["load", 1], lora_name=LORA)
    graph.add("inflate", "VP2P_InflateUNet", model=["lora", 0])
    graph.add("frames", "EmptyImage", width=SIZE, height=SIZE, batch_size=FRAMES, color=0x60A0E0)
    graph.add("encode", "VAEEncode", pixels=["frames", 0], vae=["load", 2])
    graph.add("source", "CLIPTextEncode", text=SOURCE, clip=["lora", 1])
    graph.add("null", "CLIPTextEncode", text="", clip=["lora", 1])
    graph.add(
        "tune", "VP2P_TuneOnVideo", model=["inflate", 0], positive=["source", 0], latent=["encode", 0], steps=2,
        memory="save memory",
    )  # fmt: skip
    graph.add("control net", "ControlNetLoader", control_net_name=CONTROLNET)
    graph.add(
        "controlled source", "ControlNetApplyAdvanced", positive=["source", 0], negative=["null", 0],
        control_net=["control net", 0], image=["frames", 0],
    )  # fmt: skip
    graph.add(
        "invert", "VP2P_DDIMInvert", model=["tune", 0], source=["controlled source", 0],
        null=["controlled source", 1], latent=["encode", 0], method=method, steps=2, inner_steps=1,
        memory="save memory",
    )  # fmt: skip
    graph.add(
        "edit", "VP2P_AttentionController", clip=["lora", 1], source_prompt=SOURCE, target_prompt=TARGET,
        blend_source="man", blend_target="robot", cross_window=0.8,
    )  # fmt: skip
    graph.add(
        "controlled target", "ControlNetApplyAdvanced", positive=["edit", 2], negative=["null", 0],
        control_net=["control net", 0], image=["frames", 0],
    )  # fmt: skip
    graph.add(
        "sample", "VP2P_DecoupledSample", model=["tune", 0], inversion=["invert", 0], edit=["edit", 0],
        source=["controlled source", 0], target=["controlled target", 0], null=["controlled source", 1],
    )  # fmt: skip
    graph.add("decode", "VAEDecode", samples=["sample", 0], vae=["load", 2])
    graph.add("show", "PreviewImage", images=["decode", 0])
    graph.add("loss", "PreviewImage", images=["tune", 2])
    graph.add("report", "PreviewAny", source=["invert", 3])
    return graph


@pytest.mark.slow
@pytest.mark.parametrize(
    "method, reported",
    [("direct", "reconstruction is exact"), ("shared null-text", r"error \d+\.\d+ %.*2 updates")],
)
def test_every_node_works_at_full_size(sd15_host, info, method, reported):
    outputs = succeeded(sd15_host, whole_way(info, method))["outputs"]
    frames = shown_frames(sd15_host.url, outputs["show"])
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    assert (frames.std(axis=(1, 2, 3)) > 1 / 255).all()  # what is not finite is saved as black
    assert re.search(reported, outputs["report"]["text"][0], re.DOTALL)
