"""Which model a MODEL is: what an inversion or a tuning writes down, to be recognised by in a later session."""

import hashlib
from collections.abc import Iterable, Iterator

import torch
from comfy.weight_adapter import WeightAdapterBase

from ..tuning import Tuning
from .beside import as_in_its_file
from .inflate import inflation_of
from .original import original_weights

TUNINGS = "videop2p_tunings"  # attachment: the tunings in a MODEL
SAMPLES, VALUES = 32, 256  # weights looked at, and values of each tensor


def base_of(model) -> str:
    """The base model, 'SD15 1a2b3c4d': the same whatever is patched into it (LoRA, tuning, inflation)."""
    with as_in_its_file(model) as own:
        entries = original_weights(own)
    names = sorted(entries)
    tensors = (convert(weight) for weight, convert in (entries[name][0] for name in _some(names)))
    return f"{type(model.model.model_config).__name__} {_digest(names, tensors)}"


def tuning_digest(tuning: Tuning) -> str:
    tensors = {**tuning.deltas, **tuning.temporal}
    names = sorted(tensors)
    return _digest(names, (tensors[name] for name in names))


def identity_of(model) -> str:
    """The base model, what LoRAs make of it, how it is inflated and what it is tuned with, in words."""
    inflation, tunings = inflation_of(model), model.get_attachment(TUNINGS) or ()
    parts = [base_of(model)]
    patches = _patches_of_others(model, tunings)
    if patches:
        parts.append(f"LoRA or merge {_patches_digest(patches)}")
    if inflation is not None:
        window = f" {inflation.window}" if inflation.frames_read == "window" else ""
        parts.append(f"frames reading {inflation.frames_read}{window}")
        parts += ["temporal layers"] * inflation.temporal_layers + ["norm over frames"] * inflation.norm_over_frames
    return ", ".join([*parts, *(f"tuning {tuning_digest(tuning)}" for tuning in tunings)])


def _patches_of_others(model, tunings: Iterable[Tuning]) -> dict[str, list]:
    """{weight of the UNet: its patches}, without those of the tunings."""
    own = {id(delta) for tuning in tunings for delta in tuning.deltas.values()}
    found = {
        name: [patch for patch in patches if not any(id(tensor) in own for tensor in _tensors(patch))]
        for name, patches in model.patches.items()
        if name.startswith("diffusion_model.")
    }
    return {name: patches for name, patches in found.items() if patches}


def _patches_digest(patches: dict[str, list]) -> str:
    names = sorted(patches)
    labels = [f"{name} {strength} {kept}" for name in names for strength, _, kept, *_ in patches[name]]
    return _digest(labels, (tensor for name in _some(names) for tensor in _tensors(patches[name])))


def _tensors(patch) -> Iterator[torch.Tensor]:
    """The tensors of a weight patch, of whatever kind."""
    if isinstance(patch, torch.Tensor):
        yield patch
    elif isinstance(patch, WeightAdapterBase):
        yield from _tensors(patch.weights)
    elif isinstance(patch, (list, tuple)):
        for part in patch:
            yield from _tensors(part)


def _some(names: list[str]) -> list[str]:
    return names[:: max(len(names) // SAMPLES, 1)]


def _digest(names: Iterable[str], tensors: Iterable[torch.Tensor]) -> str:
    digest = hashlib.sha256("\n".join(names).encode())
    for tensor in tensors:
        # Half precision, so that a model is the same loaded in either.
        digest.update(tensor.data.flatten()[:VALUES].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:8]
