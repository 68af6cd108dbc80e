"""What an operation expects to need of memory, and what it gives up where there is less.

By the host's own account: its estimate of one forward, its free memory, of which weights take what activations leave
(free_memory). What there is of every step lies in main memory. Peaks are multiples of the estimate, 0.32 GiB for an
SD1.5 in float32, 8 frames at 32x32. There an edit (1.20 GiB), null-text (1.58) and tuning (2.20, of which 0.92 are what
it trains) with recomputed activations were measured by `python dev.py bench`; the others are guesses on the
safe side: an inversion half of an edit, kept activations four times recomputed ones.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import comfy.model_management
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.attention_records import RecordSettings
from ...diffusion.tuning import trained_names
from ...edit.local_blend import blend_grid
from ...log import LOG
from ..comfy.conditioning import Conditioning
from ..comfy.oom_detection import ran_out
from ..cost import measured_runs
from ..cost.measured_runs import ForwardMeter, MeasuredRun, device_name, note
from ..families.support import Feature
from ..families.table import family_of
from ..families.unet import cells_of, transformer_blocks
from .free_memory import cast_bytes, free_memory, leave_room, room
from .gradients import computed_in
from .image_conditioning import places_beside, places_counted
from .inflate import in_passes, inflation_of

T = TypeVar("T")
LEAST_FRAMES = 4  # of a pass
GIB = 2**30


@dataclass(frozen=True)
class Operation:
    """peaks: multiples of one forward, the dearest way first; with_gradients: on a copy of the weights, in float32."""

    name: str
    peaks: tuple[float, ...]
    with_gradients: bool = False


INVERSION = Operation(measured_runs.INVERSION, (2.0,))
EDIT = Operation(measured_runs.EDIT, (4.0,))
# Of the source one conditional prediction a step, as an inversion's; of the target an edit.
SOURCE_MAPS = Operation(measured_runs.SOURCE_MAPS, INVERSION.peaks)
TARGET_MAPS = Operation(measured_runs.TARGET_MAPS, EDIT.peaks)
NULL_TEXT = Operation(measured_runs.NULL_TEXT, (20.0, 5.0), with_gradients=True)
TUNING = Operation(measured_runs.TUNING, (18.0, 4.5), with_gradients=True)


@dataclass(frozen=True)
class Plan:
    """How an operation runs: its way, and the frames of a pass, None for those that the MODEL takes by itself. needed:
    bytes that it is expected to take beside the weights."""

    way: int
    frames: int | None = None
    needed: float = 0

    def sentence(self) -> str:
        if self.frames is None:
            return "it computes activations twice instead of keeping them"
        return f"it takes the clip in passes of {self.frames} frames"

    def on(self, model: ModelPatcher) -> ModelPatcher:
        model = model.clone() if self.frames is None else in_passes(model, self.frames, overlap=1)
        leave_room(model, self.needed)
        return model


def plans(operation: Operation, model: ModelPatcher, clip: Tensor, way: int = 0, may_cut: bool = True) -> list[Plan]:
    """For a clip [frames, ...], the dearest first: the ways from `way` on, then smaller and smaller passes."""
    ways = range(way, len(operation.peaks))
    choices = [Plan(way) for way in ways]
    inflation, frames, family = inflation_of(model), len(clip), family_of(model)
    cut_already = model.model_options.get("context_handler") is not None
    takes_passes = Feature.PASSES in family.supports and not (inflation and inflation.norm_over_frames)
    if not may_cut or cut_already or not takes_passes:
        return choices
    while frames > LEAST_FRAMES:
        frames = max(frames // 2, LEAST_FRAMES)
        choices.append(Plan(ways[-1], frames))
    return choices


def run_within_memory(
    operation: Operation,
    model: ModelPatcher,
    clip: Tensor,
    run: Callable[[Any, int], T],
    *,
    shown: Conditioning,
    way: int = 0,
    beside: float = 0,
    may_cut: bool = True,
    origins: str | None = None,
) -> T:
    """What run(MODEL, way) returns, by the dearest of `plans` that memory is expected to suffice for; where it runs out
    all the same, by the next one. Says in the log what is expected and what is given up.

    shown: CONDITIONING whose pictures stand beside the clip; way: the first to try; beside: bytes needed whatever the
    frames; may_cut: whether smaller passes are allowed; origins: what the run is known by before the next one
    (cost/origins.py), None where it is not kept. Out of memory is raised, as it came, where nothing is left to save.
    """

    def measured(plan: Plan) -> T:
        meter = ForwardMeter(clip)
        result = run(meter.on(plan.on(model)), plan.way)
        if origins is not None and meter.seconds is not None:
            note(MeasuredRun(operation.name, origins, device_name(), meter.seconds, meter.bytes(plan.needed)))
        return result

    choices = expected(operation, model, clip, shown, way=way, beside=beside, may_cut=may_cut)
    for plan, cheaper in pairwise(choices):
        try:
            return measured(plan)
        except RuntimeError as error:
            if not ran_out(error):
                raise
        # Not before the handler's end: the traceback holds what filled the memory.
        gc.collect()
        comfy.model_management.soft_empty_cache()
        LOG.warning(f"{operation.name} ran out of memory and begins again: {cheaper.sentence()}")
    return measured(choices[-1])


def expected(
    operation: Operation,
    model: ModelPatcher,
    clip: Tensor,
    shown: Conditioning,
    *,
    way: int = 0,
    beside: float = 0,
    may_cut: bool = True,
) -> list[Plan]:
    """Those of `plans` that memory is expected to suffice for, the last of them all at least. shown: as in
    `run_within_memory`."""
    available = room(model, copied=operation.with_gradients)
    handler: Any = model.model_options.get("context_handler")
    whole = len(clip) if handler is None else min(len(clip), handler.context_length + 1)

    def needs(plan: Plan) -> float:
        frames = clip[: plan.frames or whole]
        cast = cast_bytes(model) if operation.with_gradients and plan.way == 0 else 0
        return operation.peaks[plan.way] * _forward(model, frames, operation, shown) + cast + beside

    choices = [replace(plan, needed=needs(plan)) for plan in plans(operation, model, clip, way, may_cut)]
    LOG.info(
        f"{operation.name} expects to need {choices[0].needed / GIB:.2f} GiB beside the weights, "
        f"{available / GIB:.2f} GiB are free for it"
    )
    enough = next((i for i, plan in enumerate(choices) if plan.needed <= available), len(choices) - 1)
    if enough:
        LOG.warning(f"{operation.name} saves memory: {choices[enough].sentence()}")
    if choices[enough].needed > available:
        LOG.warning(f"{operation.name} may run out of memory: there is nothing left to save")
    return choices[enough:]


def trained_bytes(model: ModelPatcher) -> int:
    """Of a tuning: gradients and two moments of all that it trains, and what the model's own of it were."""
    unet = model.get_model_object("diffusion_model")
    shapes = {name: parameter.shape.numel() for name, parameter in unet.named_parameters()}
    deltas = sum(shapes[name] for name in trained_names(shapes))
    inflation = inflation_of(model)
    layers = transformer_blocks(unet).values() if inflation and inflation.temporal_layers else ()
    temporal = sum(4 * (block.n_heads * block.d_head) ** 2 for block in layers)
    return 4 * (4 * deltas + 3 * temporal)


