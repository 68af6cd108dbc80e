"""Model Pair: two MODELs looked at before they are taken for the experts of one."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ..comfy.denoiser import GUIDANCE, model_sigmas
from ..comfy.expert_pair import ExpertPair, pair_of, with_pair
from ..comfy.model_patches import WEIGHTS
from ..families.support import Feature
from ..families.table import family_of
from .input_checks import check_editable

AROUND = (
    WrappersMP.OUTER_SAMPLE, WrappersMP.PREPARE_SAMPLING, WrappersMP.SAMPLER_SAMPLE, WrappersMP.PREDICT_NOISE,
)  # fmt: skip


def pair_experts(high: ModelPatcher, low: ModelPatcher, boundary: float) -> ModelPatcher:
    """A MODEL that draws with `high` down to the noise level `boundary` and with `low` below.

    Raises ValueError, in a sentence, for two that are no experts of one model.
    """
    for model in (high, low):
        if isinstance(model, ModelPatcher):
            _check_sampled_alone(model)
        check_editable(model)
        family_of(model).require(Feature.EXPERTS)
    if high.is_clone(low):
        raise ValueError("both inputs hold the same model: connect the high-noise and the low-noise one")
    if type(high.model) is not type(low.model) or _shape_of(high) != _shape_of(low):
        raise ValueError(
            "the two models are of different kinds or sizes: connect the high-noise and the low-noise model of one "
            "release"
        )
    if high.load_device != low.load_device:
        raise ValueError("the two models are on different devices: load both for the same one")
    if not torch.equal(model_sigmas(high), model_sigmas(low)):
        raise ValueError(
            "the two models have different noise levels: give both the same shift (ModelSamplingSD3) before Model Pair"
        )
    names = _file_of(high), _file_of(low)
    if [_noise_in(name) for name in names] == ["low", "high"]:
        raise ValueError(
            f"the files say that they are the other way round ({' and '.join(names)}): swap the two models"
        )
    return with_pair(high, ExpertPair(high, low, boundary))


def _check_sampled_alone(model: ModelPatcher) -> None:
    if pair_of(model) is not None:
        raise ValueError("one of the two models is a pair already: connect single models")
    if model.get_wrappers(WrappersMP.APPLY_MODEL, WEIGHTS):
        raise ValueError(
            "one of the two models comes from Word Weights: put that node behind Model Pair, where it weighs the words "
            "of both"
        )
    guided = any(model.model_options.get(name) for name in GUIDANCE)
    if guided or any(model.get_all_wrappers(kind) for kind in AROUND):
        raise ValueError(
            "a node before Model Pair acts on guidance or on whole samplings, which the two models share: put it "
            "behind Model Pair, where it acts on both"
        )


def _shape_of(model: ModelPatcher) -> dict[str, object]:
    """What the network is built by; each may be kept in a precision of its own."""
    return {name: value for name, value in model.model.model_config.unet_config.items() if name != "dtype"}


def _file_of(model: ModelPatcher) -> str:
    """The name of the file that a MODEL was loaded from, where its loader says so."""
    _, loaded_from, *_ = model.cached_patcher_init or (None, ())
    return next((Path(value).name for value in loaded_from if isinstance(value, str)), "")


def _noise_in(name: str) -> str | None:
    """Which noise a file's name says that it is for."""
    noises = set(re.findall(r"(high|low)[-_ ]?noise", name.lower()))
    return noises.pop() if len(noises) == 1 else None
