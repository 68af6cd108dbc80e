"""Checkpoints of the official Video-P2P and Tune-A-Video, in the layout of the diffusers library.

They hold a whole UNet: the names and shapes of diffusers' UNet2DConditionModel, and in each transformer block
`attn_temp` and `norm_temp` beside them (arXiv 2303.04761, section 3.1; arXiv 2212.11565). Names of our own are those of
the host's UNet.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from torch import Tensor

from ..diffusion.tuning import Tuning, is_temporal, trained_names
from .artifacts import DTYPES

PREFIXES = ("model.diffusion_model.", "diffusion_model.", "unet.")  # of a UNet's names in files of more than a UNet
WEIGHTS = "diffusion_pytorch_model"
TOLERANCE = 2**-8  # rounding to half precision, bfloat16 included, moves a weight by half of this at most
SMALL = 1e-5  # root mean square below which weights lose more than that in half precision


class ForeignError(ValueError):
    """A checkpoint that cannot be taken; the message is a sentence that lacks its subject, the file."""


_BLOCK_OF = re.compile(r"^(.*\.transformer_blocks\.\d+)\.")
_WEIGHT_FILE = re.compile(rf"^{WEIGHTS}(-\d+-of-\d+)?\.(safetensors|bin)$")


# --- files ------------------------------------------------------------------------------------------------------------


def weight_files(names: Iterable[str]) -> list[str]:
    """Those of a UNet folder's files that hold its weights: one file or its parts, safetensors where there are any."""
    weights = sorted(name for name in names if _WEIGHT_FILE.match(name))
    for ending in (".safetensors", ".bin"):
        whole, parts = f"{WEIGHTS}{ending}", [name for name in weights if name.endswith(ending)]
        if parts:
            return [whole] if whole in parts else parts
    return []


def checkpoint_folders(files: Iterable[str]) -> list[str]:
    """The folders among relative paths of files that hold a UNet: a pipeline's, which has it in `unet`, or its own."""
    holders = {path.parent for path in map(PurePath, files) if _WEIGHT_FILE.match(path.name)}
    holders = {path for path in holders if path.parts and not any(part.startswith(".") for part in path.parts)}
    pipelines = {path.parent for path in holders if path.name == "unet" and path.parent.parts}
    alone = {path for path in holders if not pipelines & set(path.parents)}
    return sorted(map(str, pipelines | alone))


# --- names ------------------------------------------------------------------------------------------------------------


def names_of(image_names: Mapping[str, str], own_names: Collection[str]) -> dict[str, str]:
    """{diffusers name: own name} of all weights, from that of an image UNet; names that are not our own are left out.

    image_names may name what the UNet has not; own_names are the UNet's and its temporal layers'.
    """
    names = {diffusers_name: name for diffusers_name, name in image_names.items() if name in own_names}
    blocks = {_block_of(name): _block_of(diffusers_name) for diffusers_name, name in names.items() if _block_of(name)}
    for name in filter(is_temporal, own_names):
        block = _block_of(name)
        names[blocks[block] + name.removeprefix(block)] = name
    return names


def _block_of(name: str) -> str:
    """The transformer block that a weight is of, nothing where it is of none."""
    match = _BLOCK_OF.match(name)
    return match[1] if match else ""


def by_own_names(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], shapes: Mapping[str, Any]
) -> dict[str, Tensor]:
    """A checkpoint's tensors by our own names, whichever it goes by. names: from names_of; shapes: by our own.

    Temporal layers may be absent altogether, nothing else may, nor be there beside: a ForeignError says what is.
    """
    prefix = next((prefix for prefix in PREFIXES if any(name.startswith(prefix) for name in tensors)), "")
    tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    if not tensors:
        raise ForeignError("holds no weight at all: copy it anew")
    table = dict(names) | {name: name for name in names.values()}
    strange = [name for name in tensors if name not in table]
    if len(strange) == len(tensors):
        raise ForeignError(f"holds no weight of this model's UNet, but {_few(strange)}: choose a checkpoint of a UNet")
    if strange:
        raise ForeignError(
            f"holds what this model's UNet has not, {_few(strange)}: connect the base model that it was tuned on"
        )
    renamed = {table[name]: tensor for name, tensor in tensors.items()}
    temporal = any(map(is_temporal, renamed))
    lacking = [
        diffusers_name
        for diffusers_name, name in names.items()
        if name not in renamed and (temporal or not is_temporal(name))
    ]
    if lacking:
        raise ForeignError(f"lacks {_few(lacking)}: a whole UNet is needed, copy it anew")
    other = [f"{name} {renamed[name].dtype}" for name in renamed if renamed[name].dtype not in DTYPES]
    if other:
        raise ForeignError(
            f"holds weights of a kind that loses too much, {_few(other)}: get it in half precision or better"
        )
    misshapen = [f"{name} {list(renamed[name].shape)}" for name in renamed if renamed[name].shape != shapes[name]]
    if misshapen:
        raise ForeignError(
            f"is of a UNet of another size, with {_few(misshapen)}: connect the base model that it was tuned on"
        )
    return renamed


