"""Tiny Wan models of the host's own architecture, and a world of moving shapes that one of them learns.

A caption names a colour and a shape; both decide a pattern of latent channels on a square that moves over a background.
"""

import io
from functools import cache
from itertools import count
from unittest.mock import patch

import comfy.latent_formats
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models as supported
import comfy.text_encoders.wan as wan_text
import sentencepiece
import torch
from comfy.ldm.wan.model import WanModel
from comfy.supported_models_base import ClipTarget
from comfyui_videop2p.tests.host.checkpoints import with_weights

WIDTH = 32  # of the text
SIZES = {"dim": 64, "ffn_dim": 128, "freq_dim": 32, "text_dim": WIDTH, "num_heads": 4, "num_layers": 4}
CLASSES = {
    "t2v": (supported.WAN21_T2V, {"model_type": "t2v", "in_dim": 16, "out_dim": 16}),
    "i2v": (supported.WAN21_I2V, {"model_type": "i2v", "in_dim": 36, "out_dim": 16}),
    "2.2 i2v": (supported.WAN21_T2V, {"model_type": "t2v", "in_dim": 36, "out_dim": 16}),
    "2.2 5b": (supported.WAN22_T2V, {"model_type": "t2v", "in_dim": 48, "out_dim": 48}),
    "vace": (supported.WAN21_Vace, {"model_type": "vace", "in_dim": 16, "out_dim": 16}),
    "fun control": (supported.WAN21_FunControl2V, {"model_type": "i2v", "in_dim": 48, "out_dim": 16}),
    "2.2 fun control": (supported.WAN21_T2V, {"model_type": "t2v", "in_dim": 52, "out_dim": 16, "in_dim_ref_conv": 16}),
    "camera": (supported.WAN21_Camera, {"model_type": "camera", "in_dim": 32, "out_dim": 16}),
    "2.2 camera": (supported.WAN22_Camera, {"model_type": "camera_2.2", "in_dim": 36, "out_dim": 16}),
    "humo": (supported.WAN21_HuMo, {"model_type": "humo", "in_dim": 16, "out_dim": 16}),
    "humo 17b": (supported.WAN21_HuMo, {"model_type": "humo", "in_dim": 36, "out_dim": 16}),
    "s2v": (
        supported.WAN22_S2V,
        {"model_type": "s2v", "in_dim": 16, "out_dim": 16, "audio_dim": 24, "audio_inject_layers": [0, 1]},
    ),
    "animate": (supported.WAN22_Animate, {"model_type": "animate", "in_dim": 36, "out_dim": 16}),
    "scail": (supported.WAN21_SCAIL, {"model_type": "scail", "in_dim": 20, "out_dim": 16}),
    "scail 2": (supported.WAN21_SCAIL2, {"model_type": "scail2", "in_dim": 20, "out_dim": 16}),
    "dancer": (
        supported.WAN22_WanDancer,
        {"model_type": "wandancer", "in_dim": 36, "out_dim": 16, "audio_inject_layers": [0], "music_latent_dim": 256},
    ),
    "causal": (supported.WAN21_CausalAR_T2V, {"model_type": "t2v", "in_dim": 16, "out_dim": 16, "causal_ar": True}),
    "flow rvs": (supported.WAN21_FlowRVS, {"model_type": "flow_rvs", "in_dim": 16, "out_dim": 16}),
}
VACE = {"vace_layers": 2, "vace_in_dim": 96}


def tiny_wan(kind="t2v", seed=0, **sizes):
    """A MODEL with random weights."""
    config_class, settings = CLASSES[kind]
    unet_config = {"image_model": "wan2.1", **SIZES, **settings, **(VACE if kind == "vace" else {}), **sizes}
    config = config_class(dict(unet_config))
    device = comfy.model_management.unet_offload_device()
    config.set_inference_dtype(torch.float32, None)
    with with_weights():
        model = config.get_model({}, "", device)
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.diffusion_model.named_parameters():
        if name.endswith(("norm_q.weight", "norm_k.weight", "norm3.weight")):
            value = torch.ones(parameter.shape)
        elif parameter.ndim > 1 and "modulation" not in name:
            value = torch.randn(parameter.shape, generator=generator) / parameter[0].numel() ** 0.5
        else:
            value = 0.02 * torch.randn(parameter.shape, generator=generator)
        parameter.data = value
    model.diffusion_model.requires_grad_(False)
    return comfy.model_patcher.CoreModelPatcher(model, comfy.model_management.get_torch_device(), device)


