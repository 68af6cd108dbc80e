"""Which model a MODEL is: what an inversion or a tuning writes down, to be recognised by in a later session.

It is a name for people, whose digests are others in another precision, and a fingerprint, by which a model is
recognised in whatever precision it is loaded. A pair of experts has the names and the fingerprints of both.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import WeightAdapterBase
from torch import Tensor

from ...diffusion import weight_fingerprint as fingerprint
from ...diffusion.inversion import Inversion
from ...diffusion.tuning import Tuning
from ...diffusion.weight_fingerprint import UNREADABLE, Verdict, apart, likeness, together
from ...log import LOG
from ..comfy.base_weights import layer_of, original_weights
from ..comfy.expert_pair import pair_of
from ..comfy.other_packs import as_in_its_file
from ..comfy.quantised_weights import is_foreign, kind_of, row_of
from .inflate import inflation_of

TUNINGS = "videop2p_tunings"  # attachment: the tunings in a MODEL
SAMPLES, VALUES = 32, 256  # weights looked at, and values of each tensor
LORA = "LoRA or merge "
PAIR_NAME = "{} down to noise {} and {} below"
ROUNDED = (torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)  # in which weights may have been named


@dataclass(frozen=True)
class Expert:
    """One model of a pair, as what was made with both knows it."""

    base_model: str
    fingerprint: Tensor | None


Known = Inversion | Tuning | Expert  # what was made with a model, with its name and its fingerprint


def base_of(model: ModelPatcher, known: Known | None = None) -> str:
    """The base model, 'SD15 1a2b3c4d': the same whatever is patched into it (LoRA, tuning, inflation).

    Where it is the one that `known` was made with it has the name that it has there, whatever its precision is now.
    """
    name, others = _names(model)
    if known is None:
        return name
    written = known.base_model.partition(",")[0]
    if written == name or _kind_of(written) != _kind_of(name):
        return name
    if known.fingerprint is None:
        return written if written in others else name
    fingerprint = fingerprint_of(model)
    comparison = likeness(known.fingerprint[: len(fingerprint)], fingerprint)
    if comparison.verdict is not Verdict.SAME:
        return name
    LOG.info(f"{name} is {written} in {precision_of(model)}: their weights differ by {_percent(comparison.difference)}")
    return written


def identity_of(model: ModelPatcher, known: Known | None = None) -> str:
    """The base model, what LoRAs make of it, how it is inflated and what it is tuned with, in words.

    Base and LoRAs have the names that they have in `known` where they are the same, whatever their precision is now.
    """
    pair = pair_of(model)
    if pair is not None:
        of_high, of_low = _experts_of(known)
        return PAIR_NAME.format(identity_of(pair.high, of_high), f"{pair.boundary:g}", identity_of(pair.low, of_low))
    inflation, tunings = inflation_of(model), model.get_attachment(TUNINGS) or ()
    parts = [base_of(model, known)]
    patches = _patches_of_others(model, tunings)
    if patches:
        parts.append(_name_of_patches(model, patches, known))
    if inflation is not None:
        window = f" {inflation.window}" if inflation.frames_read == "window" else ""
        parts.append(f"frames reading {inflation.frames_read}{window}")
        parts += ["temporal layers"] * inflation.temporal_layers + ["norm over frames"] * inflation.norm_over_frames
    return ", ".join([*parts, *(f"tuning {tuning_digest(tuning)}" for tuning in tunings)])


def tuning_digest(tuning: Tuning) -> str:
    """A short name of a tuning, from its values."""
    tensors = {**tuning.deltas, **tuning.temporal}
    names = sorted(tensors)
    return _digest(names, (tensors[name] for name in names))


def describe_mismatch(model: ModelPatcher, known: Known) -> tuple[str, str]:
    """(what tells the base model from the one that `known` was made with, in which precision to load that one), as ends
    of sentences: '' where there is nothing to say."""
    pair = pair_of(model)
    if pair is not None:
        experts = zip((pair.high, pair.low), _experts_of(known), strict=True)
        sentences = (describe_mismatch(one, expert) for one, expert in experts if expert is not None)
        return next((each for each in sentences if any(each)), ("", ""))
    name, written = base_of(model, known), known.base_model.partition(",")[0]
    if name == written or _kind_of(name) != _kind_of(written):
        return "", ""
    kind = precision_of(model)
    if known.fingerprint is None:
        return (
            f", and what an earlier version saved knows it in one precision alone, which may be another than {kind}",
            " in the precision that it had then",
        )
    fingerprint = fingerprint_of(model)
    base = known.fingerprint[: len(fingerprint)]
    comparison = likeness(base, fingerprint)
    differ = f"whose weights differ by {_percent(comparison.difference)}"
    if comparison.verdict is Verdict.OTHER:
        return f", {differ}", ""
    if UNREADABLE in base[:, 0] or UNREADABLE in fingerprint[:, 0]:
        return ", and weights of one of the two are quantised in a way that cannot be compared", " in half precision"
    return f", {differ}, which may be another checkpoint or what {kind} has left of this one", " in half precision"


# --- fingerprints -----------------------------------------------------------------------------------------------------


def fingerprint_of(model: ModelPatcher) -> Tensor:
    """Of the base model's weights, those of two dimensions or more: the others say little, and what quantises weights
    adds some of its own."""
    with as_in_its_file(model) as base_model:
        return torch.stack(
            [row_of(weight, layer_of(base_model, name)) for name, weight in _looked_at(base_model).items()]
        )


def full_fingerprint_of(model: ModelPatcher) -> Tensor:
    """The same with what other nodes patched onto them."""
    pair = pair_of(model)
    if pair is not None:
        return together(full_fingerprint_of(pair.high), full_fingerprint_of(pair.low))
    patches = _patches_of_others(model, model.get_attachment(TUNINGS) or ())
    fingerprint = fingerprint_of(model)
    return torch.cat([fingerprint, _rows_of_patches(patches)]) if patches else fingerprint


def precision_of(model: ModelPatcher) -> str:
    """What most of the base model's weights are kept in, in a word or two."""
    with as_in_its_file(model) as base_model:
        return Counter(map(kind_of, _looked_at(base_model).values())).most_common(1)[0][0]


