"""Object patches on the `forward` of a UNet's modules."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from comfy.model_patcher import ModelPatcher
from einops import rearrange
from torch import Tensor, nn

from ...diffusion.attention import attention
from ..comfy.model_patches import CONTROL
from .clip_call import CLIP_CALL


@dataclass(frozen=True)
class ForwardPatch(ABC):
    """On one module. inner: the patch that another node had put there before, or None."""

    name: str
    inner: Callable[..., Any] | None

    @abstractmethod
    def unet(self) -> nn.Module:
        """The one that runs, found anew at every call, so that a patch serves a deep copy of its UNet too."""

    def own_forward(self, *args: Any, **kwargs: Any) -> Tensor:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        module = self.unet().get_submodule(self.name)
        return type(module).forward(module, *args, **kwargs)


def forward_of(name: str) -> str:
    """The object patch's path of a module of the UNet."""
    return f"diffusion_model.{name}.forward"


def patch_forward(model: ModelPatcher, patch: type[ForwardPatch], name: str, *args: Any) -> None:
    """Put a patch on a module of the UNet, around what another node has put there; args: further fields of the
    patch."""
    path = forward_of(name)
    model.add_object_patch(path, patch(name, model.object_patches.get(path), *args))


class OnClip(ForwardPatch):
    """Of an inflated UNet."""

    def unet(self) -> nn.Module:
        return CLIP_CALL.get().unet


@dataclass(frozen=True)
class BlockThenTime(OnClip):
    """The transformer block, then its temporal attention."""

    layer: Callable[..., Tensor] = field(repr=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        h = self.own_forward(*args, **kwargs)
        control = kwargs.get("transformer_options", {}).get(CONTROL)
        attend = attention if control is None else control.temporal(self.name, kwargs["transformer_options"])
        return self.layer(h, CLIP_CALL.get().frames, attend)


@dataclass(frozen=True)
class NormOverFrames(OnClip):
    """A GroupNorm whose statistics are those of the whole clip."""

    def __call__(self, x: Tensor) -> Tensor:
        frames = CLIP_CALL.get().frames
        x = rearrange(x, "(b f) c h w -> b c (f h) w", f=frames)
        return rearrange(self.own_forward(x), "b c (f h) w -> (b f) c h w", f=frames)
