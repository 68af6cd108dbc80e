"""Weights that a layer keeps in fewer bits than it computes with: read, named, and unpacked to be trained.

Known are plain numbers of any kind, the host's quantised tensors (fp8, int8 and fp4 under scales), and those of GGUF
files as ComfyUI-GGUF has them: packed bytes that tell their type and shape, in layers that unpack them by `get_weight`.
"""

from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from comfy.quant_ops import QuantizedTensor
from torch import Tensor

from ...diffusion import weight_fingerprint as fingerprint


def unpacked(weight: Tensor, layer: Any, *, patched: bool = False) -> Tensor | None:
    """A layer's weight in numbers; None where nothing is known of how it is kept.

    patched: with the LoRAs that GGUF's layers add whenever they unpack it.
    """
    if isinstance(weight, QuantizedTensor):
        return weight.dequantize()
    if is_gguf(weight):
        return layer.get_weight(weight if patched else _part(weight), torch.float32).as_subclass(Tensor)
    return weight if _is_plain(weight) else None


def is_quantised(model: ModelPatcher) -> bool:
    """Whether a MODEL has weights that the host keeps quantised."""
    return any(isinstance(parameter, QuantizedTensor) for parameter in model.model.parameters())


def is_known(weight: Tensor) -> bool:
    """Whether the values of a weight can be told: plain ones, the host's quantised ones, and GGUF."""
    return isinstance(weight, QuantizedTensor) or is_gguf(weight) or _is_plain(weight)


def is_gguf(weight: Tensor) -> bool:
    """Whether it is packed as ComfyUI-GGUF has it."""
    return hasattr(weight, "tensor_type") and hasattr(weight, "tensor_shape")


def is_coarse(weight: Tensor) -> bool:
    """Whether it is kept in less than half precision."""
    return _bits(weight) < 16


def kind_of(weight: Tensor) -> str:
    """How it is kept, in a word or two."""
    if isinstance(weight, QuantizedTensor):
        return f"{_bits(weight):.0f} bits under scales"
    if is_gguf(weight):
        packed: Any = weight  # of another pack's class
        return str(getattr(packed.tensor_type, "name", packed.tensor_type))
    return str(weight.dtype).removeprefix("torch.") if _is_plain(weight) else type(weight).__name__


def row_of(weight: Tensor, layer: Any) -> Tensor:
    """What a fingerprint holds of a layer's weight."""
    places = fingerprint.places(weight.shape.numel())
    if is_gguf(weight) and weight.data.shape[0] == weight.shape[0] and len(weight.shape) == 2:
        # Of a large model it would take seconds to unpack all rows.
        rows, columns = places // weight.shape[1], places % weight.shape[1]
        part = layer.get_weight(_part(weight, rows), torch.float32).as_subclass(Tensor)
        values = part[torch.arange(len(rows)), columns]
    else:
        numbers = unpacked(weight, layer)
        if numbers is None:
            return fingerprint.unreadable()
        values = numbers.data.flatten()[places.to(numbers.device)]
    return fingerprint.row(values, _error(weight, values))


def unpack(layer: Any) -> None:
    """Give a layer, of a copy that is to be trained, its weight in float32, which it then casts to what it computes in.

    It keeps what is patched onto it. Raises ValueError for a weight that cannot be unpacked.
    """
    numbers = unpacked(layer.weight, layer, patched=True)
    if numbers is None:
        raise ValueError(f"a weight that is quantised as {kind_of(layer.weight)} cannot be unpacked")
    layer.weight = torch.nn.Parameter(numbers.float(), requires_grad=False)
    layer.comfy_cast_weights = True
    if hasattr(layer, "layout_type"):  # by which the host's quantised layers quantise what they are given too
        layer.layout_type = None


def is_foreign(weight: Tensor) -> bool:
    """Whether it is packed by another pack, and more than its data: bitsandbytes' weights have a state as well."""
    return is_gguf(weight) or hasattr(weight, "quant_state")


def _is_plain(weight: Tensor) -> bool:
    return weight.is_floating_point() and not is_foreign(weight)


def _part(weight: Any, rows: Tensor | None = None) -> Any:
    """Rows of a GGUF weight, or all of it, without what is patched onto it."""
    part = weight.data if rows is None else weight.data[rows.to(weight.device)]
    part.tensor_type, part.patches = weight.tensor_type, []
    part.tensor_shape = weight.tensor_shape if rows is None else torch.Size([len(rows), *weight.tensor_shape[1:]])
    return part


def _stored(weight: Any) -> Tensor:
    return weight._qdata if isinstance(weight, QuantizedTensor) else weight.data


def _bits(weight: Tensor) -> float:
    """That a value takes, apart from scales that are kept beside the weight."""
    stored = _stored(weight)
    return 8 * stored.numel() * stored.element_size() / weight.shape.numel()


def _error(weight: Tensor, values: Tensor) -> float:
    stored = _stored(weight)
    if isinstance(weight, QuantizedTensor) and stored.is_floating_point():
        return fingerprint.scaled_error(values, stored.dtype)
    # GGUF has numbers of 16 bits as bytes too.
    is_packed = not stored.is_floating_point() and is_coarse(weight)
    return fingerprint.packed_error(values, _bits(weight)) if is_packed else 0.0
