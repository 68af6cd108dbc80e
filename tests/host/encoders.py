"""Small text encoders with random weights behind the host's own tokenizers, one for each way to make an embedding."""

import io

import comfy.sd
import comfy.text_encoders.flux as flux
import comfy.text_encoders.hunyuan_video as hunyuan_video
import comfy.text_encoders.lumina2 as lumina2
import comfy.text_encoders.qwen_image as qwen_image
import comfy.text_encoders.sd3_clip as sd3_clip
import comfy.text_encoders.z_image as z_image
import sentencepiece
import torch
from comfy.supported_models_base import ClipTarget
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.tests.host.models import TEXT, fill, tiny_clip
from comfyui_videop2p.tests.host.wan import tiny_text

LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
}
T5 = {"d_ff": 32, "d_kv": 16, "d_model": 32, "num_heads": 2, "num_layers": 2}
CONFIGS = {
    **{f"clip_{letter}_model_config": TEXT for letter in "lg"},
    "t5xxl_model_config": T5, "qwen25_7b_model_config": LLAMA, "qwen3_4b_model_config": LLAMA,
    "llama_model_config": LLAMA, "gemma2_2b_model_config": LLAMA,
}  # fmt: skip


def _gemma():
    written = io.BytesIO()
    sentences = ["a red rabbit on the beach", "a blue star in the snow", "<unused> cat", "grün"] * 8
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=50, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    return torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8)


MADE = {
    "sd15": lambda: tiny_clip("sd15"),
    "sdxl": lambda: tiny_clip("sdxl"),
    "wan": tiny_text,
    "flux": lambda: made(flux.FluxTokenizer, flux.flux_clip()),
    "sd3": lambda: made(sd3_clip.SD3Tokenizer, sd3_clip.sd3_clip(), {"t5xxl_model_config": T5 | {"d_model": 4096}}),
    "sd3 without t5": lambda: made(sd3_clip.SD3Tokenizer, sd3_clip.sd3_clip(t5=False)),
    "sd3 of t5": lambda: made(sd3_clip.SD3Tokenizer, sd3_clip.sd3_clip(clip_l=False, clip_g=False)),
    "qwen-image": lambda: made(qwen_image.QwenImageTokenizer, qwen_image.te()),
    "z-image": lambda: made(z_image.ZImageTokenizer, z_image.te()),
    "hunyuan": lambda: made(hunyuan_video.HunyuanVideoTokenizer, hunyuan_video.hunyuan_video_clip()),
    "lumina2": lambda: made(lumina2.LuminaTokenizer, lumina2.te(), spiece_model=_gemma()),
}


def made(tokenizer, encoder, configs=None, **tokenizer_data):
    configs = CONFIGS | (configs or {})
    with with_weights():
        clip = comfy.sd.CLIP(ClipTarget(tokenizer, encoder), tokenizer_data=tokenizer_data, model_options=configs)
    fill(clip.cond_stage_model)
    return clip
