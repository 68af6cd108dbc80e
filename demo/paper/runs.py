"""A clip edited by each method, through the pack's own functions; what methods share is made once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from time import perf_counter
from typing import Any

from torch import Tensor

from ...videop2p_core.diffusion import tuning as tunings
from ...videop2p_core.diffusion.inversion import DIRECT, SHARED_NULL_TEXT, Inversion, InversionSettings
from ...videop2p_core.diffusion.tuning import Tuning, TuningSettings, is_temporal
from ...videop2p_core.host.comfy.denoiser import SOURCE, model_sigmas, prediction_of
from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.gradients import run_differentiable
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.source.inversion import invert_latent, reconstruct
from ...videop2p_core.host.source.tuning import trainable, with_tuning
from ..accepted_edits import AcceptedCase
from ..evaluation_world import World
from .methods import NO_NULL_TEXT, QUERIES, TEMPORAL, Method


@dataclass(frozen=True)
class Run:
    """One clip and the word that is changed in it. guidance: of the published methods; inner_steps: updates of a null
    text in each step, at most."""

    world: World
    seed: int
    guidance: float
    inner_steps: int
    models: dict[tuple, Any] = field(default_factory=dict)
    inversions: dict[tuple, Inversion] = field(default_factory=dict)

    @cached_property
    def case(self) -> AcceptedCase:
        return AcceptedCase(self.world, self.world.model, self.seed)

    @cached_property
    def latent(self) -> Tensor:
        return self.world.vae.encode(self.case.frames)

    @property
    def texts(self) -> tuple[list, list]:
        """CONDITIONING of the source prompt and of the null text."""
        return self.world.encode(self.case.captions[0]), self.world.encode("")

    def edited(self, method: Method) -> tuple[Tensor, float]:
        """(frames, seconds that it took without what was there from other methods)"""
        _ = self.case.frames, self.latent  # which all methods share
        began = perf_counter()
        if method.inversion is None:
            case = replace(self.case, model=self.model(method))
            vars(case).update(frames=self.case.frames)  # rendered once for all methods
            frames, _ = case.by(self.world.way)
        else:
            frames = self.published(method)
        return frames, perf_counter() - began

    def published(self, method: Method) -> Tensor:
        model, inversion, case = self.model(method), self.inversion(method), self.case
        plan: dict[str, Any] = {} if case.kind == "background" else dict(case.blended)
        if not method.controlled:
            plan = {"cross": 0.0, "temporal": 0.0}
        edit = word_edit(self.world.clip, *case.captions, **plan)
        (latent,) = sample(model, prepare_edit(model, inversion, [edit]), coupled=method.coupled).targets
        return self.world.vae.decode(latent)

    def reconstruction(self, method: Method) -> Tensor | None:
        """The source branch run down again, under guidance: frames; None for a way that brings the source back."""
        if method.inversion is None:
            return None
        model = self.model(method)
        z0 = reconstruct(model, *self.texts, self.inversion(method))[-1]
        return self.world.vae.decode(model.model.process_latent_out(z0))

    def model(self, method: Method) -> Any:
        key = method.inflation, method.tuning, method.trained
        if key not in self.models:
            self.models[key] = self._model(*key)
        return self.models[key]

    def _model(self, inflation: Inflation | None, steps: int, trained: str) -> Any:
        if inflation is None:
            return self.world.model
        model = inflate(self.world.model, replace(inflation, temporal_layers=trained != QUERIES))
        return with_tuning(model, self.tuning(model, steps, trained)) if steps else model

    def tuning(self, model: Any, steps: int, trained: str) -> Tuning:
        """Of an inflated model on the clip, of what `trained` names alone."""
        source, _ = self.texts
        prediction = prediction_of(model)

        def algorithm(copy: Any, denoise: Any, z0: Tensor, sigmas: Tensor) -> Tuning:
            parameters = trainable(copy)
            if trained == TEMPORAL:
                parameters = {name: value for name, value in parameters.items() if is_temporal(name)}
            settings = TuningSettings(steps)
            return tunings.tune(denoise, parameters, z0, sigmas, SOURCE, settings, prediction=prediction)

        return run_differentiable(model, source, source, self.latent, model_sigmas(model), algorithm)

    def inversion(self, method: Method) -> Inversion:
        key = method.inflation, method.tuning, method.trained, method.inversion
        if key not in self.inversions:
            self.inversions[key] = self._inversion(self.model(method), method.inversion)
        return self.inversions[key]

    def _inversion(self, model: Any, name: str) -> Inversion:
        settings = InversionSettings(
            DIRECT if name == NO_NULL_TEXT else name, self.world.steps, cfg=self.guidance, inner_steps=self.inner_steps
        )
        inversion = invert_latent(model, *self.texts, self.latent, settings)
        if name != NO_NULL_TEXT:
            return inversion
        null = inversion.initial_null.expand(inversion.steps, *inversion.initial_null.shape)
        return replace(inversion, method=SHARED_NULL_TEXT, null=null)
