"""Which model a MODEL is: what an inversion or a tuning writes down, to be recognised by in a later session."""

import hashlib
from collections.abc import Iterable

import torch

from ..tuning import Tuning
from .inflate import inflation_of

TUNINGS = "videop2p_tunings"  # attachment: the digests of the tunings in a MODEL
SAMPLES, VALUES = 32, 256  # tensors looked at, and values of each


def base_of(model) -> str:
    """The base model, 'SD15 1a2b3c4d': the same whatever is patched into it (LoRA, tuning, inflation)."""
    entries = model.get_key_patches("diffusion_model.")
    names = sorted(entries)
    weights = (entries[name][0] for name in names[:: max(len(names) // SAMPLES, 1)])
    tensors = (weight[0] if isinstance(weight, tuple) else weight for weight in weights)
    return f"{type(model.model.model_config).__name__} {_digest(names, tensors)}"


def tuning_digest(tuning: Tuning) -> str:
    tensors = {**tuning.deltas, **tuning.temporal}
    names = sorted(tensors)
    return _digest(names, (tensors[name] for name in names))


def identity_of(model) -> str:
    """The base model, how it is inflated and what it is tuned with, in words."""
    inflation = inflation_of(model)
    parts = [base_of(model)]
    if inflation is not None:
        window = f" {inflation.window}" if inflation.frames_read == "window" else ""
        parts.append(f"frames reading {inflation.frames_read}{window}")
        parts += ["temporal layers"] * inflation.temporal_layers + ["norm over frames"] * inflation.norm_over_frames
    return ", ".join([*parts, *(f"tuning {digest}" for digest in model.get_attachment(TUNINGS) or ())])


def _digest(names: Iterable[str], tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256("\n".join(names).encode())
    for tensor in tensors:
        # Half precision, so that a model is the same loaded in either.
        digest.update(tensor.detach().flatten()[:VALUES].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:8]
