"""A guider for a source, its null text and any number of targets."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import comfy.model_management
import comfy.samplers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.guidance import classifier_free_guidance, proximal
from ...diffusion.inversion import Inversion
from ..comfy.conditioning import Prepared
from ..comfy.denoiser import unguided
from ..comfy.keyframes import take_down
from ..families.table import family_of
from ..model.feature_cache import FeatureCache, cached
from .target import PreparedEdit

SOURCE, NULL = "source", "null"
GUIDED = "videop2p_guided"  # where the options of a prediction carry the conditionings it is guided by


class EditGuider(comfy.samplers.CFGGuider):
    """A guider with a source, a null text and any number of targets, which predicts for one of them at a time."""

    def __init__(self, model: ModelPatcher, prepared: PreparedEdit, cache_every: int = 1) -> None:
        self.cache, self.target_count = FeatureCache(cache_every), len(prepared.targets)
        family = family_of(model)
        hearing = family.with_sound(cached(model, self.cache), prepared.inversion.sound)
        super().__init__(family.with_slots(hearing))
        targets = (target.conditioning for target in prepared.targets)
        self.inner_set_conds({SOURCE: prepared.source, NULL: prepared.null, **dict(enumerate(targets))})
        self.unprocessed = {}

    def inner_sample(self, *args: Any, **kwargs: Any) -> Tensor:
        # The host gives every conditioning the areas of all others; here only those that are guided together share.
        self.unprocessed = dict(self.conds)
        return super().inner_sample(*args, **kwargs)

    def pairs(
        self, noise: Tensor, latent_image: Tensor | None, denoise_mask: Tensor | None, seed: int, null: str = NULL
    ) -> dict[Hashable, tuple[Prepared, Prepared]]:
        """{key: (positive, negative)}: the source and every target, each prepared with a null text of its own.

        null: NULL, or SOURCE where the source prompt is the null text: guidance cancels only under all of its
        conditioning, as SDXL's pooled vector.
        """

        def prepare(key: Hashable) -> tuple[Prepared, Prepared]:
            conds = {"positive": self.unprocessed[key], "negative": self.unprocessed[null]}
            device = self.model_patcher.load_device
            conds = comfy.samplers.process_conds(
                self.inner_model, noise, conds, device, latent_image, denoise_mask, seed, latent_shapes=[noise.shape]
            )
            return conds["positive"], conds["negative"]

        return {key: prepare(key) for key in self.unprocessed if key != NULL}

    def entry(self, key: Hashable) -> UUID:
        """The uuid of the conditioning entry that an edit belongs to."""
        return self.unprocessed[key][0]["uuid"]

    def guided(
        self,
        x: Tensor,
        sigma: Tensor,
        positive: Prepared,
        negative: Prepared,
        cfg: float,
        model_options: dict[str, Any],
        seed: int,
        memory: dict[str, Any],
    ) -> Tensor:
        """denoised under classifier-free guidance by prepared conditionings, through the wrappers of all nodes.

        memory: what other nodes wrote into the options of earlier calls for the same clip, and of this one after it.
        """
        self.set_cfg(cfg)  # where the host's nodes find and override it
        return self(x, sigma, model_options={**model_options, GUIDED: (positive, negative, memory)}, seed=seed)

    def as_inverted(
        self,
        x: Tensor,
        sigma: Tensor,
        positive: Prepared,
        negative: Prepared,
        cfg: float,
        model_options: dict[str, Any],
    ) -> Tensor:
        """denoised of the source, predicted as in its inversion: half by half, without the guidance of other nodes."""
        conditional = unguided(self.inner_model, x, sigma, positive, None, model_options)
        if cfg == 1:
            return conditional
        unconditional = unguided(self.inner_model, x, sigma, None, negative, model_options)
        return classifier_free_guidance(unconditional, conditional, cfg)

    def predict_noise(
        self, x: Tensor, timestep: Tensor, model_options: dict[str, Any], seed: int | None = None
    ) -> Tensor:
        options = dict(model_options)
        positive, negative, memory = options.pop(GUIDED)
        written = {**options, **memory}
        take_down(self.inner_model, x, timestep, [*positive, *negative], written)
        denoised = comfy.samplers.sampling_function(
            self.inner_model, x, timestep, negative, positive, self.cfg, model_options=written, seed=seed
        )
        memory.update({name: value for name, value in written.items() if name not in options})
        return denoised


@dataclass
class Proximal:
    """A pre-CFG function under which the guidance direction loses its small entries (arXiv 2306.05414)."""

    inversion: Inversion
    acted: bool = False

    def __call__(self, args: dict[str, Any]) -> list[Tensor]:
        self.acted, inversion = True, self.inversion
        cond, uncond, *others = args["conds_out"]
        direction = proximal(cond - uncond, quantile=inversion.proximal_quantile, soft=inversion.proximal_soft)
        return [uncond + direction, uncond, *others]


def with_pre_cfg(model_options: dict[str, Any], function: Callable[[dict[str, Any]], list[Tensor]]) -> dict[str, Any]:
    """The options of a call with one more pre-CFG function, behind those of other nodes."""
    functions = [*model_options.get("sampler_pre_cfg_function", []), function]
    return {**model_options, "sampler_pre_cfg_function": functions}
