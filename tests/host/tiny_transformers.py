"""Small transformers of the host's own architectures with random weights, which look at a text of random numbers.

Weights are scaled so that every layer gives about what it is given, zeros of a beginning training among them.
"""

from dataclasses import dataclass

import comfy.model_management
import comfy.model_patcher
import comfy.supported_models as supported
import torch
from comfy.nested_tensor import NestedTensor
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.tests.host.models import SD15

TOKENS, HEADS = 12, 2


@dataclass(frozen=True)
class Kind:
    """config: of the host's supported models; settings: of its network; text: channels; latent: without the batch;
    pooled: channels of what is read beside the text, 0 for nothing; masked: whether the last tokens are padding;
    sound: a latent of its own beside the clip's."""

    config: type
    settings: dict
    text: int
    latent: tuple[int, ...]
    pooled: int = 0
    masked: bool = False
    sound: tuple[int, ...] = ()


FLUX = {
    "in_channels": 16, "out_channels": 16, "context_in_dim": 24, "hidden_size": 32, "mlp_ratio": 2.0,
    "num_heads": HEADS, "depth": 2, "depth_single_blocks": 2, "axes_dim": [4, 6, 6], "theta": 10000,
    "patch_size": 2, "qkv_bias": True,
    "guidance_embed": True, "vec_in_dim": 20, "txt_ids_dims": [],
}  # fmt: skip
HUNYUAN = {name: value for name, value in FLUX.items() if name != "txt_ids_dims"} | {
    "patch_size": [1, 2, 2], "theta": 256, "byt5": False, "meanflow": False, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow_sum": False,
}  # fmt: skip
LUMINA = {
    "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 4, "n_kv_heads": 2, "cap_feat_dim": 24, "qk_norm": True,
    "in_channels": 16, "axes_dims": [4, 2, 2], "axes_lens": [64, 64, 64], "multiple_of": 8,
}  # fmt: skip
KINDS = {
    "sd15": Kind(supported.SD15, SD15, 768, (4, 8, 8)),
    "flux": Kind(supported.Flux, {"image_model": "flux", **FLUX}, 24, (16, 8, 6), 20),
    "chroma": Kind(
        supported.Chroma,
        {
            **{name: value for name, value in FLUX.items() if name != "guidance_embed"}, "image_model": "chroma",
            "in_channels": 64, "out_channels": 64, "in_dim": 64, "out_dim": 32, "hidden_dim": 32, "n_layers": 1,
        },
        24, (16, 8, 6),
    ),
    "sd3": Kind(
        supported.SD3,
        {
            "in_channels": 16, "depth": 2, "pos_embed_max_size": 16, "adm_in_channels": 20,
            "num_patches": 256, "qk_norm": "rms", "x_block_self_attn_layers": [0], "pos_embed_scaling_factor": None,
            "context_embedder_config": {
                "target": "torch.nn.Linear", "params": {"in_features": 24, "out_features": 128},
            },
        },
        24, (16, 8, 6), 20,
    ),
    "qwen-image": Kind(
        supported.QwenImage,
        {
            "image_model": "qwen_image", "in_channels": 64, "num_layers": 2, "attention_head_dim": 16,
            "num_attention_heads": HEADS, "joint_attention_dim": 24, "axes_dims_rope": (4, 6, 6),
        },
        24, (16, 1, 8, 6), masked=True,
    ),
    "lumina2": Kind(supported.Lumina2, {"image_model": "lumina2", **LUMINA}, 24, (16, 8, 6)),
    "z-image": Kind(
        supported.ZImage,
        {
            "image_model": "lumina2", **LUMINA, "dim": 256, "n_heads": 16, "n_kv_heads": 16, "axes_dims": [4, 6, 6],
            "pad_tokens_multiple": 8, "z_image_modulation": True, "time_scale": 1000.0,
        },
        24, (16, 8, 6),
    ),
    "hunyuan": Kind(supported.HunyuanVideo, {"image_model": "hunyuan_video", **HUNYUAN}, 24, (16, 2, 8, 6), 20),
    "ltxv": Kind(
        supported.LTXV,
        {
            "image_model": "ltxv", "cross_attention_dim": 32, "attention_head_dim": 16, "num_attention_heads": HEADS,
            "caption_channels": 24, "num_layers": 2,
        },
        24, (128, 2, 4, 3), masked=True,
    ),
    "ltxav": Kind(
        supported.LTXAV,
        {
            "image_model": "ltxav", "cross_attention_dim": 32, "attention_head_dim": 16, "num_attention_heads": HEADS,
            "audio_cross_attention_dim": 32, "audio_attention_head_dim": 16, "audio_num_attention_heads": HEADS,
            "caption_channels": 32, "num_layers": 2, "connector_attention_head_dim": 16,
            "connector_num_attention_heads": HEADS, "connector_num_layers": 1, "apply_gated_attention": True,
        },
        32, (128, 2, 4, 3), sound=(8, 5, 16),
    ),
    "cosmos": Kind(
        supported.CosmosT2IPredict2,
        {
            "image_model": "cosmos_predict2", "max_img_h": 32, "max_img_w": 32, "max_frames": 8, "in_channels": 16,
            "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1, "model_channels": 32, "num_blocks": 2,
            "num_heads": HEADS, "crossattn_emb_channels": 24, "pos_emb_cls": "rope3d", "use_adaln_lora": True,
            "adaln_lora_dim": 16,
        },
        24, (16, 1, 8, 6),
    ),
    "kandinsky5": Kind(
        supported.Kandinsky5,
        {
            "image_model": "kandinsky5", "in_visual_dim": 16, "out_visual_dim": 16, "in_text_dim": 24,
            "in_text_dim2": 20, "time_dim": 32, "model_dim": 32, "ff_dim": 64, "visual_embed_dim": 132,
            "num_text_blocks": 1, "num_visual_blocks": 2, "axes_dims": (4, 6, 6),
        },
        24, (16, 2, 8, 6), 20,
    ),
    "wan": Kind(
        supported.WAN21_T2V,
        {
            "image_model": "wan2.1", "model_type": "t2v", "in_dim": 16, "out_dim": 16, "dim": 64, "ffn_dim": 64,
            "freq_dim": 32, "text_dim": 24, "num_heads": 4, "num_layers": 2,
        },
        24, (16, 2, 8, 6),
    ),
}  # fmt: skip