def kept_bytes(model: ModelPatcher, clip: Tensor, settings: RecordSettings, steps: int, tokens: int) -> int:
    """Of the records of an inversion of clip [frames, channels, height, width] whose source prompt has so many tokens;
    for a clip that is taken at once."""
    frames, _, *size = clip.shape
    grid = blend_grid(*size)
    unet: Any = model.get_model_object("diffusion_model")
    inflation = inflation_of(model)
    values = 0
    for name, block in transformer_blocks(unet).items():
        cells = cells_of(unet, name, size)
        channels, places = block.n_heads * block.d_head, cells[0] * cells[1]
        values += (steps if cells == grid else settings.cross_steps(steps)) * (places + tokens) * channels
        if inflation and inflation.temporal_layers:
            values += 2 * settings.temporal_steps(steps) * places * channels
        values += 2 * settings.structure_steps(steps) * places * channels
    return 2 * frames * values  # half precision


def recorded_bytes(
    model: ModelPatcher, clip: Tensor, source: Conditioning, tokens: int, cross: bool, temporal: bool
) -> int:
    """Of what an edit keeps in main memory at once of its source, as Family.recorded_values has it. source: its
    CONDITIONING, whose pictures stand beside the clip"""
    network, beside = model.get_model_object("diffusion_model"), places_beside(model, source)
    values = family_of(model).recorded_values(network, clip, tokens, beside, cross, temporal)
    return values * comfy.model_management.dtype_size(computed_in(model))


def check_room_for_source(needed: int) -> None:
    """Whether the main memory has room for what an edit keeps of its source, in a sentence."""
    free = free_memory(torch.device("cpu"))
    LOG.info(f"Of the source {needed / GIB:.2f} GiB are kept at once in main memory, {free / GIB:.2f} GiB are free")
    if needed > free:
        raise ValueError(
            f"{needed / GIB:.1f} GiB of the source are kept at once, but {free / GIB:.1f} GiB of main memory are free: "
            "set the temporal window to 0, which takes two thirds of it, or give fewer or smaller frames"
        )


def place_of(settings: RecordSettings, expected: int, folder: Path) -> RecordSettings:
    """Kept in memory where it takes at most half of what is free there, else in `folder`."""
    free = free_memory(torch.device("cpu"))
    LOG.info(f"The source's queries and keys are expected to take {expected / GIB:.2f} GiB")
    if settings.folder is None and expected > free / 2:
        LOG.warning(f"The source's queries and keys are kept on disk: {free / GIB:.2f} GiB of memory are free for them")
        return replace(settings, folder=folder)
    return settings


def _forward(model: ModelPatcher, clip: Tensor, operation: Operation, shown: Conditioning) -> float:
    """The host's estimate of one forward under fused attention, in bytes."""
    # Gradients are float32 whatever the model computes in.
    dtype = torch.float32 if operation.with_gradients else computed_in(model)
    places = len(clip) * prod(clip.shape[2:]) + places_counted(model, shown)
    return places * comfy.model_management.dtype_size(dtype) * 0.01 * model.model.memory_usage_factor * 2**20