def _looked_at(model: ModelPatcher) -> dict[str, Tensor]:
    entries = original_weights(model)
    weights = {name: entry[0][0] for name, entry in sorted(entries.items()) if name.endswith(".weight")}
    names = [name for name, weight in weights.items() if len(weight.shape) > 1]
    return {name: weights[name] for name in _some(names)}


def _rows_of_patches(patches: dict[str, list]) -> Tensor:
    """The first is of signs alone: what is patched how strongly is the same, or not at all."""
    digest = hashlib.sha512("\n".join(_labels(patches)).encode()).digest()
    signs = [2.0 * (byte >> bit & 1) - 1 for byte in digest for bit in (0, 4)]
    tensors = [tensor for name in _some(sorted(patches)) for tensor in _tensors(patches[name])]
    return torch.stack([fingerprint.row(torch.tensor(signs)), *map(_row_of_patch, tensors)])


def _row_of_patch(tensor: Tensor) -> Tensor:
    return fingerprint.unreadable() if is_foreign(tensor) else row_of(tensor, None)


# --- names ------------------------------------------------------------------------------------------------------------


def _names(model: ModelPatcher) -> tuple[str, set[str]]:
    """(the name, others that it would have in a lower precision)"""
    with as_in_its_file(model) as base_model:
        entries = original_weights(base_model)
        names = sorted(entries)
        # Packed by other packs they have always been named by their bytes.
        tensors = [
            (weight if is_foreign(weight) else convert(weight)).data.flatten()[:VALUES]
            for weight, convert in (entries[name][0] for name in _some(names))
        ]
    kind = type(model.model.model_config).__name__
    rounded = {f"{kind} {_digest(names, (tensor.to(dtype) for tensor in tensors))}" for dtype in ROUNDED}
    return f"{kind} {_digest(names, tensors)}", rounded


def _experts_of(known: Known | None) -> tuple[Expert | None, Expert | None]:
    """What a pair of experts made, as of each of them; None where a single model made it."""
    names = re.fullmatch(PAIR_NAME.format("(.*)", ".*", "(.*)"), "" if known is None else known.base_model)
    if known is None or names is None:
        return None, None
    rows = (None, None) if known.fingerprint is None else apart(known.fingerprint)
    return Expert(names[1], rows[0]), Expert(names[2], rows[1])


def _kind_of(name: str) -> str:
    return name.rpartition(" ")[0]


def _name_of_patches(model: ModelPatcher, patches: dict[str, list], known: Known | None) -> str:
    name = LORA + _patches_digest(patches)
    if known is None or known.fingerprint is None:
        return name
    written = next((part for part in known.base_model.split(", ") if part.startswith(LORA)), name)
    comparison = likeness(known.fingerprint[len(fingerprint_of(model)) :], _rows_of_patches(patches))
    return written if comparison.verdict is Verdict.SAME else name


def _patches_of_others(model: ModelPatcher, tunings: Iterable[Tuning]) -> dict[str, list]:
    """{weight of the UNet: its patches}, without those of the tunings."""
    deltas = {id(delta) for tuning in tunings for delta in tuning.deltas.values()}
    others = {
        name: [patch for patch in patches if not any(id(tensor) in deltas for tensor in _tensors(patch))]
        for name, patches in model.patches.items()
        if name.startswith("diffusion_model.")
    }
    return {name: patches for name, patches in others.items() if patches}


def _patches_digest(patches: dict[str, list]) -> str:
    return _digest(_labels(patches), (tensor for name in _some(sorted(patches)) for tensor in _tensors(patches[name])))


def _labels(patches: dict[str, list]) -> list[str]:
    return [
        f"{name} {strength} {offset_strength}"
        for name in sorted(patches)
        for strength, _, offset_strength, *_ in patches[name]
    ]


def _tensors(patch: Any) -> Iterator[Tensor]:
    """The tensors of a weight patch, of whatever kind."""
    if isinstance(patch, Tensor):
        yield patch
    elif isinstance(patch, WeightAdapterBase):
        yield from _tensors(patch.weights)
    elif isinstance(patch, (list, tuple)):
        for part in patch:
            yield from _tensors(part)


def _some(names: list[str]) -> list[str]:
    return names[:: max(len(names) // SAMPLES, 1)]


def _digest(names: Iterable[str], tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256("\n".join(names).encode())
    for tensor in tensors:
        # Half precision, so that a model is the same loaded in either.
        digest.update(tensor.data.flatten()[:VALUES].to("cpu", torch.float16).numpy().tobytes())
    return digest.hexdigest()[:8]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
