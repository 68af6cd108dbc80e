"""Ratios of times: what is measured and its unit run in turn, so that a machine that slows down slows both."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from statistics import median

import torch

from ...videop2p_core.host.comfy.denoiser import SOURCE, run
from ...videop2p_core.host.model.inflate import in_passes
from .model import LONG, PER_PASS, Work
from .operations import edit_steps, inversion_steps, levels, null_text_updates, tuning_steps

STEPS, NULL_TEXT_UPDATES = 50, 10
TEMPORAL_WINDOW = 25  # steps, the default; the cross window ends before it
OPERATIONS = {
    "inversion_step": inversion_steps,
    "edit_step": edit_steps,
    "edit_step_kept": partial(edit_steps, keep_source=True),
    "edit_step_after_windows": partial(edit_steps, in_windows=False),
    "null_text_inner": null_text_updates,
    "tuning_step": tuning_steps,
    "tuning_step_checkpointed": partial(tuning_steps, checkpointing=True),
}


class Laps:
    """A watch that times each step, and a unit before and after it. What comes before the first step, loading and
    preparing, and after the last is not timed."""

    def begin(self, unit: Callable[[], object]) -> None:
        self.unit, self.times = unit, []
        self.mark()

    def mark(self, *_) -> None:
        self.times.append(now())
        with torch.no_grad():
            self.unit()
        self.times.append(now())

    def spans(self) -> list[float]:
        return [end - start for start, end in pairwise(self.times)]


@torch.inference_mode()  # as nodes run
def times(work: Work, repeats: int, report: Callable[[str, float], None]) -> dict[str, float]:
    """The figures by name; each is heard by `report` as soon as it is known."""
    figures = {}

    def note(name, value):
        figures[name] = value
        report(name, value)

    note("inflated_forward", ratio(forwards(work, repeats), repeats))
    for name, operation in OPERATIONS.items():
        laps = Laps()
        operation(work, repeats + 1, laps)
        note(name, ratio(laps.spans(), repeats))
    within = TEMPORAL_WINDOW * figures["edit_step_kept"]
    note("edit_total_kept", within + (STEPS - TEMPORAL_WINDOW) * figures["edit_step_after_windows"])
    # In each step a conditional forward, the updates, and an unconditional forward with what they found.
    note("null_text_total", STEPS * (NULL_TEXT_UPDATES * figures["null_text_inner"] + 2))
    note("long_clip_cost_per_frame", ratio(long_clip(work, repeats), repeats) * PER_PASS / LONG)
    return figures


def forwards(work: Work, repeats: int) -> list[float]:
    """Seconds of a forward of the image UNet and of the inflated one, in turn."""
    turns = [work.image, *(repeats + 1) * [work.inflated, work.image]]
    return [seconds(model, work) for model in turns]


def long_clip(work: Work, repeats: int) -> list[float]:
    """Seconds of a forward of a clip of one pass and of a long one in such passes, in turn, at half the size."""
    size = work.latent.shape[-1] // 2
    latent = torch.randn(LONG, 4, size, size, generator=torch.Generator().manual_seed(0))
    short, long = replace(work, latent=latent[:PER_PASS]), replace(work, latent=latent)
    model = in_passes(work.inflated, PER_PASS)
    return [seconds(model, clip) for clip in (short, *(repeats + 1) * (long, short))]


def seconds(model, work: Work) -> float:
    """Of one forward."""

    def algorithm(denoise, z0, sigmas):
        start = now()
        denoise(z0, sigmas[0], SOURCE)
        return now() - start

    return run(model, work.source, work.null, work.latent, levels(work, 1), algorithm)


def ratio(spans: Sequence[float], repeats: int) -> float:
    """The median of the last `repeats` measurements, each divided by the mean of the units around it.

    spans: seconds of a unit, a measurement, a unit, ..., a unit. The first measurement warms up.
    """
    units, measured = spans[::2], spans[1::2]
    ratios = [2 * span / sum(around) for span, around in zip(measured, pairwise(units), strict=True)]
    return median(ratios[-repeats:])


def now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
