"""A stand-in with the habits of ComfyUI-GGUF, and one with those of packs over bitsandbytes: linear layers and
convolutions of packed bytes.

GGUF's weights are tensors that tell another shape than they have, hand themselves out for copies, and carry the LoRAs
that are patched onto them; layers unpack them at every call, `get_weight`. Norms and biases stay numbers, in the same
kind of tensor. bitsandbytes' have a state beside their bytes, and layers of their own class.
"""

import copy
import math
from enum import IntEnum
from types import SimpleNamespace

import comfy.lora
import comfy.model_patcher
import comfy.ops
import torch
import torch.nn.functional as F
from comfy.utils import set_attr_param
from torch import Tensor, nn

BLOCK = 32


class Kind(IntEnum):
    """Those of GGUF's: numbers as they are, or blocks of whole numbers under a scale in half precision."""

    F32 = 0
    F16 = 1
    Q4_0 = 2
    Q8_0 = 8


# --- packing ----------------------------------------------------------------------------------------------------------


def pack(weight: Tensor, kind: Kind) -> "Packed":
    """Rows of blocks; a convolution's has rows of one block."""
    rows = weight.shape[0] if weight.ndim == 2 and weight.shape[1] % BLOCK == 0 else weight.numel() // BLOCK
    blocks = weight.float().reshape(-1, BLOCK)
    furthest = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = (furthest.abs() / 127 if kind == Kind.Q8_0 else furthest / -8).half()
    whole = torch.where(scale == 0, 0, blocks / scale.float()).round()
    if kind == Kind.Q8_0:
        content = whole.clamp(-127, 127).to(torch.int8).view(torch.uint8)
    else:
        low, high = (whole.clamp(-8, 7) + 8).to(torch.uint8).chunk(2, dim=1)
        content = low | high << 4
    packed = torch.cat([scale.view(torch.uint8), content], dim=1).reshape(rows, -1)
    return Packed(packed, tensor_type=kind, tensor_shape=weight.shape)


