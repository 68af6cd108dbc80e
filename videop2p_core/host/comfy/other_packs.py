"""What other nodes do to a model that an edit cannot run beside, each in a sentence that says what to do instead."""

from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from typing import Any

import comfy.model_management
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

COMPILED = "torch.compile"  # the key of the host's node that compiles a model
ANIMATEDIFF, STATE = "ADE", "ADGS"  # AnimateDiff-Evolved's keys: at the host, and among the options while it samples


def check_beside(model: ModelPatcher) -> None:
    """A MODEL whose calls an edit sees, every one of them."""
    if model.get_wrappers(WrappersMP.APPLY_MODEL, COMPILED):
        raise ValueError(
            "the model is compiled, which hides the steps and prompts of an edit from it: "
            "remove the node that compiles it (TorchCompileModel)"
        )
    if "easycache" in model.model_options["transformer_options"]:
        raise ValueError(
            "EasyCache and LazyCache leave out model calls that an edit looks into: remove the node; on a UNet cache "
            "every in Decoupled Sample does as much"
        )
    if _takes_over(model.get_attachment(f"{ANIMATEDIFF}_sample_settings")):
        raise ValueError(
            "sample settings of AnimateDiff-Evolved (custom CFG, iterations, image injection, noise calibration) take "
            "the place of what an edit does: disconnect them"
        )


def _takes_over(settings: Any) -> bool:
    """Of another pack, whose next version may call its parts otherwise: then nothing is known."""
    injection = getattr(settings, "image_injection", None)
    iterations = getattr(getattr(settings, "iteration_opts", None), "iterations", 1)
    parts = (getattr(settings, name, None) for name in ("custom_cfg", "noise_calibration"))
    injected = injection is not None and not injection.is_empty()
    return any(part is not None for part in parts) or iterations > 1 or injected


@contextmanager
def as_in_its_file(model: ModelPatcher) -> Generator[ModelPatcher, None, None]:
    """A clone of MODEL to look at, whose UNet has its own modules and no others.

    Other packs insert modules while a MODEL is loaded (AnimateDiff-Evolved): its own names move, in all its clones.
    """
    clone = model.clone()
    for key in list(clone.injections):
        clone.remove_injections(key)
    loaded = [entry.model for entry in comfy.model_management.current_loaded_models]
    holders = (other for other in loaded if other is not None and other.model is model.model and other.is_injected)
    holder = next(holders, None)
    with holder.use_ejected() if holder else nullcontext():
        yield clone


def has_motion(model: ModelPatcher) -> bool:
    """Whether AnimateDiff-Evolved puts motion modules into a MODEL's UNet while it is loaded."""
    return bool(model.get_additional_models_with_key(ANIMATEDIFF))


def check_windows(model_options: dict[str, Any]) -> None:
    """Under these options of a sampling call the model sees the frames that it is given."""
    state = model_options["transformer_options"].get(STATE)
    if getattr(state, "is_using_sliding_context", bool)():
        raise ValueError(
            "the context options of AnimateDiff-Evolved cut the clip into windows of their own, without frame 0, which "
            "all frames read: disconnect them, or give no more frames than one window holds"
        )


def check_passes(model_options: dict[str, Any]) -> None:
    """Under these options of a sampling call a clip may be taken in passes."""
    if STATE in model_options["transformer_options"]:
        raise ValueError(
            "AnimateDiff-Evolved takes the whole clip at once, but it comes in passes: remove its nodes, or give fewer "
            "or smaller frames and set frames per pass in Inflate UNet to 0"
        )
