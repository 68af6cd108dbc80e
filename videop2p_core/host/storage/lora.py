"""The tuning of a MODEL as a LoRA file that the stock loaders take, and its temporal part, which no LoRA can hold."""

from dataclasses import replace

import comfy.model_management
from comfy.model_patcher import ModelPatcher
from comfy.utils import ProgressBar
from torch import Tensor

from ...diffusion.tuning import Tuning
from ...storage import lora
from ...storage.lora import LowRank
from ..source.tuning import tuning_of
from .official_checkpoint import Layout


def export(model: ModelPatcher, rank: int) -> tuple[dict[str, Tensor], dict[str, str], LowRank]:
    """(tensors, metadata, what is lost) of a LoRA of a tuned MODEL's deltas."""
    tuning = tuning_of(model)
    if not tuning.deltas:
        raise ValueError("the tuning is a temporal part alone: the rest of it is a LoRA already")
    bar = ProgressBar(len(tuning.deltas))

    def progress(step: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar.update_absolute(step + 1)

    factors = lora.low_rank(tuning.deltas, rank, progress)
    lora_names = {name: lora_name for lora_name, name in Layout(model).names.items()}
    metadata = {
        "format": "pt",
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(factors.rank),
        "ss_network_alpha": str(factors.rank),
        "base_model": tuning.base_model,
        "relative_error": f"{factors.error:.6f}",
    }
    return lora.lora_tensors(factors, lora_names), metadata, factors


def temporal_part(model: ModelPatcher) -> Tuning | None:
    """What a LoRA leaves out of a tuned MODEL's tuning, if anything."""
    tuning = tuning_of(model)
    return replace(tuning, deltas={}) if tuning.temporal else None


def described(factors: LowRank) -> str:
    """What is lost of the deltas, in words."""
    worst = max(factors.errors, key=lambda name: factors.errors[name])
    return (
        f"rank {factors.rank}: the LoRA differs from the tuning by {factors.error:.2%} of its size, "
        f"by {factors.errors[worst]:.2%} at most, in {worst}"
    )
