"""Inversion of a clip through a ComfyUI MODEL."""

import math

from ...diffusion import inversion, schedule
from ...diffusion import null_text as null_texts
from ...diffusion.attention_records import AttentionRecords
from ...diffusion.inversion import Inversion
from ..comfy.conditioning import embedding_of
from ..comfy.denoiser import SOURCE, model_sigmas, prediction_of, run
from ..comfy.latents import as_clip, latent_out
from ..control.attention_recorder import keeping
from ..model.gradients import run_differentiable
from ..model.image_conditioning import has_picture


def ddim_invert(model, positive, negative, latent, *, steps=50, rounds=0, records=None, progress=None, unfinished=None):
    """(trajectory [steps + 1, *latent], sigmas [steps + 1]) of a latent [frames, channels, height, width] in VAE units.

    The trajectory is at the model's scale, index 0 = the clean clip; the sigmas are noisiest first.
    records: takes what the source's attention sees; unfinished: as in inversion.ddim_invert.
    """
    flow = prediction_of(model) == "flow"
    tokens = embedding_of(positive, "positive").shape[1]
    sigmas = schedule.ddim_sigmas(model_sigmas(model), steps)
    if flow and sigmas[0] >= 1:
        raise ValueError(f"{steps} steps would end in noise without any of the clip: give another number of steps")

    def algorithm(denoise, z0, sigmas):
        if records is not None:
            denoise = keeping(denoise, records, sigmas, tokens, z0.shape[-2:])
        return inversion.ddim_invert(
            denoise, z0, sigmas, SOURCE, rounds=rounds, flow=flow, progress=progress, unfinished=unfinished
        )

    return run(model, positive, negative, latent, sigmas, algorithm), sigmas.cpu()


def optimise_null_text(
    model, positive, negative, trajectory, sigmas, *, checkpointing=False, progress=None, **settings
):
    """null_text.NullText along a trajectory, started from the embedding of `negative`; settings go to the algorithm."""
    initial_null = embedding_of(negative, "negative")
    flow = prediction_of(model) == "flow"

    def algorithm(_, denoise, z0, sigmas):
        return null_texts.optimise_null_text(
            denoise, trajectory.clone().to(z0.dtype), sigmas, SOURCE, initial_null.clone().to(z0), flow=flow,
            progress=progress, **settings,
        )  # fmt: skip

    latent = as_clip(latent_out(model.model, trajectory[0]))
    return run_differentiable(model, positive, negative, latent, sigmas, algorithm, checkpointing=checkpointing)


def reconstruct(model, positive, negative, inverted, *, replay=False, progress=None):
    """The source branch run down again: z after each step, [steps, *latent]; `replay`: without a look at the stored
    path, which the direct method would put it back on."""
    way = inversion.replay if replay else inversion.reconstruct

    def algorithm(denoise, z0, sigmas):
        return way(denoise, inverted.on(z0.device), SOURCE, progress=progress)

    latent = as_clip(latent_out(model.model, inverted.trajectory[0]))
    return run(model, positive, negative, latent, inverted.sigmas, algorithm)


def invert_latent(
    model, positive, negative, latent, *, method=inversion.SHARED_NULL_TEXT, steps=50, rounds=0, cfg=7.5,
    inner_steps=10, epsilon=1e-5, checkpointing=False, kept=None, base_model="", fingerprint=None,
    progress=None, unfinished=(None, None),
) -> Inversion:  # fmt: skip
    """The Inversion of a latent [frames, channels, height, width] in VAE units, by one of inversion.METHODS.

    kept: what to keep of the source for its edits, None for nothing; `progress(step, z)` hears every step of the
    inversion and then every step of the null-text optimisation. unfinished: where the state of either is kept; one that
    keeps the source begins anew, as what the source's attention sees would take gigabytes more.
    """
    path, texts = unfinished
    inversion.check_method(method)
    if rounds < 0 or inner_steps < 1:
        raise ValueError(f"{rounds} rounds and {inner_steps} inner steps were asked for: give at least 0 and 1")
    if not math.isfinite(cfg):
        raise ValueError(f"the cfg is {cfg}: give a number from 1 on")
    source, initial_null = embedding_of(positive, "positive"), embedding_of(negative, "negative")
    if method in inversion.NULL_TEXT_METHODS and len(negative) > 1:
        raise ValueError(
            f"a null text is optimised for one conditioning, the negative input holds {len(negative)}: connect a "
            "single CLIP Text Encode"
        )
    if kept is not None and method != inversion.DIRECT:
        raise ValueError(
            f"{method} looks at the source in every step of an edit, so there is no use in keeping what it saw: choose "
            f"the method {inversion.DIRECT}, or keep nothing"
        )
    records = kept and AttentionRecords(kept, steps)
    trajectory, sigmas = ddim_invert(
        model, positive, negative, latent, steps=steps, rounds=rounds, records=records, progress=progress,
        unfinished=None if kept else path,
    )  # fmt: skip
    null, losses = None, ()
    if method in inversion.NULL_TEXT_METHODS:
        null_text = optimise_null_text(
            model, positive, negative, trajectory, sigmas, cfg=cfg, inner_steps=inner_steps, epsilon=epsilon,
            per_frame=method == inversion.PER_FRAME_NULL_TEXT, checkpointing=checkpointing, progress=progress,
            unfinished=texts,
        )  # fmt: skip
        null, losses = null_text.null, null_text.losses
    return Inversion(
        method=method, trajectory=trajectory, sigmas=sigmas, source=source, initial_null=initial_null, null=null,
        cfg=cfg, rounds=rounds, flow=prediction_of(model) == "flow", losses=losses,
        base_model=base_model, fingerprint=fingerprint, records=records,
        with_picture=has_picture(model.model, positive),
    )  # fmt: skip
