"""Two experts as one MODEL: one network draws at high noise, another at low noise (Wan 2.2, arXiv 2503.20314).

The MODEL is a clone of the high-noise one. Around a sampling, a wrapper hands the host's evaluation of a step over to
the other network where the noise is low. That is the host's own function below guidance, so that each network runs
under its own patches and hooks, and what is asked of one call, an edit's control, reaches both. It works under any
guider and sampler, as two samplers one after the other do. A network is loaded when its noise levels come, by what the
host loads a sampler's model with, which unloads the other one where there is no room for both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
from comfy.model_patcher import ModelPatcher, create_model_options_clone
from comfy.patcher_extension import WrappersMP, merge_nested_dicts
from torch import Tensor

PAIR = "videop2p_expert_pair"  # the key of the wrappers


@dataclass(frozen=True)
class ExpertPair:
    """A wrapper around a sampling. high, low: the MODELs of the experts; boundary: the lowest noise level of the high
    one's."""

    high: ModelPatcher
    low: ModelPatcher
    boundary: float

    def __call__(self, executor: Any, noise: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        guider = executor.class_obj
        self._check(guider)
        experts = Experts(self, guider, noise.shape)
        options = guider.model_options["transformer_options"]
        wrappers = options["wrappers"]
        # Before all others, which are those of the network that is handed over from.
        around_steps = wrappers.get(WrappersMP.CALC_COND_BATCH, {})
        wrappers[WrappersMP.CALC_COND_BATCH] = {PAIR: [experts], **around_steps}
        try:
            return executor(noise, *args, **kwargs)
        finally:
            experts.end()

    def _check(self, guider: comfy.samplers.CFGGuider) -> None:
        model = guider.model_patcher
        if model.patches_uuid != self.high.patches_uuid or model.object_patches != self.high.object_patches:
            raise ValueError(
                "a node behind Model Pair (a LoRA, for instance) changes the high-noise model alone: put it before "
                "Model Pair, once for each model"
            )
        if any("hooks" in entry for entries in guider.conds.values() for entry in entries):
            raise ValueError(
                "hooks on a conditioning act on one model, and here are two: remove them, and put LoRAs before Model "
                "Pair"
            )


@dataclass
class Experts:
    """A wrapper around the evaluations of one sampling. shape: of its noise; loaded: the expert that the host loaded
    last; begun: whether the low one has run; models: what was loaded beside it."""

    pair: ExpertPair
    guider: comfy.samplers.CFGGuider
    shape: Sequence[int]
    loaded: ModelPatcher = field(init=False)
    begun: bool = False
    models: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loaded = self.guider.model_patcher

    def __call__(
        self, executor: Any, model: Any, conds: Any, x: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> Any:
        if bool(timestep.max() >= self.pair.boundary):
            self._load(self.guider.model_patcher)
            return executor(model, conds, x, timestep, model_options)
        low = self.pair.low
        self._load(low)
        if not self.begun:
            low.pre_run()
            self.begun = True
        return comfy.samplers.calc_cond_batch(low.model, conds, x, timestep, self._options_of_low(model_options))

    def end(self) -> None:
        if self.begun:
            self.pair.low.cleanup()
        comfy.sampler_helpers.cleanup_models({}, self.models)

    def _load(self, expert: ModelPatcher) -> None:
        if expert is self.loaded:
            return
        guider, shape = self.guider, self.shape
        _, _, models = comfy.sampler_helpers.prepare_sampling(expert, shape, guider.conds, guider.model_options)
        self.models, self.loaded = [*self.models, *models], expert

    def _options_of_low(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the low-noise MODEL brings itself, and what is asked of this call beyond what the high-noise one did."""
        of_call = beyond(options, options_of(self.pair.high))
        around_steps = of_call["transformer_options"]["wrappers"][WrappersMP.CALC_COND_BATCH]
        around_steps.pop(PAIR)
        return merge_nested_dicts(options_of(self.pair.low), of_call)


def options_of(model: ModelPatcher) -> dict[str, Any]:
    """What a MODEL brings into a sampling, its wrappers among the options, as the host's prepare_model_patcher does."""
    options = create_model_options_clone(model.model_options)
    for name, brought in (("wrappers", model.wrappers), ("callbacks", model.callbacks)):
        options["transformer_options"][name] = merge_nested_dicts(options["transformer_options"].get(name, {}), brought)
    return options


def beyond(options: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of nested options that were not there before."""
    new: dict[str, Any] = {}
    for name, value in options.items():
        old = before.get(name)
        if isinstance(value, dict):
            new[name] = beyond(value, old if isinstance(old, dict) else {})
        elif isinstance(value, list) and isinstance(old, list):
            new[name] = [entry for entry in value if not any(entry is one for one in old)]
        elif value is not old:
            new[name] = value
    return new


def pair_of(model: ModelPatcher) -> ExpertPair | None:
    """The experts of a MODEL; None of one that is a single network."""
    return next(iter(model.get_wrappers(WrappersMP.OUTER_SAMPLE, PAIR)), None)


def with_pair(model: ModelPatcher, pair: ExpertPair) -> ModelPatcher:
    """A clone of the high-noise MODEL, or of one made of it, that is both experts."""
    model = model.clone()
    model.remove_wrappers_with_key(WrappersMP.OUTER_SAMPLE, PAIR)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, PAIR, pair)
    return model


def on_each(model: ModelPatcher, change: Callable[[ModelPatcher], ModelPatcher]) -> ModelPatcher:
    """What change(MODEL), a clone, is of a MODEL whose experts may be two."""
    pair = pair_of(model)
    if pair is None:
        return change(model)
    return with_pair(change(model), replace(pair, high=change(pair.high), low=change(pair.low)))
