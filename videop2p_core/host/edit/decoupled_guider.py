"""The edit as a GUIDER and a SAMPLER for SamplerCustomAdvanced."""

from typing import Any

import comfy.samplers
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..comfy.latents import as_latent
from ..model.free_memory import leave_room, room_left
from .decoupled_sampling import EditSampler
from .edit_guider import EditGuider
from .edit_inputs import PreparedEdit, cut_alike, within_memory
from .target import Preview


class DecoupledGuider(EditGuider):
    """One edit as a GUIDER for SamplerCustomAdvanced, to be used with a `DecoupledSampler`."""

    def __init__(self, model: ModelPatcher, prepared: PreparedEdit, cache_every: int = 1) -> None:
        super().__init__(model, prepared, cache_every)
        self.model, self.prepared, self.cache_every = model, prepared, cache_every

    def sample(
        self,
        noise: Tensor,
        latent_image: Tensor,
        sampler: comfy.samplers.Sampler,
        sigmas: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        inversion = self.prepared.inversion
        if not isinstance(sampler, DecoupledSampler):
            raise ValueError(
                "Decoupled Guider takes its steps with the source: connect Decoupled Sampler as the sampler"
            )
        if latent_image.is_nested or latent_image.shape != as_latent(self.model_patcher.model, inversion.noise).shape:
            raise ValueError(
                f"the latent has shape {list(latent_image.shape)}, the inverted clip {list(inversion.noise.shape)}: "
                "connect the latent output of Decoupled Guider"
            )
        if sigmas.shape != inversion.sigmas.shape or not torch.allclose(sigmas.to(inversion.sigmas), inversion.sigmas):
            raise ValueError("an edit runs on the inversion's own noise levels: connect the sigmas of Decoupled Guider")

        def edited(model: ModelPatcher) -> Tensor:
            guider = self if cut_alike(model, self.model) else DecoupledGuider(model, self.prepared, self.cache_every)
            leave_room(guider.model_patcher, room_left(model))
            return EditGuider.sample(guider, noise, latent_image, sampler, sigmas, *args, **kwargs)

        return within_memory(self.model, self.prepared, edited)


class DecoupledSampler(comfy.samplers.Sampler):
    """The editing loop as a SAMPLER, for the edit of the `DecoupledGuider` that it runs under. It starts from the
    inversion's noise, whatever noise it is given, and gives back the edited clip alone."""

    def __init__(self, coupled: bool = False) -> None:
        self.coupled = coupled

    def sample(
        self,
        guider: comfy.samplers.CFGGuider,
        sigmas: Tensor,
        extra_args: dict[str, Any],
        callback: Preview | None,
        noise: Tensor,
        *args: Any,
        **kwargs: Any,
    ) -> Tensor:
        if not isinstance(guider, DecoupledGuider):
            raise ValueError("Decoupled Sampler knows no other guider's edit: connect Decoupled Guider as the guider")
        loop = EditSampler(guider.prepared, self.coupled)
        _, edited = loop.sample(guider, sigmas, extra_args, callback, noise, *args, **kwargs).split(len(noise))
        return edited
