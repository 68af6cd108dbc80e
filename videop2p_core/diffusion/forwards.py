"""How many forwards of the clip an operation takes: what all of it costs. One with a backward pass counts as one."""

from collections.abc import Sequence
from dataclasses import dataclass

from . import inversion as inversions
from .inversion import InversionSettings
from .tuning import PROBED_EVERY, PROBES, TuningSettings


@dataclass(frozen=True)
class Forwards:
    """at_most: whether it may end with fewer of them."""

    steps: int
    forwards: int
    at_most: bool = False


def of_tuning(settings: TuningSettings, preview_every: int = 0) -> Forwards:
    """One a step; with patience PROBES before the first and after every PROBED_EVERY, with previews one each."""
    steps = settings.steps
    probes = PROBES * (1 + steps // PROBED_EVERY) if settings.patience else 0
    return Forwards(steps, steps + probes + (steps // preview_every if preview_every else 0), settings.patience > 0)


def of_inversion(settings: InversionSettings, checked: bool = False) -> Forwards:
    """The path up, the null text and the way down again. checked: whether pictures to compare with are connected."""
    steps, method = settings.steps, settings.method
    path = steps * (settings.rounds + 1)
    if method == inversions.VIRTUAL:
        path = steps if settings.record_settings else 0
    # Of each step the source, every update, and the null text that came of them.
    null_text = steps * (settings.inner_steps + 2) if settings.optimises_null_text else 0
    down = 0 if method in inversions.ON_PATH else steps * (1 + settings.optimises_null_text)
    replay = steps if checked and method in inversions.REPLAYED else 0
    return Forwards(steps, path + null_text + down + replay, settings.optimises_null_text)


def of_edit(
    inversion: InversionSettings,
    *,
    strength: float = 1.0,
    emphasis: float = 0.0,
    variants: int = 1,
    shared: bool = True,
) -> Forwards:
    """Of one edit, which looks at its source in every step at most, and is guided in all of them. variants: how many
    there are of it; shared: whether they share that look, or each has one of its own, as on a video model."""
    steps = max(round(strength * inversion.steps), 1)
    source = 0 if inversion.record_settings else 1 + inversion.optimises_null_text
    looks = source if shared else source * variants
    return Forwards(steps, steps * (looks + variants * (2 + 2 * (emphasis > 0))), at_most=True)


def of_edits(edits: Sequence[Forwards]) -> Forwards:
    """Of several: those that begin alike share their source as well, but on a video model, and take fewer."""
    return Forwards(max(edit.steps for edit in edits), sum(edit.forwards for edit in edits), at_most=True)


def of_source_maps(inversion: InversionSettings, step: int = 0, sharp: bool = False) -> Forwards:
    """A look at the source in one step (1 the noisiest), or in all (0). sharp: at what looks alike in the last too."""
    steps = 1 if step else inversion.steps
    looks = steps + (sharp and 0 < step < inversion.steps)
    return Forwards(looks, looks)
