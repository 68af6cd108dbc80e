"""Export Tuning: the tuning of a MODEL in files for other software, and what to tell of them."""

from comfy.model_patcher import ModelPatcher

from . import files, lora
from . import official_checkpoint as foreign
from .saved_names import TUNINGS


def as_lora(model: ModelPatcher, rank: int, prefix: str) -> str:
    """A LoRA, and the temporal part beside it where there is one."""
    prefix = prefix or "tuning"
    temporal = lora.temporal_part(model)
    files.check_prefix(files.LORAS, prefix)
    if temporal is not None:
        files.check_prefix(TUNINGS, f"{prefix}_temporal")
    tensors, metadata, factors = lora.export(model, rank)
    lines = [f"LoRA: {files.save_lora(tensors, metadata, prefix)}"]
    if temporal is not None:
        lines.append(f"temporal part: {files.save(TUNINGS, temporal, f'{prefix}_temporal')}")
    return "\n".join([*lines, lora.described(factors)])


def as_unet(model: ModelPatcher, prefix: str) -> str:
    """A diffusers folder of the whole UNet."""
    prefix = prefix or "tuning"
    files.check_prefix(TUNINGS, prefix)
    return f"diffusers folder: {files.save_unet(*foreign.export(model), prefix)}"
