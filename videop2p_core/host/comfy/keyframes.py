"""What acts at some noise levels and finds its place by those before: keyframes of hooks, ControlNets of other packs.

Such a place moves on while the noise falls and never back. An inversion climbs, a tuning jumps, and a run may begin
halfway, so before each prediction everything is taken from the top down to its level, as sampling would.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import comfy.controlnet
import torch
from torch import Tensor

from .conditioning import Prepared, control_nets

NEVER = (-1.0, -1.0)  # a ControlNet's range of noise levels in which it does no work


@torch.no_grad()
def take_down(model: Any, x: Tensor, sigma: Tensor, entries: Prepared, model_options: dict[str, Any]) -> None:
    """Before a prediction of the host's loaded model for x [frames, ...] at sigma [frames], by prepared entries."""
    hooks = [hook for entry in entries if entry.get("hooks") for hook in entry["hooks"].hooks]
    keyframes = {id(hook.hook_keyframe): hook.hook_keyframe for hook in hooks if not hook.hook_keyframe.is_empty()}
    remembering = [entry for entry in entries if any(map(_may_remember, control_nets(entry)))]
    if not keyframes and not remembering:
        return
    options = model_options["transformer_options"]
    levels = sorted((level for level in options["sample_sigmas"].tolist() if level > sigma[0].item()), reverse=True)
    changed = [_take_keyframes_down(group, sigma, levels, options) for group in keyframes.values()]
    if any(changed):  # what the weights were last patched for
        model.current_patcher.patch_hooks(None)
        model.current_patcher.clear_cached_hook_weights()
    for entry in remembering:
        _take_control_down(model, entry, x, sigma, levels, options)


def _take_keyframes_down(group: Any, sigma: Tensor, levels: list[float], options: dict[str, Any]) -> bool:
    """Whether they are at another strength now than they were."""
    strength = group.strength
    vars(group).update(vars(group.clone()))  # reset() leaves the level where it was last
    for level in levels:
        group.prepare_current_keyframe(sigma.new_tensor(level), options)
    return group.strength != strength


def _may_remember(control: Any) -> bool:
    """The host's own go by the level of a call alone."""
    return control.get_control.__module__ != comfy.controlnet.__name__


def _take_control_down(
    model: Any, entry: dict[str, Any], x: Tensor, sigma: Tensor, levels: list[float], options: dict[str, Any]
) -> None:
    control = entry["control"]
    control.pre_run(model, model.model_sampling.percent_to_sigma)
    conds = {name: cond.process_cond(batch_size=len(x), area=None) for name, cond in entry["model_conds"].items()}
    conditions: dict[str, Any] = {name: cond.cond for name, cond in conds.items()}
    alone = {**options, "cond_or_uncond": [0], "uuids": [entry["uuid"]], "sigmas": sigma}
    conditions["transformer_options"] = alone
    with _asleep(entry):
        for level in levels:
            control.get_control(x, torch.full_like(sigma, level), conditions, 1, alone)


@contextmanager
def _asleep(entry: dict[str, Any]) -> Generator[None, None, None]:
    """The ControlNets of an entry hear of noise levels and do no work."""
    controls = list(control_nets(entry))
    ranges = [control.timestep_range for control in controls]
    for control in controls:
        control.timestep_range = NEVER
    try:
        yield
    finally:
        for control, levels in zip(controls, ranges, strict=True):
            control.timestep_range = levels
