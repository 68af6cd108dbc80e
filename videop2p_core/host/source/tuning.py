"""Tune on Video: one-shot tuning of a LATENT, and tunings on the MODELs that they fit."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion import schedule
from ...diffusion import tuning as tunings
from ...diffusion.tuning import Progress, Tuning, TuningSettings, is_temporal
from ..comfy.conditioning import Conditioning
from ..comfy.denoiser import SOURCE, Denoiser, model_sigmas, prediction_of
from ..comfy.progress import TuningProgress
from ..comfy.quantised_weights import unpack
from ..model import memory_budget as budget
from ..model.frame_attention import Inflation
from ..model.gradients import run_differentiable
from ..model.identity import TUNINGS, base_of, describe_mismatch, fingerprint_of
from ..model.inflate import inflate, inflation_of, temporal_of
from ..model.input_checks import check_conditioning, check_everywhere, check_hints, check_tunable, clip_of
from ..model.temporal_layers import temporal_patcher, temporal_shapes
from . import resume as unfinishing
from .resume import unfinished


def tune(
    model: ModelPatcher,
    positive: Conditioning,
    latent: dict[str, Any],
    settings: TuningSettings,
    *,
    show_every: int = 0,
    ancestors: str | None = None,
    origins: str | None = None,
) -> Tuning:
    """Tune a copy of an inflated MODEL, the loss curve in sight, and every `show_every` steps the clip as the model
    sees it. ancestors: as in `unfinished`; origins: as in `run_within_memory`."""
    check_tunable(model)
    check_conditioning(model, positive=positive)
    check_everywhere(positive=positive)
    clip = clip_of(latent, model)
    check_hints(model, len(clip), positive=positive)
    # How memory is saved changes no number.
    with unfinished(ancestors, model, (positive,), clip, replace(settings, checkpointing=False)) as unfinished_run:

        def run(model: ModelPatcher, way: int) -> Tuning:
            progress = TuningProgress(settings.steps, model.model.latent_format)
            return tune_latent(
                model, positive, clip, replace(settings, checkpointing=way > 0), base_model=base_of(model),
                fingerprint=fingerprint_of(model), progress=progress, show=progress.show, show_every=show_every,
                unfinished=unfinished_run.stage("tuning", unfinishing.TUNING, model),
            )  # fmt: skip

        trained = budget.trained_bytes(model)
        return budget.run_within_memory(
            budget.TUNING, model, clip, run, shown=positive, way=int(settings.checkpointing), beside=trained,
            origins=origins,
        )  # fmt: skip


def tuned(model: ModelPatcher, tuning: Tuning) -> ModelPatcher:
    """A clone of an inflated MODEL with the tuning in it, which says so in its identity."""
    check_tunable(model)
    base = base_of(model, tuning)
    if tuning.base_model and tuning.base_model != base:
        differing, precision = describe_mismatch(model, tuning)
        raise ValueError(
            f"the tuning was made on {tuning.base_model}, but the model connected is {base}{differing}: load the "
            f"checkpoint that it was tuned on{precision}"
        )
    result = with_tuning(model, tuning)
    result.set_attachments(TUNINGS, (*(model.get_attachment(TUNINGS) or ()), tuning))
    return result


def tuning_of(model: ModelPatcher) -> Tuning:
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
    model: ModelPatcher,
    positive: Conditioning,
    latent: Tensor,
    settings: TuningSettings,
    *,
    base_model: str = "",
    fingerprint: Tensor | None = None,
    progress: Progress | None = None,
    show: Callable[[Tensor], None] | None = None,
    show_every: int = 0,
    **options: Any,
) -> Tuning:
    """Tune a copy of an inflated MODEL on a clip [frames, channels, height, width] in VAE units.

    options go to diffusion's tune. The model itself is left as it is; `with_tuning` makes the tuned one. show(z) hears
    every `show_every` steps what the model makes of the clip behind noise, [frames, channels, height, width] at its
    scale.
    """
    _checked_inflation(model)
    prediction = prediction_of(model)

    def algorithm(copy: ModelPatcher, denoise: Denoiser, z0: Tensor, sigmas: Tensor) -> Tuning:
        def heard(losses: Sequence[float]) -> None:
            if show and show_every and len(losses) % show_every == 0:
                show(seen_through_noise(denoise, z0, sigmas, prediction))
            if progress:
                progress(losses)

        return tunings.tune(
            denoise, trainable(copy), z0, sigmas, SOURCE, settings, prediction=prediction, progress=heard, **options
        )

    sigmas = model_sigmas(model)
    tuned = run_differentiable(
        model, positive, positive, latent, sigmas, algorithm, checkpointing=settings.checkpointing
    )
    return replace(tuned, base_model=base_model, fingerprint=fingerprint)


@torch.no_grad()
def seen_through_noise(denoise: Denoiser, z0: Tensor, sigmas: Tensor, prediction: str) -> Tensor:
    """What is predicted of the clip behind the same noise, of the middle level, at every call."""
    noise = torch.randn(z0.shape, generator=torch.Generator().manual_seed(0)).to(z0)
    sigma = sigmas[len(sigmas) // 2].to(z0)
    return denoise(schedule.add_noise(z0, noise, sigma, flow=prediction == "flow"), sigma, SOURCE)


def with_tuning(model: ModelPatcher, tuning: Tuning) -> ModelPatcher:
    """A clone of an inflated MODEL with the tuning in it. A ValueError says where the two do not fit."""
    inflation = _checked_inflation(model)
    _check_fits(model, inflation, tuning)
    temporal = temporal_patcher(model, dict(tuning.temporal)) if tuning.temporal else None
    inflated = inflate(model, inflation, temporal)
    inflated.add_patches({f"diffusion_model.{name}": ("diff", (delta,)) for name, delta in tuning.deltas.items()})
    return inflated


def trainable(copy: ModelPatcher) -> dict[str, Tensor]:
    """The parameters of a loaded differentiable copy by the UNet's names, those that tuning trains in float32."""
    unet = copy.model.diffusion_model
    for name in tunings.trained_names(name for name, _ in unet.named_parameters()):
        unpack(unet.get_submodule(name.removesuffix(".weight")))
    temporal = temporal_of(copy)
    return dict(unet.named_parameters()) | dict(temporal.model.named_parameters() if temporal else ())


def _checked_inflation(model: ModelPatcher) -> Inflation:
    inflation = inflation_of(model)
    if inflation is None:
        raise ValueError("the model reads images, not clips: put Inflate UNet before it")
    return inflation


def _check_fits(model: ModelPatcher, inflation: Inflation, tuning: Tuning) -> None:
    if tuning.temporal and not inflation.temporal_layers:
        raise ValueError("the tuning trained temporal layers: turn them on in Inflate UNet")
    unet = model.get_model_object("diffusion_model")
    shapes = {name: parameter.shape for name, parameter in unet.named_parameters()}
    if tuning.temporal:
        shapes |= temporal_shapes(unet)
    tuned = {name: value.shape for part in (tuning.deltas, tuning.temporal) for name, value in part.items()}
    strange = sorted(name for name, shape in tuned.items() if shapes.get(name) != shape)
    lacking = sorted(name for name in shapes if is_temporal(name) and tuning.temporal and name not in tuned)
    if strange or lacking:
        raise ValueError(
            f"the tuning does not fit this model: {(strange + lacking)[0]} and {len(strange + lacking) - 1} more "
            "tensors differ in name or shape; load the base model that it was tuned on"
        )