def _few(names: Sequence[str], shown: int = 3) -> str:
    beyond = len(names) - shown
    return ", ".join(f"{name:.100}" for name in names[:shown]) + (f" and {beyond} more" if beyond > 0 else "")


# --- what tuning changed ----------------------------------------------------------------------------------------------


def difference(actual: Tensor, expected: Tensor) -> float:
    """||actual - expected|| / ||expected||, in float32; a weight of nothing counts as one of SMALL."""
    scale = expected.float().norm().clamp(min=SMALL * expected.numel() ** 0.5)
    return ((actual.float() - expected.float()).norm() / scale).item()


def differing(tuned: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> dict[str, float]:
    """{name: difference} of the weights that tuning leaves as they are and that differ by more than rounding."""
    trained = set(trained_names(tuned))
    untrained = [name for name in tuned if name not in trained and not is_temporal(name)]
    differences = {name: difference(tuned[name], base[name]) for name in untrained}
    return {name: value for name, value in differences.items() if not value <= TOLERANCE}


def tuning_between(base: Mapping[str, Tensor], tuned: Mapping[str, Tensor]) -> Tuning:
    """What changed from our own weights to tuned ones, both by our own names. How it was tuned is not known."""
    trained = [name for name in trained_names(tuned) if not is_temporal(name)]
    deltas = {name: tuned[name].float() - base[name].float() for name in trained}
    return Tuning(
        # What the official training froze is the same.
        deltas={name: delta for name, delta in deltas.items() if delta.any()},
        # Copied: a file that is mapped may be written over.
        temporal={name: tensor.to(torch.float32, copy=True) for name, tensor in tuned.items() if is_temporal(name)},
        losses=torch.zeros(0),
        grad_norms=torch.zeros(0),
        learning_rate=0.0,
    )


# --- the UNet's configuration -----------------------------------------------------------------------------------------


def unet_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The official UNet3DConditionModel's configuration for the host's, of a UNet in the Stable Diffusion 1.x or 2.x
    layout; whether it is one is for `image_config` and the diffusers library to tell."""
    widths = [config["model_channels"] * factor for factor in config["channel_mult"]]
    layers, levels = config["num_res_blocks"][0], len(widths)
    attended = [config["transformer_depth"][level * layers] > 0 for level in range(levels)]
    down = ["CrossAttnDownBlock3D" if attends else "DownBlock3D" for attends in attended]
    up = ["CrossAttnUpBlock3D" if attends else "UpBlock3D" for attends in reversed(attended)]
    heads, head_channels = config["num_heads"], config["num_head_channels"]
    return {
        "_class_name": "UNet3DConditionModel",
        "_diffusers_version": "0.11.1",  # of the official requirements
        "act_fn": "silu",
        # Whatever its name says, a number of heads.
        "attention_head_dim": heads if heads != -1 else [width // head_channels for width in widths],
        "block_out_channels": widths,
        "center_input_sample": False,
        "cross_attention_dim": config["context_dim"],
        "down_block_types": down,
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": config["in_channels"],
        "layers_per_block": layers,
        "mid_block_scale_factor": 1,
        "mid_block_type": "UNetMidBlock3DCrossAttn",
        "norm_eps": 1e-05,
        "norm_num_groups": 32,
        "out_channels": config["out_channels"],
        "sample_size": 64,
        "up_block_types": up,
        "use_linear_projection": config["use_linear_in_transformer"],
    }


def image_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The same of diffusers' UNet2DConditionModel, which has all weights but the temporal layers'."""

    def image(value: Any) -> Any:
        if isinstance(value, list):
            return [image(item) for item in value]
        return value.replace("3D", "2D") if isinstance(value, str) else value

    return {key: image(value) for key, value in config.items()}
