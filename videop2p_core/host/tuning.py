"""One-shot tuning of a ComfyUI MODEL, and the tuned MODEL."""

from dataclasses import replace

import torch

from .. import tuning
from ..tuning import Tuning
from .denoiser import SOURCE, model_sigmas, prediction_of
from .gradients import run_differentiable
from .inflate import inflate, inflation_of, temporal_of
from .temporal import temporal_patcher


def tune(model, positive, latent, *, checkpointing=False, prompt="", base_model="", **settings) -> Tuning:
    """Tune a copy of an inflated MODEL on a clip [frames, channels, height, width] in VAE units.

    settings go to tuning.tune. The model itself is left as it is; `apply` makes the tuned one.
    """
    _check_inflated(model)
    prediction = prediction_of(model)

    def algorithm(copy, denoise, z0, sigmas):
        return tuning.tune(denoise, trainable(copy), z0, sigmas, SOURCE, prediction=prediction, **settings)

    sigmas = model_sigmas(model)
    tuned = run_differentiable(model, positive, positive, latent, sigmas, algorithm, checkpointing=checkpointing)
    return replace(tuned, prompt=prompt, base_model=base_model)


def apply(model, tuned: Tuning):
    """A clone of an inflated MODEL with the tuning in it."""
    _check_inflated(model)
    keys = {name: f"diffusion_model.{name}" for name in tuned.deltas}
    patches = {keys[name]: ("diff", (delta,)) for name, delta in tuned.deltas.items()}
    temporal = temporal_patcher(model, dict(tuned.temporal)) if tuned.temporal else None
    inflated = inflate(model, inflation_of(model), temporal)
    missing = sorted(set(patches) - set(inflated.add_patches(patches)))
    if missing:
        raise ValueError(
            f"the tuning does not fit this model, which has no {missing[0]} ({len(missing)} of {len(patches)} tensors "
            "are missing): load the base model that it was tuned on"
        )
    return inflated


def trainable(copy):
    """The parameters of a loaded differentiable copy by the UNet's names, those that tuning trains in float32."""
    unet = copy.model.diffusion_model
    for name in tuning.trained_names(name for name, _ in unet.named_parameters()):
        layer = unet.get_submodule(name.removesuffix(".weight"))
        layer.weight = torch.nn.Parameter(layer.weight.float(), requires_grad=False)
        layer.comfy_cast_weights = True  # the layer casts its weight to what it computes in
    temporal = temporal_of(copy)
    return dict(unet.named_parameters()) | dict(temporal.model.named_parameters() if temporal else ())


def _check_inflated(model):
    if inflation_of(model) is None:
        raise ValueError("the model reads images, not clips: put Inflate UNet before it")
