"""DDIM Invert: inversion, what it reconstructs, and what there is to say about it."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import folder_paths
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion import inversion as inversions
from ...diffusion import null_text as null_texts
from ...diffusion.attention_records import AttentionRecords
from ...diffusion.fresh_noise import shared_noise
from ...diffusion.inversion import Denoise, Inversion, InversionSettings, Progress
from ...diffusion.null_text import NullText
from ...diffusion.schedule import ddim_sigmas, to_x
from ...diffusion.unfinished import Unfinished
from ...log import LOG
from ..comfy.conditioning import Conditioning, embedding_of, sizes_of
from ..comfy.denoiser import SOURCE, Denoiser, model_sigmas, prediction_of, run
from ..comfy.latents import as_clip, as_latent, latent_out
from ..comfy.progress import latent_progress
from ..control.attention_recorder import keeping
from ..families.table import family_of
from ..model import memory_budget as budget
from ..model.gradients import run_differentiable
from ..model.identity import full_fingerprint_of, identity_of
from ..model.image_conditioning import check_alike, has_picture
from ..model.inflate import sees_frames_alone
from ..model.input_checks import (
    check_conditioning,
    check_editable,
    check_everywhere,
    check_hints,
    check_supported,
    clip_of,
    sound_of,
)
from . import resume as unfinishing
from .reconstruction import ReconstructionCheck, SourceFrames
from .resume import Run, unfinished

FRAMES_ALONE = "This model sees every frame by itself, so that an edit will tremble: put Inflate UNet before this node"


@dataclass(frozen=True)
class InversionOutputs:
    """Latents as the host lays them out, in VAE units.

    noise           as a stock sampler would leave it halfway: one with add_noise off goes on from it
    reconstruction  the clip run down again
    check           what a replay and the VAE alone leave of the pictures, None where they were not given
    """

    inversion: Inversion
    noise: Tensor
    reconstruction: Tensor
    report: str
    check: ReconstructionCheck | None = None


def invert(
    model: ModelPatcher,
    source: Conditioning,
    null: Conditioning,
    latent: dict[str, Any],
    settings: InversionSettings,
    source_frames: SourceFrames | None = None,
    *,
    ancestors: str | None = None,
    origins: str | None = None,
) -> InversionOutputs:
    """Invert a LATENT and run the source branch down again.

    source_frames: the pictures that it was encoded from; ancestors: as in `unfinished`; origins: as in
    `run_within_memory`
    """
    check_editable(model)
    check_supported(model, settings.method, settings.record_settings)
    check_conditioning(model, source=source, null=null)
    check_everywhere(source=source, null=null)
    clip, sound = clip_of(latent, model), sound_of(latent)
    check_hints(model, len(clip), source=source, null=null)
    check_alike(model.model, source=source, null=null)
    if source_frames is not None:
        source_frames.check_fits(model.model, clip)
    model = family_of(model).with_sound(model, sound)
    operation = budget.NULL_TEXT if settings.optimises_null_text else budget.INVERSION
    settings = _placed(model, source, clip, settings)
    # What the source's attention saw is no part of an unfinished run: it would take gigabytes more.
    resumable = ancestors if settings.record_settings is None else None
    # How memory is saved changes no number.
    with unfinished(resumable, model, (source, null), clip, replace(settings, checkpointing=False)) as unfinished_run:

        def run(model: ModelPatcher, way: int) -> tuple[Inversion, Tensor, Tensor]:
            chosen = replace(settings, checkpointing=way > 0)
            return invert_and_replay(
                model, source, null, clip, chosen, unfinished_run, replayed=source_frames is not None
            )

        way = int(operation.with_gradients and settings.checkpointing)
        # An edit of a source that was kept takes the clip in the same passes, so these are the user's to choose.
        inversion, z, replay = budget.run_within_memory(
            operation, model, clip, run, shown=source, way=way, may_cut=settings.record_settings is None,
            origins=origins,
        )  # fmt: skip
        message, check = report(inversion, z), None
        if sees_frames_alone(model, len(clip)):
            LOG.warning(FRAMES_ALONE)
            message += f"\n{FRAMES_ALONE}"
        if source_frames is not None:
            check = source_frames.compared(
                as_latent(model.model, clip), latent_out(model.model, replay), settings.method
            )
            message += f"\n{check.verdict()}"
        inversion = replace(inversion, sound=sound)
        return InversionOutputs(inversion, noise_latent(model, inversion), latent_out(model.model, z), message, check)


def _placed(model: ModelPatcher, source: Conditioning, clip: Tensor, settings: InversionSettings) -> InversionSettings:
    """With what is kept of the source in memory or on disk, as there is room."""
    if settings.record_settings is None:
        return settings
    tokens = embedding_of(source, "source").shape[1]
    expected = budget.kept_bytes(model, clip, settings.record_settings, settings.steps, tokens)
    return replace(settings, record_settings=budget.place_of(settings.record_settings, expected, new_folder()))


def invert_and_replay(
    model: ModelPatcher,
    source: Conditioning,
    null: Conditioning,
    clip: Tensor,
    settings: InversionSettings,
    unfinished_run: Run,
    *,
    replayed: bool,
) -> tuple[Inversion, Tensor, Tensor]:
    """(inversion, z, replay): z [*latent] of the source branch run down again, by the method and, where it is asked
    for, without a look at the stored path."""
    on_path = settings.method in inversions.ON_PATH
    replayed = replayed and settings.method in inversions.REPLAYED
    stages = 1 + settings.optimises_null_text + (replayed or not on_path)
    progress = latent_progress(model, stages * settings.steps, "DDIM Invert")
    path = unfinished_run.stage("inversion", unfinishing.INVERSION, model)
    texts = unfinished_run.stage("null_text", unfinishing.NULL_TEXT, model)
    inversion = invert_latent(
        model, source, null, clip, settings, base_model=identity_of(model), fingerprint=full_fingerprint_of(model),
        progress=progress, unfinished=(path, texts),
    )  # fmt: skip
    z = replay = reconstruct(model, source, null, inversion, progress=progress)[-1]
    if replayed:  # whose reconstruction is the clip itself
        replay = reconstruct(model, source, null, inversion, replay=True, progress=progress)[-1]
    return inversion, z, replay


def new_folder() -> Path:
    """For records, under the host's temporary folder; made when it is used."""
    return Path(folder_paths.get_temp_directory(), "videop2p", uuid4().hex)


