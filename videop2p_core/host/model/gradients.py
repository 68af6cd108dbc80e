"""Gradients through a MODEL inside a node.

Nodes run in inference mode, so the weights on the wire cannot be differentiated through. What needs gradients runs on a
copy of the model, loaded anew outside of inference mode and thrown away afterwards; the model on the wire is never
touched.
"""

import copy
import gc
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from types import MethodType
from typing import Any, TypeVar

import comfy.controlnet
import comfy.model_management
import comfy.patcher_extension
import torch
from comfy.ldm.modules.attention import SpatialTransformer
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ..comfy.base_weights import values_of
from ..comfy.conditioning import Conditioning
from ..comfy.denoiser import Denoiser, run
from ..comfy.other_packs import has_motion
from ..comfy.quantised_weights import is_foreign, is_quantised
from .frame_attention import FrameAttention
from .inflate import inflate, inflation_of, temporal_of
from .temporal_layers import temporal_patcher

T = TypeVar("T")
Algorithm = Callable[[ModelPatcher, Denoiser, Tensor, Tensor], T]  # copy, denoise, z0, sigmas -> what comes of it

# What torch says where another node's patch cannot be differentiated through, and what that patch does.
PATCHED = {
    "Inference tensors cannot be saved": (
        "holds weights that were loaded for inference (a hypernetwork or motion modules, for instance)"
    ),
    "modified by an inplace operation": "writes into what it is given (FreeU_V2, for instance)",
}
IN_SLICES = "functions with out=... arguments don't support automatic differentiation"


def run_differentiable(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    sigmas: Tensor,
    algorithm: Algorithm[T],
    *,
    checkpointing: bool = False,
) -> T:
    """What `algorithm(copy, denoise, z0, sigmas)` returns, run on a copy of the MODEL that gradients flow through.

    All weights of the copy are frozen; an algorithm that trains some of them says so itself. `checkpointing` recomputes
    activations in the backward pass instead of keeping them, which changes no number.
    """
    try:
        return _run_on_a_copy(model, positive, negative, latent, sigmas, algorithm, checkpointing)
    finally:
        gc.collect()  # the copy: nothing uses it any more, but its patched modules refer to themselves
        comfy.model_management.soft_empty_cache()


def _run_on_a_copy(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    sigmas: Tensor,
    algorithm: Algorithm[T],
    checkpointing: bool,
) -> T:
    with torch.inference_mode(False), torch.no_grad(), differentiable_copy(model) as frozen:
        if checkpointing:
            checkpoint_blocks(frozen)
        if any("control" in options for _, options in (*positive, *negative)):
            _separate_skips(frozen)

        # What other nodes insert while the model is loaded is theirs, and in use elsewhere.
        layers = [part for patcher in _with_temporal(frozen) for part in patcher.model.modules()]

        def on_own_weights(denoise: Denoiser, z0: Tensor, sigmas: Tensor) -> T:
            _hold_weights(layers)
            return algorithm(frozen, denoise, z0, sigmas)

        try:
            return run(frozen, *map(_outside_inference, (positive, negative, latent, sigmas)), on_own_weights)
        except RuntimeError as error:
            fault = _fault(model, str(error))
            if fault is None:
                raise
            raise RuntimeError(fault) from error


def _fault(model: ModelPatcher, message: str) -> str | None:
    """What is to be done about an error of torch's on this MODEL; None where its cause is not known."""
    if IN_SLICES in message:
        return (
            "so little memory is free that ComfyUI takes attention in slices, which cannot be differentiated through: "
            "give fewer or smaller frames, or start ComfyUI with --use-pytorch-cross-attention"
        )
    deed = next((deed for words, deed in PATCHED.items() if words in message), None)
    if deed is None or not is_patched_by_others(model):
        return None
    return (
        f"another node's patch on this model {deed}, so that it cannot be differentiated through: connect the model "
        "without it"
    )


def is_patched_by_others(model: ModelPatcher) -> bool:
    """Whether nodes of others put anything into the layers of a MODEL."""
    options = model.model_options["transformer_options"]
    patches = [patch for patches in options.get("patches", {}).values() for patch in patches]
    others = [patch for patch in patches if not isinstance(patch, FrameAttention)]
    return bool(others or options.get("patches_replace") or model.injections or has_motion(model))


@contextmanager
def differentiable_copy(model: ModelPatcher) -> Generator[ModelPatcher, None, None]:
    """A copy of an inflated or image MODEL with weights of its own, temporal layers included."""
    # Loading makes new parameters of quantised weights, in inference mode, which those made outside of it do not bear.
    with torch.inference_mode(is_quantised(model)):
        duplicate = _deep_copy(model)
    duplicate.add_wrapper(comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING, _load_in_full)
    if computed_in(duplicate) == torch.float16:
        duplicate.set_model_compute_dtype(torch.float32)  # half-precision gradients underflow
    inflation, temporal = inflation_of(model), temporal_of(model)
    if temporal is not None:
        # Weights that are streamed while they are used get no gradients.
        temporal = temporal_patcher(duplicate, values_of(temporal.model), dtype=torch.float32, kind=ModelPatcher)
    if inflation is not None:
        duplicate = inflate(duplicate, inflation, temporal)
    try:
        yield duplicate
    finally:
        duplicate.detach()


def _load_in_full(executor: Any, model: ModelPatcher, *args: Any, **kwargs: Any) -> Any:
    """As a node would: what the host moves of other models for it was made in inference mode."""
    with torch.inference_mode():
        prepared = executor(model, *args, **kwargs | {"force_full_load": True, "force_offload": False})
        for patcher in _with_temporal(model):  # --novram loads nothing whatever is asked for
            patcher.load(patcher.load_device, full_load=True)
        return prepared


