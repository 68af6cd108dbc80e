"""Export Tuning: the tuning of a MODEL in files for other software, and what to tell of them."""

from . import files, foreign, lora


def as_lora(model, rank: int, prefix: str) -> str:
    """A LoRA, and the temporal part beside it where there is one."""
    tensors, metadata, found = lora.export(model, rank)
    prefix = prefix or "tuning"
    told = [f"LoRA: {files.save_lora(tensors, metadata, prefix)}"]
    temporal = lora.temporal_part(model)
    if temporal is not None:
        told.append(f"temporal part: {files.save(files.TUNINGS, temporal, f'{prefix}_temporal')}")
    return "\n".join([*told, lora.described(found)])


def as_unet(model, prefix: str) -> str:
    """A diffusers folder of the whole UNet."""
    return f"diffusers folder: {files.save_unet(*foreign.export(model), prefix or 'tuning')}"
