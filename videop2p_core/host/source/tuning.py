"""Tune on Video: one-shot tuning of a LATENT, and tunings on the MODELs that they fit."""

from dataclasses import replace

from ...diffusion.tuning import Tuning, check_settings
from ..comfy.progress import TuningProgress
from ..model import memory_budget as budget
from ..model.identity import TUNINGS, base_of, fingerprint_of, unlikeness
from ..model.input_checks import check_conditioning, check_everywhere, check_family, check_hints, clip_of
from . import resume as unfinishing
from . import tuning_run as host_tuning
from .resume import unfinished


def tune(
    model, positive, latent, *, steps, learning_rate, seed=0, checkpointing=False, show_every=0, **settings
) -> Tuning:
    """Tune a copy of an inflated MODEL, the loss curve in sight, and every `show_every` steps the clip as the model
    sees it; settings go to tuning.tune."""
    check_family(model)
    check_conditioning(model, positive=positive)
    check_everywhere(positive=positive)
    clip = clip_of(latent, model)
    check_hints(len(clip), positive=positive)
    if steps < 1:
        raise ValueError(f"{steps} steps were asked for: tuning takes at least 1")
    check_settings(learning_rate, seed)
    settings |= {"steps": steps, "learning_rate": learning_rate, "seed": seed}

    with unfinished(model, positive, clip, settings) as unfinished_run:

        def run(model, way):
            progress = TuningProgress(steps, model.model.latent_format)
            return host_tuning.tune_latent(
                model, positive, clip, checkpointing=way > 0, base_model=base_of(model),
                fingerprint=fingerprint_of(model), progress=progress, show=progress.show, show_every=show_every,
                unfinished=unfinished_run.stage("tuning", unfinishing.TUNING, model), **settings,
            )  # fmt: skip

        trained = budget.trained_bytes(model)
        return budget.carried_out(budget.TUNING, model, clip, run, way=int(checkpointing), beside=trained)


def tuned(model, tuning: Tuning):
    """A clone of an inflated MODEL with the tuning in it, which says so in its identity."""
    check_family(model)
    base = base_of(model, tuning)
    if tuning.base_model and tuning.base_model != base:
        differing, precision = unlikeness(model, tuning)
        raise ValueError(
            f"the tuning was made on {tuning.base_model}, but the model connected is {base}{differing}: load the "
            f"checkpoint that it was tuned on{precision}"
        )
    result = host_tuning.with_tuning(model, tuning)
    result.set_attachments(TUNINGS, (*(model.get_attachment(TUNINGS) or ()), tuning))
    return result


def tuning_of(model) -> Tuning:
    """What a tuned MODEL was tuned with, all its tunings as one."""
    tunings = model.get_attachment(TUNINGS) or ()
    if not tunings:
        raise ValueError("the model is not tuned: connect the model from Tune on Video or Load Tuning")
    deltas, temporal = {}, {}
    for tuning in tunings:
        deltas |= {name: deltas[name] + delta if name in deltas else delta for name, delta in tuning.deltas.items()}
        temporal = tuning.temporal or temporal
    return replace(tunings[-1], deltas=deltas, temporal=temporal)