def loaded_wan(eight_bits, dtype=None, seed=0):
    """A small MODEL from a file's weights by the host's own loader: in half precision, or in 8 bits with scales.

    dtype: to load it in, as the input weight_dtype of Load Diffusion Model has it.
    """
    sizes = {"dim": 128, "ffn_dim": 256, "num_heads": 1, "num_layers": 2}
    made = {"operations": comfy.ops.disable_weight_init, "dtype": torch.float16, "device": "cpu"}
    with with_weights():
        network = WanModel(**CLASSES["t2v"][1], **sizes, text_dim=4096, freq_dim=256, **made)
    generator, tensors = torch.Generator().manual_seed(seed), {}
    for name, value in network.state_dict().items():
        weight = torch.randn(value.shape, generator=generator) / max(value[0].numel(), 50) ** 0.5
        if eight_bits and name.startswith("blocks") and weight.ndim == 2 and "norm" not in name:
            scale = weight.abs().max() / 448  # the largest number of the format
            tensors[name.replace(".weight", ".scale_weight")] = scale
            tensors[name] = (weight / scale).to(torch.float8_e4m3fn)
        else:
            tensors[name] = weight.half()
    if eight_bits:
        tensors["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    return comfy.sd.load_diffusion_model_state_dict(tensors, model_options={} if dtype is None else {"dtype": dtype})


COLOURS, SHAPES, GROUNDS = ("red", "blue"), ("ball", "star"), ("sand", "grass")
CAPTIONS = [f"a {colour} {shape} on {ground}" for colour in COLOURS for shape in SHAPES for ground in GROUNDS]


@cache
def tiny_text(length=512):
    """A CLIP with the host's UMT5 at a small width and a vocabulary of its own; prompts are padded to `length`."""
    written = io.BytesIO()
    sentences = [*CAPTIONS, "a very big red ball on sand", "sand on a star", "a star on sand"] * 8
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=written, vocab_size=60, pad_id=0, eos_id=1, unk_id=2, bos_id=-1,
        hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    spiece = torch.frombuffer(bytearray(written.getvalue()), dtype=torch.uint8)
    config = {
        "d_ff": 64, "d_kv": 16, "d_model": WIDTH, "num_heads": 2, "num_layers": 1, "dense_act_fn": "gelu_pytorch_tanh",
        "is_gated_act": True, "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32, "vocab_size": 80,
        "eos_token_id": 1, "pad_token_id": 0, "model_type": "umt5",
    }  # fmt: skip
    with with_weights():
        clip = comfy.sd.CLIP(
            ClipTarget(wan_text.WanT5Tokenizer, wan_text.te()), tokenizer_data={"spiece_model": spiece},
            model_options={"umt5xxl_model_config": config},
        )  # fmt: skip
    getattr(clip.tokenizer, clip.tokenizer.clip).min_length = length
    generator = torch.Generator().manual_seed(1)
    for name, parameter in clip.cond_stage_model.named_parameters():
        if parameter.ndim < 2:  # a norm's, or CLIP's scale
            parameter.data = torch.ones_like(parameter)
        else:
            # A text encoder that learnt nothing would only blur its words into each other.
            scale = 1.0 if "shared" in name else 0.1 * parameter.shape[-1] ** -0.5
            parameter.data = scale * torch.randn(parameter.shape, generator=generator)
    return clip


FRAMES, SIDE, SQUARE, PATCH = 2, 12, 4, 2
SHORT = 20  # tokens of its captions


def clip_of(caption, seed):
    """(z at the model's scale [16, FRAMES, SIDE, SIDE], where the shape is [FRAMES, SIDE, SIDE])."""
    _, colour, shape, _, ground = caption.split()
    signs = {"red": 1.0, "blue": -1.0, "ball": 1.0, "star": -1.0, "sand": 1.0, "grass": -1.0}
    generator = torch.Generator().manual_seed(seed)
    even = torch.arange(16).view(16, 1, 1, 1) % 2 - 0.5
    z = (signs[ground] * even).expand(16, FRAMES, SIDE, SIDE).clone()
    where = torch.zeros(FRAMES, SIDE, SIDE)
    places = (SIDE - SQUARE) // PATCH - FRAMES + 2
    row, column = (int(torch.randint(0, places, (), generator=generator)) for _ in range(2))
    for frame in range(FRAMES):
        place = tuple(slice(PATCH * (at + frame), PATCH * (at + frame) + SQUARE) for at in (row, column))
        where[(frame, *place)] = 1
        z[(slice(0, 8), frame, *place)] = 1.5 * signs[colour]
        z[(slice(8, 16), frame, *place)] = 1.5 * signs[shape]
    return z, where


def learnt(steps=800, seed=0):
    """A tiny Wan that has learnt the world: [velocity at random levels, Adam]."""
    model, text = tiny_wan(seed=seed), tiny_text(SHORT)
    network = model.model.diffusion_model
    contexts = {caption: text.encode_from_tokens_scheduled(text.tokenize(caption))[0][0] for caption in CAPTIONS}
    contexts[""] = text.encode_from_tokens_scheduled(text.tokenize(""))[0][0]
    generator = torch.Generator().manual_seed(seed)
    network.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    seeds = count(1000)
    # As the host's own trainer asks for kernels with gradients.
    with patch.object(comfy.model_management, "in_training", True), torch.enable_grad():
        for _ in range(steps):
            captions = [CAPTIONS[int(torch.randint(0, len(CAPTIONS), (), generator=generator))] for _ in range(8)]
            z = torch.stack([clip_of(caption, next(seeds))[0] for caption in captions])
            told = [caption if torch.rand((), generator=generator) > 0.1 else "" for caption in captions]
            context = torch.cat([contexts[caption] for caption in told])
            # The model's own levels lie mostly in the noise (shift 8).
            sigma = torch.rand(len(z), generator=generator)
            sigma = 3 * sigma / (1 + 2 * sigma)
            noise = torch.randn(z.shape, generator=generator)
            at = sigma.view(-1, 1, 1, 1, 1)
            velocity = network((1 - at) * z + at * noise, 1000 * sigma, context)
            loss = (velocity - (noise - z)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    network.requires_grad_(False)
    return model
