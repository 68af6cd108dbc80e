"""DDIM Invert: inversion, what it reconstructs, and what there is to say about it."""

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import folder_paths
import torch

from ...diffusion import inversion as inversions
from ...diffusion.inversion import Inversion
from ...diffusion.schedule import to_x
from ..comfy.conditioning import embedding_of
from ..comfy.latents import as_latent, latent_out
from ..comfy.progress import latent_progress
from ..model import memory_budget as budget
from ..model.identity import full_fingerprint_of, identity_of
from ..model.image_conditioning import check_alike
from ..model.input_checks import (
    check_conditioning,
    check_editable,
    check_everywhere,
    check_hints,
    check_supported,
    clip_of,
)
from . import inversion_run as host_inversion
from . import resume as unfinishing
from .reconstruction import ReconstructionCheck, SourceFrames
from .resume import unfinished


@dataclass(frozen=True)
class Inverted:
    """Latents as the host lays them out, in VAE units.

    noise           as a stock sampler would leave it halfway: one with add_noise off goes on from it
    reconstruction  the clip run down again
    check           what a replay and the VAE alone leave of the pictures, None where they were not given
    """

    inversion: Inversion
    noise: torch.Tensor
    reconstruction: torch.Tensor
    report: str
    check: ReconstructionCheck | None = None


def invert(
    model, source, null, latent, *, method, steps, checkpointing=False, kept=None, original: SourceFrames | None = None,
    **settings,
) -> Inverted:  # fmt: skip
    """Invert a LATENT and run the source branch down again; settings go to invert_latent."""
    check_editable(model)
    check_supported(model, method, kept)
    check_conditioning(model, source=source, null=null)
    check_everywhere(source=source, null=null)
    clip = clip_of(latent, model)
    check_hints(len(clip), source=source, null=null)
    check_alike(model.model, source=source, null=null)
    if original is not None:
        original.check_fits(model.model, clip)
    operation = budget.NULL_TEXT if method in inversions.NULL_TEXT_METHODS else budget.INVERSION
    if kept is not None:
        tokens = embedding_of(source, "source").shape[1]
        kept = budget.place_of(kept, budget.kept_bytes(model, clip, kept, steps, tokens), new_folder())
    inputs = source, null, clip, method, steps, kept is None, settings
    with unfinished(model, *inputs) as unfinished_run:

        def run(model, way):
            return inverted(
                model, source, null, clip, unfinished_run, method=method, steps=steps, checkpointing=way > 0, kept=kept,
                replayed=original is not None, **settings,
            )  # fmt: skip

        way = int(operation.with_gradients and checkpointing)
        # An edit of a source that was kept takes the clip in the same passes, so these are the user's to choose.
        inversion, z, replay = budget.carried_out(operation, model, clip, run, way=way, may_cut=kept is None)
        said, check = report(inversion, z), None
        if original is not None:
            check = original.compared(as_latent(model.model, clip), latent_out(model.model, replay), method)
            said += f"\n{check.verdict()}"
        return Inverted(inversion, noise_latent(model, inversion), latent_out(model.model, z), said, check)


def inverted(model, source, null, clip, unfinished_run, *, method, steps, replayed, kept=None, **settings):
    """(inversion, z, replay): z [*latent] of the source branch run down again, by the method and, where it is asked
    for, without a look at the stored path."""
    direct = method == inversions.DIRECT
    stages = 1 + (method in inversions.NULL_TEXT_METHODS) + (replayed or not direct)
    progress = latent_progress(model, stages * steps)
    path = unfinished_run.stage("inversion", unfinishing.INVERSION, model)
    texts = unfinished_run.stage("null_text", unfinishing.NULL_TEXT, model)
    inversion = host_inversion.invert_latent(
        model, source, null, clip, method=method, steps=steps, kept=kept, base_model=identity_of(model),
        fingerprint=full_fingerprint_of(model), progress=progress, unfinished=(path, texts), **settings,
    )  # fmt: skip
    z = replay = host_inversion.reconstruct(model, source, null, inversion, progress=progress)[-1]
    if replayed and direct:  # whose reconstruction is the clip itself
        replay = host_inversion.reconstruct(model, source, null, inversion, replay=True, progress=progress)[-1]
    return inversion, z, replay


def new_folder() -> Path:
    """For records, under the host's temporary folder; made when it is used."""
    return Path(folder_paths.get_temp_directory(), "videop2p", uuid4().hex)


def noise_latent(model, inversion: Inversion) -> torch.Tensor:
    """z_T as the host hands a noisy latent from one sampler to the next: x, in VAE units."""
    sigma = inversion.sigmas[0]
    x = to_x(inversion.noise, sigma, flow=inversion.flow)
    sampling = model.get_model_object("model_sampling")
    return latent_out(model.model, sampling.inverse_noise_scaling(sigma, x))


def report(inversion: Inversion, z: torch.Tensor) -> str:
    """What was done and how well z [*latent] reconstructs the clip."""
    frames, _, height, width = z.shape
    lines = [
        f"{inversion.method}, {inversion.steps} steps, cfg {inversion.cfg:g}, {inversion.rounds} fixed-point rounds",
        f"{frames} frames, latents {width} x {height}",
        f"model: {inversion.base_model}",
    ]
    if inversion.method == inversions.DIRECT:
        lines.append("the source is put back on its stored path, so the reconstruction is exact")
    else:
        clip = inversion.trajectory[0]
        error = (z - clip).square().mean().sqrt() / clip.std()
        lines.append(f"reconstruction: root mean square error {100 * error:.2f} % of the latent's standard deviation")
    if inversion.records is not None:
        where = "in memory" if inversion.records.kept.folder is None else "on disk"
        lines.append(f"source kept {where}: {inversion.records.bytes / 2**20:.0f} MiB")
    if inversion.losses:
        updates = sum(map(len, inversion.losses))
        lines.append(f"null text: {updates} updates, last loss {inversion.losses[-1][-1]:.2e}")
    return "\n".join(lines)
