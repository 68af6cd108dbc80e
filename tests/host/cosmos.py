"""A tiny Cosmos-Predict2 of the host's own architecture, with its T5."""

from functools import cache

import comfy.sd
import comfy.supported_models as supported
import comfy.text_encoders.cosmos as cosmos
from comfy.supported_models_base import ClipTarget
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.tests.host.ltx import fill_text
from comfyui_videop2p.tests.host.tiny_models import built, fill

WIDTH = 32  # of the text
CONFIG = {
    "image_model": "cosmos_predict2", "max_img_h": 32, "max_img_w": 32, "max_frames": 8, "out_channels": 16,
    "patch_spatial": 2, "patch_temporal": 1, "model_channels": 64, "num_blocks": 4, "num_heads": 4,
    "crossattn_emb_channels": WIDTH, "pos_emb_cls": "rope3d", "use_adaln_lora": True, "adaln_lora_dim": 16,
}  # fmt: skip


def tiny_cosmos(draws_clips=True, seed=0, **sizes):
    """A MODEL with random weights."""
    made = supported.CosmosI2VPredict2 if draws_clips else supported.CosmosT2IPredict2
    config = made({**CONFIG, **sizes, "in_channels": 16 + draws_clips})
    return built(config, fill, seed)


@cache
def tiny_t5():
    """A CLIP with its tokenizer and its T5 at a small width, padded to 512 tokens."""
    config = {"d_ff": 64, "d_kv": 16, "d_model": WIDTH, "num_heads": 2, "num_layers": 1}
    with with_weights():
        clip = comfy.sd.CLIP(
            ClipTarget(cosmos.CosmosT5Tokenizer, cosmos.te()), model_options={"t5xxl_model_config": config}
        )
    fill_text(clip.cond_stage_model)
    return clip
