"""The demo model on the host's own classes: SD1.x architecture, CLIP's tokenizer and 77 tokens, TAESD's VAE, all small.

The file's text encoder holds only the token rows that its vocabulary uses; they are scattered into the full table here.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.utils
import torch
from comfy import model_management, model_patcher, sd1_clip, supported_models, supported_models_base
from comfy_api.latest import InputImpl
from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete
from safetensors import SafetensorError, safe_open

from ..edit.curves import KeyFrames
from .demo_vocabulary import DEMO, DEMO_FILE, TOKEN_ROWS, never_learnt, unknown_words

UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [0, 1, 1, 1, 0, 0],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [0, 0, 1, 1, 1, 1, 0, 0, 0],
    "context_dim": 128,
    "num_heads": 2,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "use_checkpoint": False,
    "legacy": False,
    "adm_in_channels": None,
}
TEXT = {
    "num_hidden_layers": 2,
    "hidden_size": 128,
    "num_attention_heads": 4,
    "intermediate_size": 512,
    "hidden_act": "quick_gelu",
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}
UNET_PREFIX, TEXT_PREFIX, VAE_PREFIX = "model.diffusion_model.", "cond_stage_model.", "first_stage_model."
TOKEN_TABLE = "transformer.text_model.embeddings.token_embedding.weight"
DEMO_LCM_FILE = DEMO / "videop2p_demo_lcm.safetensors"
DEMO_CLIPS = DEMO / "clips"
FIRST_CLIP = "a red rabbit on the beach"


class DemoSD15(supported_models.SD15):
    """SD1.x with a head count of its own."""

    unet_extra_config = {"num_heads": UNET["num_heads"], "num_head_channels": -1}
    # Strong where a thing is formed, weak where it is drawn.
    edit_guidance = KeyFrames(((0.0, 5.0), (0.299, 5.0), (0.3, 2.5)))


class LearntWords(sd1_clip.CLIPTokenizer):
    """CLIP's tokenizer of words, for a model that learnt a few: others are refused by name, whoever reads a prompt's
    markup. `known_tokens` and `vocabulary` come from the model's file."""

    known_tokens: frozenset[int]
    vocabulary: list[str]

    def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
        tokens_of = super().__call__
        for part in [text] if isinstance(text, str) else text or ():
            unknown = unknown_words(part, self.known_tokens, lambda word: tokens_of(word)["input_ids"])
            if unknown:
                raise ValueError(never_learnt(unknown[0], self.vocabulary))
        return tokens_of(text, *args, **kwargs)


def demo_tokenizer(known_tokens: frozenset[int], vocabulary: list[str], **kwargs: Any) -> sd1_clip.SD1Tokenizer:
    """The host's tokenizer of SD1.x, on LearntWords."""
    words = type("LearntWords", (LearntWords,), {"known_tokens": known_tokens, "vocabulary": vocabulary})
    return sd1_clip.SD1Tokenizer(tokenizer=partial(sd1_clip.SDTokenizer, tokenizer_class=words), **kwargs)


def read_demo_file(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(tensors, metadata) of a demo model's file. A ValueError says when it is not one."""
    try:
        with safe_open(path, "pt") as file:
            tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"the demo model '{Path(path).name}' cannot be read ({error}); restore it from the repository"
        ) from error
    if TOKEN_ROWS not in tensors or "vocabulary" not in metadata:
        raise ValueError(f"'{Path(path).name}' is not a demo model of this pack: it names no vocabulary")
    return tensors, metadata


def with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, under the rest of their names."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def load_unet(path: str | Path = DEMO_FILE, disable_dynamic: bool = False) -> model_patcher.ModelPatcher:
    """The demo UNet as a MODEL."""
    tensors, metadata = read_demo_file(path)
    config = DemoSD15(json.loads(metadata["unet"]))
    load_device = model_management.get_torch_device()
    dtype = model_management.unet_dtype(supported_dtypes=list(config.supported_inference_dtypes))
    manual_cast = model_management.unet_manual_cast(dtype, load_device, config.supported_inference_dtypes)
    config.set_inference_dtype(dtype, manual_cast, device=load_device)
    model = config.get_model({}, "", model_management.unet_offload_device())
    model.diffusion_model.load_state_dict(with_prefix(tensors, UNET_PREFIX))
    kind = model_patcher.ModelPatcher if disable_dynamic else model_patcher.CoreModelPatcher
    patcher = kind(model, load_device=load_device, offload_device=model_management.unet_offload_device())
    patcher.cached_patcher_init = (load_unet, (path,))
    return patcher


def load_text_encoder(path: str | Path = DEMO_FILE) -> comfy.sd.CLIP:
    """The demo text encoder as a CLIP."""
    tensors, metadata = read_demo_file(path)
    rows, config = tensors[TOKEN_ROWS].tolist(), json.loads(metadata["text"])
    text = with_prefix(tensors, TEXT_PREFIX)
    table = torch.zeros(sd1_clip.SDTokenizer().tokenizer.vocab_size, config["hidden_size"], dtype=torch.float16)
    table[rows] = text[TOKEN_TABLE]
    tokenizer = partial(demo_tokenizer, frozenset(rows), json.loads(metadata["vocabulary"]))
    return comfy.sd.CLIP(
        supported_models_base.ClipTarget(tokenizer, sd1_clip.SD1ClipModel),
        model_options={"clip_l_model_config": config},
        state_dict={f"clip_l.{name}": tensor for name, tensor in {**text, TOKEN_TABLE: table}.items()},
    )


def load_demo_model(path: str | Path = DEMO_FILE) -> tuple[model_patcher.ModelPatcher, comfy.sd.CLIP, comfy.sd.VAE]:
    """MODEL, CLIP and VAE of the demo world, as CheckpointLoaderSimple gives them for a checkpoint."""
    tensors, metadata = read_demo_file(path)
    return (
        load_unet(path),
        load_text_encoder(path),
        comfy.sd.VAE(sd=with_prefix(tensors, VAE_PREFIX), metadata=metadata),
    )


def as_distilled(model: model_patcher.ModelPatcher, file: Path = DEMO_LCM_FILE) -> model_patcher.ModelPatcher:
    """A demo MODEL under its latent consistency LoRA (arXiv 2311.05556): it draws in 4 steps, without guidance."""
    lora = comfy.utils.load_torch_file(str(file), safe_load=True)
    model, _ = comfy.sd.load_lora_for_models(model, None, lora, 1.0, 0.0)
    (model,) = ModelSamplingDiscrete().patch(model, "lcm", zsnr=False)
    return model


def demo_clips() -> list[str]:
    """The captions of the demo clips."""
    return sorted(file.stem.replace("_", " ") for file in DEMO_CLIPS.glob("*.mp4"))


def clip_file(caption: str) -> Path:
    """The file of a demo clip, which its caption names with _ for a space."""
    return DEMO_CLIPS / f"{caption.replace(' ', '_')}.mp4"


def load_demo_clip(caption: str) -> InputImpl.VideoFromFile:
    """A demo clip as a VIDEO, as Load Video gives one."""
    return InputImpl.VideoFromFile(str(clip_file(caption)))
