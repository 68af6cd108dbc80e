"""Tune on Video: one-shot tuning of a LATENT, and tunings on the MODELs that they fit."""

from dataclasses import replace

import torch

from ...diffusion import schedule
from ...diffusion import tuning as tunings
from ...diffusion.tuning import Tuning, check_settings, is_temporal
from ..comfy.denoiser import SOURCE, model_sigmas, prediction_of
from ..comfy.progress import TuningProgress
from ..comfy.quantised_weights import unpack
from ..model import memory_budget as budget
from ..model.gradients import run_differentiable
from ..model.identity import TUNINGS, base_of, fingerprint_of, unlikeness
from ..model.inflate import inflate, inflation_of, temporal_of
from ..model.input_checks import check_conditioning, check_everywhere, check_family, check_hints, clip_of
from ..model.temporal_layers import temporal_patcher, temporal_shapes
from . import resume as unfinishing
from .resume import unfinished


def tune(
    model, positive, latent, *, steps, learning_rate, seed=0, checkpointing=False, show_every=0, **settings
) -> Tuning:
    """Tune a copy of an inflated MODEL, the loss curve in sight, and every `show_every` steps the clip as the model
    sees it; settings go to tune_latent."""
    check_family(model)
    check_conditioning(model, positive=positive)
    check_everywhere(positive=positive)
    clip = clip_of(latent, model)
    check_hints(len(clip), positive=positive)
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for: tuning takes at least 1")
    check_settings(learning_rate, seed)
    settings |= {"steps": steps, "learning_rate": learning_rate, "seed": seed}

    with unfinished(model, positive, clip, settings) as unfinished_run:

        def run(model, way):
            progress = TuningProgress(steps, model.model.latent_format)
            return tune_latent(
                model, positive, clip, checkpointing=way > 0, base_model=base_of(model),
                fingerprint=fingerprint_of(model), progress=progress, show=progress.show, show_every=show_every,
                unfinished=unfinished_run.stage("tuning", unfinishing.TUNING, model), **settings,
            )  # fmt: skip

        trained = budget.trained_bytes(model)
        return budget.carried_out(budget.TUNING, model, clip, run, way=int(checkpointing), beside=trained)


def tuned(model, tuning: Tuning):
    """A clone of an inflated MODEL with the tuning in it, which says so in its identity."""
    check_family(model)
    base = base_of(model, tuning)
    if tuning.base_model and tuning.base_model != base:
        differing, precision = unlikeness(model, tuning)
        raise ValueError(
            f"the tuning was made on {tuning.base_model}, but the model connected is {base}{differing}: load the "
            f"checkpoint that it was tuned on{precision}"
        )
    result = with_tuning(model, tuning)
    result.set_attachments(TUNINGS, (*(model.get_attachment(TUNINGS) or ()), tuning))
    return result


def tuning_of(model) -> Tuning:
    """What a tuned MODEL was tuned with, all its tunings as one."""
    tunings = model.get_attachment(TUNINGS) or ()
    if not tunings:
        raise ValueError("the model is not tuned: connect the model from Tune on Video or Load Tuning")
    deltas, temporal = {}, {}
    for tuning in tunings:
        deltas |= {name: deltas[name] + delta if name in deltas else delta for name, delta in tuning.deltas.items()}
        temporal = tuning.temporal or temporal
    return replace(tunings[-1], deltas=deltas, temporal=temporal)


def tune_latent(
    model, positive, latent, *, checkpointing=False, base_model="", fingerprint=None, progress=None,
    show=None, show_every=0, **settings,
) -> Tuning:  # fmt: skip
    """Tune a copy of an inflated MODEL on a clip [frames, channels, height, width] in VAE units.

    settings go to diffusion's tune. The model itself is left as it is; `with_tuning` makes the tuned one. show(z) hears
    every `show_every` steps what the model makes of the clip behind noise, [frames, channels, height, width] at its
    scale.
    """
    _check_inflated(model)
    prediction = prediction_of(model)

    def algorithm(copy, denoise, z0, sigmas):
        def heard(losses):
            if show_every and len(losses) % show_every == 0:
                show(seen_through_noise(denoise, z0, sigmas, prediction))
            if progress:
                progress(losses)

        return tunings.tune(
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
    for name in tunings.trained_names(name for name, _ in unet.named_parameters()):
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