def noise_latent(model: ModelPatcher, inversion: Inversion) -> Tensor:
    """z_T as the host hands a noisy latent from one sampler to the next: x, in VAE units."""
    sigma = inversion.sigmas[0]
    x = to_x(inversion.noise, sigma, flow=inversion.flow)
    sampling: Any = model.get_model_object("model_sampling")
    return latent_out(model.model, sampling.inverse_noise_scaling(sigma, x))


def report(inversion: Inversion, z: Tensor) -> str:
    """What was done and how well z [*latent] reconstructs the clip."""
    frames, _, height, width = z.shape
    lines = [
        f"{inversion.method}, {inversion.steps} steps, cfg {inversion.cfg:g}, {inversion.rounds} fixed-point rounds",
        f"{frames} frames, latents {width} x {height}",
        f"model: {inversion.base_model}",
    ]
    if inversion.method in inversions.ON_PATH:
        lines.append("the source is put back on its stored path, so the reconstruction is exact")
    else:
        clip = inversion.trajectory[0]
        error = (z - clip).square().mean().sqrt() / clip.std()
        lines.append(f"reconstruction: root mean square error {100 * error:.2f} % of the latent's standard deviation")
    if inversion.records is not None:
        where = "in memory" if inversion.records.settings.folder is None else "on disk"
        lines.append(f"source kept {where}: {inversion.records.bytes / 2**20:.0f} MiB")
    if inversion.losses:
        updates = sum(map(len, inversion.losses))
        lines.append(f"null text: {updates} updates, last loss {inversion.losses[-1][-1]:.2e}")
    return "\n".join(lines)


def ddim_invert(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    *,
    steps: int = InversionSettings.steps,
    rounds: int = InversionSettings.rounds,
    records: AttentionRecords | None = None,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
) -> tuple[Tensor, Tensor]:
    """(trajectory [steps + 1, *latent], sigmas [steps + 1]) of a latent [frames, channels, height, width] in VAE units.

    The trajectory is at the model's scale, index 0 = the clean clip; the sigmas are noisiest first.
    records: takes what the source's attention sees; unfinished: as in inversions.ddim_invert.
    """
    flow = prediction_of(model) == "flow"
    tokens, (height, width) = embedding_of(positive, "positive").shape[1], latent.shape[-2:]
    sigmas = ddim_sigmas(model_sigmas(model), steps)
    if flow and sigmas[0] >= 1:
        raise ValueError(f"{steps} steps would end in noise without any of the clip: give another number of steps")

    def algorithm(denoise: Denoiser, z0: Tensor, sigmas: Tensor) -> Tensor:
        predict: Denoise = denoise
        if records is not None:
            predict = keeping(denoise, records, sigmas, tokens, (height, width))
        return inversions.ddim_invert(
            predict, z0, sigmas, SOURCE, rounds=rounds, flow=flow, progress=progress, unfinished=unfinished
        )

    return run(model, positive, negative, latent, sigmas, algorithm), sigmas.cpu()


