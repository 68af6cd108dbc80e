"""One-shot tuning of a ComfyUI MODEL, and the tuned MODEL."""

from dataclasses import replace

import torch

from ...diffusion import schedule, tuning
from ...diffusion.tuning import Tuning, is_temporal
from ..comfy.denoiser import SOURCE, model_sigmas, prediction_of
from ..comfy.quantised_weights import unpack
from ..model.gradients import run_differentiable
from ..model.inflate import inflate, inflation_of, temporal_of
from ..model.temporal_layers import temporal_patcher, temporal_shapes


def tune_latent(
    model, positive, latent, *, checkpointing=False, base_model="", fingerprint=None, progress=None,
    show=None, show_every=0, **settings,
) -> Tuning:  # fmt: skip
    """Tune a copy of an inflated MODEL on a clip [frames, channels, height, width] in VAE units.

    settings go to tuning.tune. The model itself is left as it is; `with_tuning` makes the tuned one. show(z): hears every
    `show_every` steps what the model makes of the clip behind noise, [frames, channels, height, width] at its scale.
    """
    _check_inflated(model)
    prediction = prediction_of(model)

    def algorithm(copy, denoise, z0, sigmas):
        def heard(losses):
            if show_every and len(losses) % show_every == 0:
                show(seen_through_noise(denoise, z0, sigmas, prediction))
            if progress:
                progress(losses)

        return tuning.tune(
            denoise, trainable(copy), z0, sigmas, SOURCE, prediction=prediction, progress=heard, **settings
        )

    sigmas = model_sigmas(model)
    tuned = run_differentiable(model, positive, positive, latent, sigmas, algorithm, checkpointing=checkpointing)
    return replace(tuned, base_model=base_model, fingerprint=fingerprint)


@torch.no_grad()
def seen_through_noise(denoise, z0, sigmas, prediction):
    """What is predicted of the clip behind the same noise, of the middle level, at every call."""
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(0)).to(z0)
    sigma = sigmas[len(sigmas) // 2].to(z0)
    return denoise(schedule.add_noise(z0, noise, sigma, flow=prediction == "flow"), sigma, SOURCE)


def with_tuning(model, tuned: Tuning):
    """A clone of an inflated MODEL with the tuning in it. A ValueError says where the two do not fit."""
    _check_inflated(model)
    _check_fits(model, tuned)
    temporal = temporal_patcher(model, dict(tuned.temporal)) if tuned.temporal else None
    inflated = inflate(model, inflation_of(model), temporal)
    inflated.add_patches({f"diffusion_model.{name}": ("diff", (delta,)) for name, delta in tuned.deltas.items()})
    return inflated


def trainable(copy):
    """The parameters of a loaded differentiable copy by the UNet's names, those that tuning trains in float32."""
    unet = copy.model.diffusion_model
    for name in tuning.trained_names(name for name, _ in unet.named_parameters()):
        unpack(unet.get_submodule(name.removesuffix(".weight")))
    temporal = temporal_of(copy)
    return dict(unet.named_parameters()) | dict(temporal.model.named_parameters() if temporal else ())


def _check_inflated(model):
    if inflation_of(model) is None:
        raise ValueError("the model reads images, not clips: put Inflate UNet before it")


def _check_fits(model, tuned):
    if tuned.temporal and not inflation_of(model).temporal_layers:
        raise ValueError("the tuning trained temporal layers: turn them on in Inflate UNet")
    unet = model.get_model_object("diffusion_model")
    own = {name: parameter.shape for name, parameter in unet.named_parameters()}
    if tuned.temporal:
        own |= temporal_shapes(unet)
    given = {name: value.shape for part in (tuned.deltas, tuned.temporal) for name, value in part.items()}
    strange = sorted(name for name, shape in given.items() if own.get(name) != shape)
    lacking = sorted(name for name in own if is_temporal(name) and tuned.temporal and name not in given)
    if strange or lacking:
        raise ValueError(
            f"the tuning does not fit this model: {(strange + lacking)[0]} and {len(strange + lacking) - 1} more "
            "tensors differ in name or shape; load the base model that it was tuned on"
        )
