"""Nodes called as ComfyUI calls them: in inference mode, by their schema's names."""

import asyncio

import comfy.samplers
import torch
from comfy_api.latest import io
from comfyui_videop2p.nodes.extension import VideoP2PExtension
from comfyui_videop2p.videop2p_core.diffusion.inversion import SHARED_NULL_TEXT

FRAMES, STEPS = 2, 3
# What is meant where a test says nothing, in the place of what a fresh node has: the published way, nothing blended.
MEANT = {
    "VP2P_DDIMInvert": {"method": SHARED_NULL_TEXT, "steps": 50},
    "VP2P_TuneOnVideo": {"steps": 500, "patience": 0},
    "VP2P_AttentionController": {"blend_source": "", "blend_target": ""},
}
SOURCE, TARGET = "a red rabbit on the beach", "a blue rabbit on the beach"
NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(VideoP2PExtension().get_node_list())}


def run(node_id, graph=None, **inputs):
    """The outputs of a node of this pack; inputs that are not given are as in MEANT or have their schema's defaults.

    graph: a DynamicPrompt that is queued, in which the node is called by its node_id
    """
    schema = NODES[f"VP2P_{node_id}"].GET_SCHEMA()
    defaults = {entry.id: entry.default for entry in schema.inputs if hasattr(entry, "default")}
    defaults |= MEANT.get(schema.node_id, {})
    if schema.is_input_list:
        defaults = {name: [value] for name, value in defaults.items()}
    with torch.inference_mode():
        hidden = {io.Hidden.dynprompt: graph, io.Hidden.unique_id: node_id}
        node = NODES[schema.node_id].PREPARE_CLASS_CLONE({"hidden_inputs": hidden})
        return node.execute(**defaults | inputs).result


def encode(clip, text):
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def control(clip, target=TARGET, source=SOURCE, **inputs):
    return run("AttentionController", clip=clip, source_prompt=source, target_prompt=target, **inputs)


def sample(model, inversion, *edits, **inputs):
    """(edited, reconstruction, mask)"""
    return run("DecoupledSample", model=[model], inversion=[inversion], edit=list(edits), **inputs)[:3]


def predict(model, clip, latent):
    """What one step of a stock sampler makes of a latent."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(encode(clip, SOURCE), encode(clip, SOURCE))
    with torch.inference_mode():
        return guider.sample(
            latent["samples"], torch.zeros_like(latent["samples"]), comfy.samplers.sampler_object("euler"),
            torch.tensor([2.0, 0.0]), disable_pbar=True, seed=0,
        )  # fmt: skip
