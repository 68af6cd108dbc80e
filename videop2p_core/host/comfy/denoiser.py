"""A MODEL as the function that the algorithms take: `denoise(x, sigma, conditioning)`.

The algorithms run as samplers under ComfyUI's own guider, which loads the model and prepares the conditioning. They see
clips frames first, whatever the model takes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .conditioning import Conditioning, Prepared
from .keyframes import take_down
from .latents import as_clip, as_latent
from .other_packs import check_windows

T = TypeVar("T")
Run = Callable[["Denoiser", Tensor, Tensor], T]  # denoise, z0, sigmas -> what comes of it

SOURCE = "positive"
NULL = "negative"
# Where the host keeps what nodes do to guidance.
GUIDANCE = (
    "sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function", "sampler_calc_cond_batch_function",
    "disable_cfg1_optimization",
)  # fmt: skip


class Denoiser:
    """`denoise(x, sigma, conditioning)` with x [frames, channels, height, width] and a scalar sigma.

    conditioning is SOURCE or NULL, the guider's prepared conditioning, or a tensor [1 or frames, tokens, channels],
    which takes the place of the embedding of NULL's first entry.
    """

    def __init__(self, guider: comfy.samplers.CFGGuider, model_options: dict[str, Any]) -> None:
        self.guider = guider
        self.model_options = model_options

    def __call__(self, x: Tensor, sigma: Tensor, conditioning: str | Tensor) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        if isinstance(conditioning, torch.Tensor):
            conds = [None, with_embedding(self.guider.conds[NULL], conditioning)]
        else:
            conds = [None, None]
            conds[conditioning == NULL] = self.guider.conds[conditioning]
        model = self.guider.inner_model
        x = as_latent(model, x)
        return as_clip(unguided(model, x, sigma.to(x).expand(len(x)), *conds, self.model_options))


def with_embedding(entries: Prepared, embedding: Tensor) -> Prepared:
    """Prepared conditioning with another text embedding in its first entry, which lies where the host's own does."""
    first, *others = entries
    conds = first["model_conds"]
    crossattn = conds["c_crossattn"]
    # The host predicts two halves in one call only where their texts lie on one device. One that is being optimised is
    # predicted by itself, and its gradient had to come all the way back.
    text = type(crossattn)(embedding if embedding.requires_grad else embedding.to(crossattn.cond.device))
    return [{**first, "model_conds": {**conds, "c_crossattn": text}}, *others]


def unguided(
    model: Any,
    x: Tensor,
    sigma: Tensor,
    conditional: Prepared | None,
    unconditional: Prepared | None,
    model_options: dict[str, Any],
) -> Tensor:
    """denoised of one half, the other being None: by itself, whatever other nodes guide by.

    Through the host's own sampling function, in whose place AnimateDiff-Evolved puts its own while it samples.
    """
    options = {name: value for name, value in model_options.items() if name not in GUIDANCE}
    cfg = float(unconditional is None)
    entries = conditional or []  # none, where others look through them
    take_down(model, x, sigma, [*entries, *(unconditional or [])], options)
    return comfy.samplers.sampling_function(model, x, sigma, unconditional, entries, cfg, model_options=options)


SEED = 0  # of what other nodes draw while a clip is inverted


class Algorithm(comfy.samplers.Sampler):
    """A sampler that hands the loaded model to `algorithm(denoise, z0, sigmas)` and keeps what it returns.

    z0 is the latent at the model's scale.
    """

    def __init__(self, algorithm: Run[Any]) -> None:
        self.algorithm = algorithm
        self.result: Any = None

    def sample(
        self,
        model_wrap: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Any,
        noise: Tensor,
        latent_image: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        check_windows(extra_args["model_options"])
        torch.manual_seed(SEED)  # as a stock sampler's noise does: other nodes' patches draw from there
        denoise = Denoiser(model_wrap, extra_args["model_options"])
        self.result = self.algorithm(denoise, as_clip(latent_image), sigmas)
        return latent_image


def run(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    sigmas: Tensor,
    algorithm: Run[T],
) -> T:
    """What `algorithm(denoise, z0, sigmas)` returns, run on the MODEL.

    latent: a clip [frames, channels, height, width] in VAE units; sigmas [steps + 1] noisiest first.
    """
    latent = as_latent(model.model, latent)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    sampler = Algorithm(algorithm)
    guider.sample(torch.zeros_like(latent), latent, sampler, sigmas, disable_pbar=True, seed=SEED)
    return sampler.result


def model_sigmas(model: ModelPatcher) -> Tensor:
    """The model's own table of noise levels, cleanest first: [levels]."""
    sampling: Any = model.get_model_object("model_sampling")
    return sampling.sigmas


def prediction_of(model: ModelPatcher) -> str:
    """What the model predicts, as one of schedule.PREDICTIONS."""
    sampling = model.get_model_object("model_sampling")
    known = {
        comfy.model_sampling.CONST: "flow",
        comfy.model_sampling.COSMOS_RFLOW: "x0",  # noise is added; the host makes a flow of it and back
        comfy.model_sampling.EDM: None,
        comfy.model_sampling.IMG_TO_IMG: None,
        comfy.model_sampling.IMG_TO_IMG_FLOW: None,
        comfy.model_sampling.V_PREDICTION: "v",
        comfy.model_sampling.X0: "x0",
        comfy.model_sampling.EPS: "eps",
    }
    prediction = next((known[kind] for kind in type(sampling).__mro__ if kind in known), None)
    if prediction is None:
        raise ValueError(
            f"a model sampled by {', '.join(kind.__name__ for kind in type(sampling).__bases__)} cannot be inverted or "
            "tuned: use one that predicts noise, velocity, flow or the clean latent"
        )
    return prediction