def unpack(packed: Tensor, kind: Kind, shape) -> Tensor:
    blocks = packed.reshape(-1, 2 + BLOCK // (1 if kind == Kind.Q8_0 else 2))
    scale, content = blocks[:, :2].contiguous().view(torch.float16).float(), blocks[:, 2:].contiguous()
    if kind == Kind.Q8_0:
        whole = content.view(torch.int8).float()
    else:
        whole = torch.cat([content & 15, content >> 4], dim=1).float() - 8
    return (scale * whole).reshape(shape)


class Packed(Tensor):
    """Of GGUF's."""

    @staticmethod
    def __new__(cls, data, *, tensor_type, tensor_shape, patches=()):
        return data.as_subclass(cls)

    def __init__(self, data, *, tensor_type, tensor_shape, patches=()):
        super().__init__()
        self.tensor_type, self.tensor_shape, self.patches = tensor_type, tensor_shape, list(patches)

    def to(self, *args, **kwargs):
        moved = super().to(*args, **kwargs)
        moved.tensor_type, moved.tensor_shape = getattr(self, "tensor_type", None), self.shape
        moved.patches = list(getattr(self, "patches", ()))
        return moved

    def clone(self, *args, **kwargs):
        return self

    def detach(self):
        return self

    def new_empty(self, size, *args, **kwargs):
        return Packed(super().new_empty(size, *args, **kwargs), tensor_type=self.tensor_type, tensor_shape=size)

    @property
    def shape(self):
        return self.tensor_shape if hasattr(self, "tensor_shape") else self.size()


# --- layers -----------------------------------------------------------------------------------------------------------


def is_packed(tensor) -> bool:
    return getattr(tensor, "tensor_type", None) not in (None, Kind.F32, Kind.F16)


class Layer(nn.Module):
    """The part that GGUF's layers share."""

    comfy_cast_weights = True

    def _load_from_state_dict(self, state, prefix, *args):
        for name in ("weight", "bias"):
            if prefix + name in state:
                setattr(self, name, nn.Parameter(state[prefix + name], requires_grad=False))

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        """Of no use but to count what it takes."""
        for name, tensor in self._parameters.items():
            if tensor is not None:
                destination[prefix + name] = torch.zeros_like(tensor, device="meta")

    def get_weight(self, tensor, dtype):
        if tensor is None:
            return None
        if is_packed(tensor):
            weight = unpack(tensor.data.as_subclass(Tensor), tensor.tensor_type, tensor.tensor_shape).to(dtype)
        else:
            weight = tensor.to(dtype).as_subclass(Tensor)
        for patches, key in getattr(tensor, "patches", ()):
            weight = comfy.lora.calculate_weight(patches, weight, key)
        return weight

    def forward_comfy_cast_weights(self, x):
        if not is_packed(self.weight):
            return super().forward_comfy_cast_weights(x).as_subclass(Tensor)
        weight, bias = (self.get_weight(tensor, x.dtype) for tensor in (self.weight, self.bias))
        return self.calculated(x, weight.to(x.device), bias if bias is None else bias.to(x.device))


class Operations(comfy.ops.manual_cast):
    """GGUF's."""

    class Linear(Layer, comfy.ops.manual_cast.Linear):
        def calculated(self, x, weight, bias):
            return F.linear(x, weight, bias)

    class Conv2d(Layer, comfy.ops.manual_cast.Conv2d):
        def calculated(self, x, weight, bias):
            return self._conv_forward(x, weight, bias)

    class GroupNorm(Layer, comfy.ops.manual_cast.GroupNorm):
        pass

    class LayerNorm(Layer, comfy.ops.manual_cast.LayerNorm):
        pass


def packed_state(state: dict[str, Tensor], kind: Kind) -> dict[str, Tensor]:
    """A UNet's, as a GGUF file has it: small weights as they are."""

    def as_it_is(tensor, kind):
        return Packed(tensor, tensor_type=kind, tensor_shape=tensor.shape)

    return {
        name: as_it_is(weight.float(), Kind.F32)
        if weight.ndim < 2
        else as_it_is(weight.half(), Kind.F16)
        if weight.numel() <= 1024 or weight.numel() % BLOCK
        else pack(weight, kind)
        for name, weight in state.items()
    }


class GGUFModelPatcher(comfy.model_patcher.ModelPatcher):
    """Patches go along with packed weights; all others are patched as ever."""

    def patch_weight_to_device(self, key, device_to=None, inplace_update=False):
        if key not in self.patches:
            return
        weight = comfy.utils.get_attr(self.model, key)
        if not is_packed(weight):
            super().patch_weight_to_device(key, device_to, inplace_update)
            return
        weight = weight.to(device_to)
        weight.patches = [(self.patches[key], key)]
        set_attr_param(self.model, key, weight)

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        if unpatch_weights:
            for parameter in self.model.parameters():
                if is_packed(parameter):
                    parameter.patches = []
        return super().unpatch_model(device_to=device_to, unpatch_weights=unpatch_weights)

    def load(self, *args, force_patch_weights=False, **kwargs):
        super().load(*args, force_patch_weights=True, **kwargs)

    def clone(self, *args, **kwargs):
        kind, self.__class__ = self.__class__, GGUFModelPatcher
        try:
            clone = super().clone(*args, **kwargs)
        finally:
            self.__class__ = kind
        clone.__class__ = GGUFModelPatcher
        return clone


# --- another pack's ---------------------------------------------------------------------------------------------------


class Params4bit(nn.Parameter):
    """Of bitsandbytes': one column of bytes, and how they are unpacked."""

    def __deepcopy__(self, memo):
        duplicate = Params4bit(copy.deepcopy(self.data), requires_grad=False)
        duplicate.quant_state = copy.deepcopy(self.quant_state)
        return duplicate


class FourBits(comfy.ops.manual_cast):
    class Linear(nn.Module):
        def __init__(self, inputs, outputs, bias=True, device=None, dtype=None):
            super().__init__()
            self.weight, self.bias = None, None

        def _load_from_state_dict(self, state, prefix, *args):
            weight = state[prefix + "weight"]
            packed = pack(weight, Kind.Q4_0)
            self.weight = Params4bit(packed.data.as_subclass(Tensor).reshape(-1, 1), requires_grad=False)
            self.weight.quant_state = SimpleNamespace(shape=weight.shape)
            if prefix + "bias" in state:
                self.bias = nn.Parameter(state[prefix + "bias"], requires_grad=False)

        def forward(self, x):
            rows, columns = self.weight.quant_state.shape
            packed = self.weight.data.reshape(math.prod((rows, columns)) // BLOCK, -1)
            bias = None if self.bias is None else self.bias.to(x)
            return F.linear(x, unpack(packed, Kind.Q4_0, (rows, columns)).to(x), bias)