def tiny_transformer(kind, dtype=torch.float32, seed=0):
    """A MODEL with random weights."""
    made = KINDS[kind]
    config = made.config(dict(made.settings))
    config.set_inference_dtype(dtype, None)
    device = comfy.model_management.unet_offload_device()
    with with_weights():
        model = config.get_model({}, "", device)
    generator = torch.Generator().manual_seed(seed)
    network = model.diffusion_model
    for name, parameter in [*network.named_parameters(), *network.named_buffers()]:
        if parameter.ndim > 1:
            scale = parameter[0].numel() ** -0.5
            value = scale * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        elif "norm" in name and name.endswith("weight"):
            value = torch.ones(parameter.shape)
        else:
            value = 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.data = value.to(parameter.dtype)
    network.requires_grad_(False)
    return comfy.model_patcher.ModelPatcher(model, comfy.model_management.get_torch_device(), device)


def random_text(kind, seed=0):
    """A CONDITIONING of random numbers."""
    made, generator = KINDS[kind], torch.Generator().manual_seed(seed)
    embedding = torch.randn(1, TOKENS, made.text, generator=generator)
    options = {"pooled_output": torch.randn(1, made.pooled, generator=generator)} if made.pooled else {}
    if made.masked:
        options["attention_mask"] = (torch.arange(TOKENS) < TOKENS - 3).long()[None]
    if made.sound:
        options["unprocessed_ltxav_embeds"] = True
    return [[embedding, options]]


def random_latent(kind, seed=0):
    made, generator = KINDS[kind], torch.Generator().manual_seed(seed)
    latents = [torch.randn(1, *shape, generator=generator) for shape in (made.latent, made.sound) if shape]
    return NestedTensor(latents) if made.sound else latents[0]