def _with_temporal(model: ModelPatcher) -> list[ModelPatcher]:
    return [patcher for patcher in (model, temporal_of(model)) if patcher is not None]


def _hold_weights(parts: Iterable[Any]) -> None:
    """Frozen weights that torch can differentiate through, in layers that cast them to what they compute in."""
    for part in parts:
        if hasattr(part, "comfy_cast_weights"):
            part.comfy_cast_weights = True
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.is_inference():
                # Those of other packs are more than their data, and GGUF's clones are themselves.
                foreign = is_foreign(parameter)
                parameter = copy.deepcopy(parameter) if foreign else torch.nn.Parameter(parameter.clone(), False)
                setattr(part, name, parameter)
            parameter.requires_grad_(False)
        for name, buffer in part.named_buffers(recurse=False):
            if buffer.is_inference():
                setattr(part, name, buffer.clone())


def computed_in(model: ModelPatcher) -> torch.dtype:
    """The dtype that a MODEL computes in, which the host's node for it sets by an object patch."""
    cast: Any = model.get_model_object("manual_cast_dtype")
    return cast or model.model.get_dtype()


def checkpoint_blocks(model: ModelPatcher) -> None:
    """Let ResNet blocks and transformers keep their inputs alone until the backward pass, by object patches.

    A transformer of several blocks keeps the input of each.
    """
    unet = model.get_model_object("diffusion_model")
    for name, module in unet.named_modules():
        if isinstance(module, ResBlock):
            units = [name]
        elif isinstance(module, SpatialTransformer):
            blocks = [f"{name}.transformer_blocks.{index}" for index in range(len(module.transformer_blocks))]
            # Most of what a block keeps is its feed-forward's, which is recomputed once more by itself.
            units = [f"{block}.ff" for block in blocks] + ([name] if len(blocks) == 1 else blocks)
        else:
            continue
        for unit in units:
            path = f"diffusion_model.{unit}.forward"
            model.add_object_patch(path, _checkpointed(model.get_model_object(path)))


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # The host writes each block's place into one dict; the recomputation must find what this block found.
        args = tuple(dict(value) if isinstance(value, dict) else value for value in args)
        kwargs = {key: dict(value) if isinstance(value, dict) else value for key, value in kwargs.items()}
        in_this_call = partial(copy_context().run, forward)
        return checkpoint(in_this_call, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)

    return checkpointed


def _deep_copy(model: ModelPatcher) -> ModelPatcher:
    if model.cached_patcher_init is not None:
        duplicate = model.clone(disable_dynamic=True, force_deepcopy=True)
        _bring_to_precision(duplicate.model)
        return duplicate
    if model.is_dynamic():
        raise ValueError(
            "the loader of this model gives no way to load it a second time, which tuning and null-text need: use Load "
            "Checkpoint or Load Diffusion Model, or start ComfyUI with --disable-dynamic-vram"
        )
    with model.use_ejected():
        module = copy.copy(model.model)
        module._modules = {name: copy.deepcopy(child) for name, child in model.model._modules.items()}
    # The copy may be of a loaded model: take off what is patched into it, as the host would.
    for path, original in model.object_patches_backup.items():
        *parents, attribute = path.split(".")
        owner = module.get_submodule(".".join(parents))
        if isinstance(original, MethodType):  # of the module that was copied
            del owner.__dict__[attribute]
        else:
            setattr(owner, attribute, copy.deepcopy(original))
    backup = {path: saved._replace(weight=saved.weight.clone()) for path, saved in model.backup.items()}
    nothing_else = ({}, {}, set())  # no buffers backed up, no objects patched, nothing pinned
    duplicate = model.clone(force_deepcopy=True, model_override=(module, (backup, *nothing_else)))
    duplicate.is_injected = False
    duplicate.unpatch_model(model.offload_device)
    return duplicate


def _bring_to_precision(module: torch.nn.Module) -> None:
    """A LoRA would be rounded to the precision of the file."""
    for part, name, parameter, dtype in in_own_precision(module):
        if dtype != parameter.dtype:
            setattr(part, name, torch.nn.Parameter(parameter.to(dtype), requires_grad=False))


def in_own_precision(module: torch.nn.Module) -> Iterator[tuple[torch.nn.Module, str, Tensor, torch.dtype]]:
    """(layer, name, parameter, dtype) of all parameters, the dtype being that of a copy for gradients.

    Layers that waited for their weights have those of the file, in the file's precision; a copy has the model's.
    """
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            computed = getattr(part, f"{name}_comfy_model_dtype", None)
            yield (
                part,
                name,
                parameter,
                computed if computed and type(parameter) is torch.nn.Parameter else parameter.dtype,
            )


def _separate_skips(model: ModelPatcher) -> None:
    """ControlNets are added in place to what the UNet's second half reads of the first, whose own layers keep it."""
    model.set_model_input_block_patch_after_skip(lambda h, options: h.clone())


def _outside_inference(value: Any) -> Any:
    """The value with every tensor in it cloned, as conditioning and latents come from nodes in inference mode."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _outside_inference(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_outside_inference, value))
    if isinstance(value, comfy.controlnet.ControlBase):
        return _without_gradients(value)
    return value


def _without_gradients(control: Any) -> Any:
    """The ControlNet as something given: its weights were loaded in inference mode and are not ours to train."""
    control = copy.copy(control)
    control.get_control = torch.no_grad()(control.get_control)
    return control