def virtual_path(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    settings: InversionSettings,
    records: AttentionRecords | None = None,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor]:
    """As `ddim_invert`, with the clip under one noise for all frames: a forward a step where anything is kept, else
    none."""
    flow, sigmas = prediction_of(model) == "flow", ddim_sigmas(model_sigmas(model), settings.steps)
    tokens, (height, width) = embedding_of(positive, "positive").shape[1], latent.shape[-2:]

    def algorithm(denoise: Denoiser, z0: Tensor, sigmas: Tensor) -> Tensor:
        path = inversions.virtual_path(z0, sigmas, shared_noise(z0, settings.seed), flow=flow)
        if records is not None:
            predict = keeping(denoise, records, sigmas, tokens, (height, width))
            records.directions = inversions.directions_along(
                predict, path, sigmas, SOURCE, flow=flow, progress=progress
            )
        return path

    return run(model, positive, negative, latent, sigmas, algorithm), sigmas.cpu()


def optimise_null_text(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    trajectory: Tensor,
    sigmas: Tensor,
    *,
    checkpointing: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> NullText:
    """null_text.NullText along a trajectory, started from the embedding of `negative`; settings go to the algorithm."""
    initial_null = embedding_of(negative, "negative")
    flow = prediction_of(model) == "flow"

    def algorithm(_: ModelPatcher, denoise: Denoiser, z0: Tensor, sigmas: Tensor) -> NullText:
        return null_texts.optimise_null_text(
            denoise, trajectory.clone().to(z0.dtype), sigmas, SOURCE, initial_null.clone().to(z0), flow=flow,
            progress=progress, **settings,
        )  # fmt: skip

    latent = as_clip(latent_out(model.model, trajectory[0]))
    return run_differentiable(model, positive, negative, latent, sigmas, algorithm, checkpointing=checkpointing)


def reconstruct(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    inversion: Inversion,
    *,
    replay: bool = False,
    progress: Progress | None = None,
) -> Tensor:
    """The source branch run down again: z after each step, [steps, *latent]; `replay`: without a look at the stored
    path, which the direct method would put it back on."""
    run_down = inversions.replay if replay else inversions.reconstruct

    def algorithm(denoise: Denoiser, z0: Tensor, _sigmas: Tensor) -> Tensor:
        return run_down(denoise, inversion.on(z0.device), SOURCE, progress=progress)

    latent = as_clip(latent_out(model.model, inversion.trajectory[0]))
    return run(model, positive, negative, latent, inversion.sigmas, algorithm)


def invert_latent(
    model: ModelPatcher,
    positive: Conditioning,
    negative: Conditioning,
    latent: Tensor,
    settings: InversionSettings,
    *,
    base_model: str = "",
    fingerprint: Tensor | None = None,
    progress: Progress | None = None,
    unfinished: tuple[Unfinished | None, Unfinished | None] = (None, None),
) -> Inversion:
    """The Inversion of a latent [frames, channels, height, width] in VAE units.

    `progress(step, z)` hears every step of the inversion and then every step of the null-text optimisation. unfinished:
    where the state of either is kept.
    """
    path, texts = unfinished
    source, initial_null = embedding_of(positive, "positive"), embedding_of(negative, "negative")
    if settings.optimises_null_text and len(negative) > 1:
        raise ValueError(
            f"a null text is optimised for one conditioning, the negative input holds {len(negative)}: connect a "
            "single CLIP Text Encode"
        )
    if settings.record_settings is not None and settings.method not in inversions.KEEPING_METHODS:
        raise ValueError(
            f"{settings.method} looks at the source in every step of an edit, so there is no use in keeping what it "
            f"saw: choose one of {', '.join(inversions.KEEPING_METHODS)}, or keep nothing"
        )
    records = None if settings.record_settings is None else AttentionRecords(settings.record_settings, settings.steps)
    if settings.method == inversions.VIRTUAL:
        trajectory, sigmas = virtual_path(model, positive, negative, latent, settings, records, progress)
    else:
        trajectory, sigmas = ddim_invert(
            model, positive, negative, latent, steps=settings.steps, rounds=settings.rounds, records=records,
            progress=progress, unfinished=path,
        )  # fmt: skip
    null, losses = None, ()
    if settings.optimises_null_text:
        null_text = optimise_null_text(
            model, positive, negative, trajectory, sigmas, cfg=settings.cfg, inner_steps=settings.inner_steps,
            epsilon=settings.epsilon, per_frame=settings.method == inversions.PER_FRAME_NULL_TEXT,
            checkpointing=settings.checkpointing, progress=progress, unfinished=texts,
        )  # fmt: skip
        null, losses = null_text.null, null_text.losses
    return Inversion(
        method=settings.method, trajectory=trajectory, sigmas=sigmas, source=source, initial_null=initial_null,
        null=null, cfg=settings.cfg, rounds=settings.rounds, flow=prediction_of(model) == "flow", losses=losses,
        base_model=base_model, fingerprint=fingerprint, records=records, seed=settings.seed,
        with_picture=has_picture(model.model, positive), sizes=sizes_of(positive),
    )  # fmt: skip
