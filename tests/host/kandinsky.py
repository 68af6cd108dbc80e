"""A tiny Kandinsky 5 of the host's own architecture, with small ones of both its text encoders."""

from functools import cache
from unittest.mock import patch

import comfy.sd
import comfy.supported_models as supported
import comfy.text_encoders.kandinsky5 as kandinsky
import comfy.text_encoders.qwen_vl as qwen_vl
from comfy.supported_models_base import ClipTarget
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.tests.host.ltx import fill_text, nothing
from comfyui_videop2p.tests.host.tiny_models import built, fill

WIDTH, POOLED = 32, 16
CONFIG = {
    "image_model": "kandinsky5", "in_visual_dim": 16, "out_visual_dim": 16, "in_text_dim": WIDTH,
    "in_text_dim2": POOLED, "time_dim": 32, "model_dim": 64, "ff_dim": 128, "visual_embed_dim": 132,
    "num_text_blocks": 1, "num_visual_blocks": 4, "axes_dims": (4, 6, 6),
}  # fmt: skip
QWEN = {
    "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
CLIP_L = {"hidden_size": POOLED, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def tiny_kandinsky(seed=0, **sizes):
    """A MODEL with random weights."""
    config = supported.Kandinsky5({**CONFIG, **sizes})
    return built(config, fill, seed)


@cache
def tiny_qwen():
    """A CLIP with Kandinsky's tokenizers and its encoders at small widths."""
    options = {"qwen25_7b_model_config": QWEN, "clip_l_model_config": CLIP_L}
    with with_weights(), patch.object(qwen_vl, "Qwen2VLVisionTransformer", nothing):
        clip = comfy.sd.CLIP(ClipTarget(kandinsky.Kandinsky5Tokenizer, kandinsky.te()), model_options=options)
    fill_text(clip.cond_stage_model)
    return clip
