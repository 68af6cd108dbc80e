"""The method's operations: `steps` steps of each through the pack's own code, under the eye of a watch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Protocol

import torch

from ...videop2p_core.diffusion import inversion, null_text, tuning
from ...videop2p_core.diffusion.attention_records import AttentionRecords, RecordSettings
from ...videop2p_core.diffusion.inversion import DIRECT, Inversion
from ...videop2p_core.diffusion.schedule import ddim_sigmas
from ...videop2p_core.diffusion.tuning import TuningSettings
from ...videop2p_core.edit.matrices import Edit, no_edit
from ...videop2p_core.host.comfy.denoiser import SOURCE, model_sigmas, prediction_of, run
from ...videop2p_core.host.control.attention_recorder import keeping
from ...videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from ...videop2p_core.host.edit.target import PreparedEdit, Target
from ...videop2p_core.host.model.gradients import run_differentiable
from ...videop2p_core.host.source.tuning import trainable
from .model import TOKENS, Work


class Watch(Protocol):
    def begin(self, unit) -> None:
        """Called once, when all weights are loaded, a copy for gradients among them. `unit()` is one conditional
        forward of the clip."""

    def mark(self, *_) -> None:
        """Called between steps."""


def inversion_steps(work: Work, steps: int, watch: Watch) -> None:
    """DDIM inversion."""

    def algorithm(denoise, z0, sigmas):
        watch.begin(partial(denoise, z0, sigmas[0], SOURCE))
        inversion.ddim_invert(denoise, z0, sigmas, SOURCE, progress=watch.mark)

    run(work.inflated, work.source, work.null, work.latent, levels(work, steps), algorithm)


def edit_steps(work: Work, steps: int, watch: Watch, in_windows: bool = True, keep_source: bool = False) -> None:
    """An edit after direct inversion: all steps within both windows, or all after them; the source run beside it, or
    kept from the inversion."""
    sigmas = levels(work, steps).cpu()
    trajectory = work.latent.expand(steps + 1, *work.latent.shape)
    inverted = Inversion(DIRECT, trajectory, sigmas, source=work.source[0][0], initial_null=work.null[0][0])
    if keep_source:
        inverted = replace(inverted, records=recorded(work, inverted))
    # Half of either map: nothing costs more than an edit that needs both.
    pair = (torch.eye(TOKENS) / 2, torch.full((TOKENS,), 0.5)) if in_windows else no_edit(TOKENS, TOKENS)
    edit = Edit(*(part.expand(steps, *part.shape) for part in pair), torch.full((steps,), in_windows))
    prepared = PreparedEdit(inverted, work.source, work.null, [Target(work.target, edit)])

    def algorithm(denoise, z0, sigmas):
        watch.begin(partial(denoise, z0, sigmas[0], SOURCE))
        decoupled_sample(work.inflated, prepared, callback=watch.mark)

    run(work.inflated, work.source, work.null, work.latent, sigmas, algorithm)


def recorded(work: Work, inverted: Inversion) -> AttentionRecords:
    """The queries and keys of all steps."""
    records = AttentionRecords(RecordSettings(cross=1.0, temporal=1.0), inverted.steps)

    def algorithm(denoise, z0, sigmas):
        denoise = keeping(denoise, records, sigmas, TOKENS, z0.shape[-2:])
        for sigma in sigmas[:-1]:
            denoise(z0, sigma, SOURCE)

    run(work.inflated, work.source, work.null, work.latent, inverted.sigmas, algorithm)
    return records


def null_text_updates(work: Work, steps: int, watch: Watch, checkpointing: bool = False) -> None:
    """Updates of the shared null text, all at one noise level."""

    def algorithm(_, denoise, z0, sigmas):
        def watched(x, sigma, conditioning):
            if isinstance(conditioning, torch.Tensor):  # an update begins or, after the last, the step down
                watch.mark()
            return denoise(x, sigma, conditioning)

        watch.begin(partial(denoise, z0, sigmas[0], SOURCE))
        null = work.null[0][0].clone().to(z0)
        null_text.optimise_null_text(
            watched, torch.stack([z0, z0]).cpu(), sigmas, SOURCE, null, inner_steps=steps, epsilon=0
        )  # fmt: skip

    run_differentiable(
        work.inflated, work.source, work.null, work.latent, levels(work, 1), algorithm, checkpointing=checkpointing
    )


def tuning_steps(work: Work, steps: int, watch: Watch, checkpointing: bool = False) -> None:
    def algorithm(copy, denoise, z0, sigmas):
        watch.begin(partial(denoise, z0, sigmas[0], SOURCE))
        prediction = prediction_of(work.inflated)
        tuning.tune(
            denoise,
            trainable(copy),
            z0,
            sigmas,
            SOURCE,
            TuningSettings(steps),
            prediction=prediction,
            progress=watch.mark,
        )

    sigmas = model_sigmas(work.inflated)
    run_differentiable(
        work.inflated, work.source, work.source, work.latent, sigmas, algorithm, checkpointing=checkpointing
    )


def levels(work: Work, steps: int) -> torch.Tensor:
    return ddim_sigmas(model_sigmas(work.inflated), steps)
