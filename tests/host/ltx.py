"""Tiny LTX models of the host's own architecture: LTXV with its T5, LTXAV with a Gemma and the connectors."""

import io
from functools import cache
from unittest.mock import patch

import comfy.clip_model
import comfy.model_management
import comfy.model_patcher
import comfy.sd
import comfy.supported_models as supported
import comfy.text_encoders.llama as llama
import comfy.text_encoders.lt as lt
import sentencepiece
import torch
from comfy.supported_models_base import ClipTarget
from comfyui_videop2p.tests.host.checkpoints import with_weights
from comfyui_videop2p.tests.host.tiny_models import built
from comfyui_videop2p.tests.host.wan import CAPTIONS

WIDTH = 32  # of the text
CHANNELS = 128
HEADS = {"attention_head_dim": 16, "num_attention_heads": 4, "num_layers": 4}
V = {"image_model": "ltxv", "cross_attention_dim": 64, "caption_channels": WIDTH, **HEADS}
# As LTX-2.3 is: keys and values modulated by the step, gated heads, a projection of its own for either stream.
AV = {
    "image_model": "ltxav", "cross_attention_dim": 64, "audio_cross_attention_dim": 32, **HEADS,
    "audio_attention_head_dim": 8, "audio_num_attention_heads": 4, "caption_channels": WIDTH,
    "connector_num_layers": 1,
}  # fmt: skip
AV2 = AV | {"connector_attention_head_dim": 8, "connector_num_attention_heads": 4}
AV23 = AV | {
    "cross_attention_adaln": True, "apply_gated_attention": True, "caption_proj_before_connector": True,
    "caption_projection_first_linear": False, "connector_apply_gated_attention": True,
    "connector_attention_head_dim": 16, "connector_num_attention_heads": 4, "audio_connector_attention_head_dim": 8,
}  # fmt: skip
CONFIGS = {"ltxv": (supported.LTXV, V), "ltx-2": (supported.LTXAV, AV2), "ltx-2.3": (supported.LTXAV, AV23)}


def tiny_ltx(kind="ltxv", seed=0, **sizes):
    """A MODEL with random weights."""
    config_class, settings = CONFIGS[kind]
    config = config_class({**settings, **sizes, "rope_type": "split" if kind != "ltxv" else "interleaved"})
    return built(config, fill, seed)


@torch.no_grad()
def fill(module, seed):
    """Normal weights of standard deviation 1 / sqrt(inputs); norms change nothing but that words are looked at sharply,
    what the step says is little."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        if "norm" in name and parameter.ndim == 1 and "adaln" not in name:
            parameter.fill_(3 if "attn2" in name else 1)
        elif "registers" in name:
            parameter.normal_(generator=generator)
        elif "table" in name:  # gates among it
            parameter.normal_(std=0.5, generator=generator)
        elif parameter.ndim == 1 or "adaln" in name:
            spread = 1 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.normal_(std=0.2 * spread, generator=generator)
        else:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
    module.requires_grad_(False)


@cache
def tiny_t5():
    """A CLIP with LTX-Video's tokenizer and its T5 at a small width, padded to 128 tokens and masked."""
    config = {
        "d_ff": 64, "d_kv": 16, "d_model": WIDTH, "num_heads": 2, "num_layers": 1,
    }  # fmt: skip
    with with_weights():
        clip = comfy.sd.CLIP(ClipTarget(lt.LTXVT5Tokenizer, lt.ltxv_te()), model_options={"t5xxl_model_config": config})
    fill_text(clip.cond_stage_model)
    return clip


@torch.no_grad()
def fill_text(encoder, seed=1):
    """A text encoder that learnt nothing would only blur its words into each other."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in encoder.named_parameters():
        if parameter.ndim < 2:  # a norm's, or CLIP's scale
            parameter.fill_(0 if "gemma" in name and "norm" in name else 1)
        else:
            scale = 1.0 if "shared" in name or "embed_tokens" in name else 0.1 * parameter.shape[-1] ** -0.5
            parameter.normal_(std=scale, generator=generator)


def nothing(*args, **kwargs):
    return torch.nn.Identity()


@cache
def tiny_gemma(kind="ltx-2"):
    """A CLIP as LTX-2 has it, with a small Gemma of a vocabulary of its own, padded on the left to 1024 tokens.

    kind: the projection of its layers' states, one for both streams or one for each."""
    written = io.BytesIO()
    sentences = [*CAPTIONS, "a very big red ball on sand", "sand on a star", "a star on sand"] * 8
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=60, pad_id=0, eos_id=1, bos_id=2, unk_id=3,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    spiece = torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8)
    config = {
        "vocab_size": 80, "hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1,
    }  # fmt: skip
    projection = {"ltx-2": "single_linear", "ltx-2.3": "dual_linear"}[kind]

    class Text(lt.LTXAVTEModel):
        """As the host makes it, of the small Gemma's sizes."""

        def __init__(self, device="cpu", dtype=None, model_options=None):
            torch.nn.Module.__init__(self)
            self.dtypes, self.compat_mode, self.text_projection_type = {dtype}, False, projection
            options = {**(model_options or {}), "model_name": "gemma3_12b", "gemma3_12b_model_config": config}
            self.gemma3_12b = lt.Gemma3_12BModel(device=device, dtype=dtype, model_options=options, layer="all")
            states, operations = WIDTH * 3, self.gemma3_12b.operations  # of two layers, and what goes in
            made = {"dtype": dtype, "device": device, "operations": operations}
            if projection == "single_linear":
                self.text_embedding_projection = operations.Linear(
                    states, WIDTH, bias=False, dtype=dtype, device=device
                )
            else:
                self.text_embedding_projection = lt.DualLinearProjection(states, 64, 32, **made)

    # What sees pictures is of one size, a large one.
    blind = (
        patch.multiple(llama, Gemma3MultiModalProjector=nothing),
        patch.object(comfy.clip_model, "CLIPVision", nothing),
    )
    with with_weights(), blind[0], blind[1]:
        clip = comfy.sd.CLIP(ClipTarget(lt.LTXAVGemmaTokenizer, Text), tokenizer_data={"spiece_model": spiece})
    fill_text(clip.cond_stage_model)
    return clip
