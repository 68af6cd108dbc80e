"""Full-size SD1.x files with random weights, made on the spot: what stock loaders recognise, with nothing learnt in it.

Weights are scaled so that every layer gives about what it is given, and forwards stay finite.
"""

import json
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

import comfy.memory_management
import comfy.ops
import torch
from comfy.cldm.cldm import ControlNet
from comfy.clip_model import CLIPTextModel
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfyui_videop2p.tools.pack import host_path
from safetensors.torch import save_file

CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"
LORA, CONTROLNET = "random_lora.safetensors", "random_controlnet.safetensors"
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": (1, 2, 4, 4),
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 768,
    "num_heads": 8,
    "use_spatial_transformer": True,
    "legacy": False,
}
VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
# A kohya LoRA's names: diffusers' for the UNet, transformers' for the text encoder; (outputs, inputs) of each layer.
LORA_LAYERS = {
    "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q": (320, 320),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k": (1280, 768),
    "lora_te_text_model_encoder_layers_11_self_attn_v_proj": (768, 768),
}


def write_models(folder: Path) -> None:
    """A models folder with one checkpoint (2.1 GB), one LoRA and one ControlNet (0.7 GB)."""
    noise = Noise()
    files = {
        f"checkpoints/{CHECKPOINT}": checkpoint,
        f"loras/{LORA}": partial(lora, LORA_LAYERS),
        f"controlnet/{CONTROLNET}": control_net,
    }
    for name, tensors in files.items():
        path = folder / name
        path.parent.mkdir(parents=True)
        save_file(tensors(noise), path)


@contextmanager
def with_weights():
    """Layers have weights as soon as they are made, whatever moves them later: dynamic VRAM waits for a state dict."""
    with patch.object(comfy.memory_management, "aimdo_enabled", False):
        yield


def checkpoint(noise: "Noise") -> dict[str, torch.Tensor]:
    config = json.loads((host_path() / "comfy" / "sd1_clip_config.json").read_text())
    with with_weights(), torch.device("meta"):
        unet, vae = UNetModel(**UNET, out_channels=4), AutoencoderKL(embed_dim=4, ddconfig=VAE)
        text = CLIPTextModel(config, torch.float32, "meta", comfy.ops.disable_weight_init)
    return {
        **noise.weights(unet, "model.diffusion_model."),
        **noise.weights(text.text_model, "cond_stage_model.transformer.text_model."),
        **noise.weights(vae, "first_stage_model."),
    }


def control_net(noise: "Noise") -> dict[str, torch.Tensor]:
    with with_weights(), torch.device("meta"):
        network = ControlNet(**UNET, hint_channels=3)
    return noise.weights(network)


def lora(layers: dict[str, tuple[int, int]], noise: "Noise", rank: int = 4) -> dict[str, torch.Tensor]:
    """A LoRA file's tensors for these layers, by name (outputs, inputs)."""
    shapes = {
        f"{name}.lora_{half}.weight": shape
        for name, (outputs, inputs) in layers.items()
        for half, shape in (("up", (outputs, rank)), ("down", (rank, inputs)))
    }
    return {name: noise.weight(shape) for name, shape in shapes.items()}


class Noise:
    """Normal values from one pool, since drawing a billion of them takes long."""

    def __init__(self, seed: int = 0, values: int = 2**26):
        self.generator = torch.Generator().manual_seed(seed)
        self.pool = torch.randn(values, generator=self.generator).half()

    def weight(self, shape) -> torch.Tensor:
        """Half precision, standard deviation 1 / sqrt(inputs)."""
        outputs, *inputs = shape
        fan_in = torch.Size(inputs).numel()
        start = torch.randint(len(self.pool) - outputs * fan_in, (), generator=self.generator)
        return self.pool[start : start + outputs * fan_in].reshape(shape) / fan_in**0.5

    def weights(self, module: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
        """A state dict of a module on the meta device; norms and biases change nothing."""

        def values(name, shape):
            if len(shape) > 1:
                return self.weight(shape)
            return torch.full(shape, float(name.endswith("weight")), dtype=torch.float16)

        return {prefix + name: values(name, tensor.shape) for name, tensor in module.state_dict().items()}
