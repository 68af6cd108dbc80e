"""Edits agree with Prompt-to-Prompt as published, by whole maps, in every layer."""

import comfy.model_management
import comfy.supported_models
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.tests.host.random_edits import (
    REFERENCE,
    STEPS,
    assert_close,
    edit,
    edited_by_maps,
    first_prompt,
    model,
    no_edit,
    plain_sample,
    sample,
    seed,
    take_the_source,
)
from comfyui_videop2p.tests.parity.model import unet_config
from comfyui_videop2p.videop2p_core.host.control import attention_control as controls
from comfyui_videop2p.videop2p_core.host.control.source_recording import SourceRecording
from comfyui_videop2p.videop2p_core.host.families.unet import UNet
from comfyui_videop2p.videop2p_core.host.model.frame_attention import Inflation
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate

__all__ = ["model", "seed"]


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
@pytest.mark.parametrize("height, width", [(16, 8), (8, 16)])
def test_edits_agree_with_the_map_form(model, monkeypatch, frames, height, width):
    change, calls = edit(), []
    ours = sample(model, [change], size=(frames, height, width)).targets[0]

    def by_maps(*args):
        calls.append(1)
        return edited_by_maps(*args)

    monkeypatch.setattr(controls, "edited_attention", by_maps)
    expected = sample(model, [change], size=(frames, height, width)).targets[0]
    assert len(calls) == STEPS * len(UNet().cross_attention_layers(model.model.diffusion_model))
    assert_close(model, ours, expected)


def deep_model():
    """Transformers of several blocks and none at the finest level, as in SDXL; random weights."""
    torch.manual_seed(2)
    config = unet_config(REFERENCE, torch.float64)
    layers = config["num_res_blocks"][0]
    depths = [0, 2, 3, 0]
    config["transformer_depth"] = [depth for depth in depths for _ in range(layers)]
    config["transformer_depth_output"] = [depth for depth in depths for _ in range(layers + 1)]
    config["transformer_depth_middle"] = 3
    config["use_linear_in_transformer"] = True

    class Deep(comfy.supported_models.SD20):
        unet_extra_config = {"num_heads": -1, "num_head_channels": 32, "attn_precision": torch.float32}

    with with_weights():
        model = Deep(config).get_model({}, "", "cpu")
    with torch.no_grad():
        for parameter in model.diffusion_model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.08)
    device = comfy.model_management.get_torch_device()
    return ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def test_edits_reach_every_block_of_a_deep_transformer(monkeypatch):
    image = deep_model()
    deep = inflate(image, Inflation("first+self"))
    layers = UNet().cross_attention_layers(deep.model.diffusion_model)
    assert len(layers) == len(set(layers)) == 2 * 2 + 2 * 3 + 3 + 3 * 2 + 3 * 3
    assert torch.equal(sample(deep, [no_edit()]).targets[0], plain_sample(deep))
    assert torch.equal(plain_sample(deep, (1, 8, 8)), plain_sample(image, (1, 8, 8)))

    used, change = [], edit()
    keep = SourceRecording.keep
    monkeypatch.setattr(
        SourceRecording, "keep", lambda self, layer, q, k: used.append(layer) or keep(self, layer, q, k)
    )
    ours = sample(deep, [change])
    cross = [layer for layer in used if layer in map(str, layers)]
    assert cross == [str(layer) for layer in layers] * STEPS and len(used) == 2 * len(
        cross
    )  # each block has its temporal layer, too
    monkeypatch.setattr(controls, "edited_attention", edited_by_maps)
    assert_close(deep, sample(deep, [change]).targets[0], ours.targets[0])
    result = sample(deep, [take_the_source()], target=first_prompt(), coupled=True)
    assert_close(deep, result.targets[0], result.source)
