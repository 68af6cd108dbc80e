"""Inversion of a clip: DDIM with fixed-point rounds, then what keeps the source on its path under guidance.

A denoiser is a function `denoise(x, sigma, conditioning) -> denoised` (shapes of x kept, sigma a scalar tensor).
`source` is whatever that function takes as the source prompt's conditioning; null texts are passed to it as tensors
[1 or frames, tokens, channels].

A run is where its sigmas are. What there is of every step, latents and null texts, stays in main memory: of a long clip
it is gigabytes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..device_transfer import sent
from ..finite import check_finite
from . import schedule
from .attention_records import AttentionRecords, RecordSettings
from .guidance import classifier_free_guidance
from .unfinished import State, Unfinished
from .weight_fingerprint import check_fingerprint

Denoise = Callable[[Tensor, Tensor, Any], Tensor]
Progress = Callable[[int, Tensor], None]

SHARED_NULL_TEXT = "shared null-text"
PER_FRAME_NULL_TEXT = "per-frame null-text"
DIRECT = "direct"
DIRECT_EXACT = "direct-exact"
DIRECT_RESIDUAL = "direct-residual"
VIRTUAL = "virtual"
NEGATIVE_PROMPT = "negative-prompt"
PROXIMAL = "proximal"
NULL_TEXT_METHODS = (SHARED_NULL_TEXT, PER_FRAME_NULL_TEXT)
EXACT_METHODS = (DIRECT_EXACT, DIRECT_RESIDUAL, VIRTUAL)
KEEPING_METHODS = (DIRECT, DIRECT_EXACT, VIRTUAL)  # need not look at the source in an edit
ON_PATH = (DIRECT, *EXACT_METHODS)  # the source is put back on its stored path
REPLAYED = (DIRECT, DIRECT_EXACT, DIRECT_RESIDUAL)  # put back on the path of the clip's own noise, which a replay shows
METHODS = (*NULL_TEXT_METHODS, DIRECT, NEGATIVE_PROMPT, PROXIMAL, *EXACT_METHODS)


@dataclass(frozen=True)
class InversionSettings:
    """How a clip is inverted.

    method         one of METHODS
    steps          DDIM steps up to the noise; an edit takes as many down again
    rounds         fixed-point rounds of each step, 0 for plain DDIM
    cfg            guidance of the reconstruction and of the edit
    inner_steps    null-text methods: updates of each step at most; epsilon: they end once the loss is below it
    checkpointing  null-text methods: compute activations twice rather than keep them
    record_settings  KEEPING_METHODS: what to keep of the source for its edits, None for nothing
    seed           of noise that is drawn: of all of it where nothing is inverted, else of what takes its place
    """

    method: str = SHARED_NULL_TEXT
    steps: int = 50
    rounds: int = 0
    cfg: float = 7.5
    inner_steps: int = 10
    epsilon: float = 1e-5
    checkpointing: bool = False
    record_settings: RecordSettings | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_method(self.method)
        if self.rounds and self.method == VIRTUAL:
            raise ValueError(f"{self.rounds} rounds were asked for, but {VIRTUAL} has no inversion to repeat: give 0")
        if self.rounds < 0 or self.inner_steps < 1:
            raise ValueError(
                f"{self.rounds} rounds and {self.inner_steps} inner steps were asked for: give at least 0 and 1"
            )
        if not math.isfinite(self.cfg):
            raise ValueError(f"the cfg is {self.cfg}: give a number from 1 on")

    @property
    def optimises_null_text(self) -> bool:
        return self.method in NULL_TEXT_METHODS


@dataclass(frozen=True)
class Inversion:
    """A clip's path through the noise levels, and what reconstructs it under guidance.

    trajectory   [steps + 1, *latent], z at the model's scale, index 0 = the clean clip, steps = the noise
    sigmas       [steps + 1], noisiest first: sigmas[i] is the level of trajectory[steps - i]
    source       [1, tokens, channels], embedding of the source prompt
    null         [steps, 1 or frames, tokens, channels], the optimised null texts, noisiest step first; None for the
                 methods that optimise nothing
    initial_null [1, tokens, channels], the null text the target is guided with
    losses       per step, the loss before each update of the null text
    proximal_*   how the proximal method shrinks the target's guidance, see `proximal`
    base_model   what it was made with, in words; fingerprint: of its weights, see fingerprint, None where not known
    seed         of the noise that takes the place of the inverted one, see fresh_noise
    with_picture whether the source's conditioning brought a picture to go by; None where that is not known
    sound        a latent of what is heard beside the pictures, as the host lays it out; None for none
    sizes        what the source's conditioning told in numbers beside the text, as sizes and crops for SDXL
    records      the source's queries and keys, where they were kept; for KEEPING_METHODS alone
    """

    method: str
    trajectory: Tensor
    sigmas: Tensor
    source: Tensor
    initial_null: Tensor
    null: Tensor | None = None
    cfg: float = InversionSettings.cfg
    rounds: int = InversionSettings.rounds
    flow: bool = False
    losses: tuple[tuple[float, ...], ...] = ()
    base_model: str = ""
    proximal_quantile: float = 0.7
    proximal_soft: bool = False
    records: AttentionRecords | None = None
    with_picture: bool | None = None
    seed: int = 0
    fingerprint: Tensor | None = None
    sizes: dict = field(default_factory=dict)
    sound: Tensor | None = None

    def __post_init__(self) -> None:
        check_method(self.method)
        check_fingerprint(self.fingerprint)
        if len(self.trajectory) != len(self.sigmas):
            raise ValueError(
                f"the inversion has {len(self.trajectory)} latents for {len(self.sigmas)} noise levels; "
                "they must be as many"
            )
        if (self.null is not None) != (self.method in NULL_TEXT_METHODS):
            raise ValueError(f"an inversion by {self.method} {'has' if self.null is None else 'takes'} no null texts")
        if self.records is not None and self.method not in KEEPING_METHODS:
            raise ValueError(
                f"an inversion by {self.method} keeps nothing of the source: only {', '.join(KEEPING_METHODS)} do"
            )
        if self.null is not None and len(self.null) != self.steps:
            raise ValueError(f"the inversion has {len(self.null)} null texts for {self.steps} steps")
        if not all(isinstance(size, int | float) and math.isfinite(size) for size in self.sizes.values()):
            raise ValueError(f"the sizes that the inversion was told are {self.sizes}: they are numbers")
        if not (isinstance(self.seed, int) and 0 <= self.seed < 2**64):
            raise ValueError(f"the seed of the noise is {self.seed!r}: it is a whole number from 0 to 2^64 - 1")
        text, frames = self.initial_null.shape[1:], self.trajectory.shape[1:2]
        if self.null is not None and not (self.null.shape[1:2] in ((1,), frames) and self.null.shape[2:] == text):
            raise ValueError(
                f"the inversion has null texts of shape {list(self.null.shape)}, made from one of shape "
                f"{list(self.initial_null.shape)} for {list(frames)} frames: there is one, or one for each frame"
            )

    @property
    def steps(self) -> int:
        return len(self.sigmas) - 1

    @property
    def is_shifted(self) -> bool:
        """Whether its evaluations can be repeated as they were: at the latent of the level below."""
        return self.method == DIRECT_EXACT and self.rounds == 0

    @property
    def needs_source(self) -> bool:
        """Whether every step of an edit needs the source's own prediction, whatever looks at it."""
        is_known = self.is_shifted or bool(self.records and self.records.directions)
        return self.method not in ON_PATH or (self.is_exact and not is_known)

    @property
    def is_exact(self) -> bool:
        """Whether an edit moves beside the stored path: by what its directions differ from the source's."""
        return self.method in EXACT_METHODS

    def after(self, step: int) -> "Inversion":
        """The same from this step on, for an edit that begins later than at the noise."""
        return replace(
            self, trajectory=self.trajectory[: self.steps - step + 1], sigmas=self.sigmas[step:],
            null=None if self.null is None else self.null[step:],
            records=None if self.records is None else self.records.after(step),
        )  # fmt: skip

    def under(self, noise: Tensor) -> "Inversion":
        """The same clip under other noise, [1 or frames, channels, rows, columns], which needs no inversion. A virtual
        one lies under drawn noise already and stays as it is."""
        if self.method == VIRTUAL:
            return self
        path = virtual_path(self.trajectory[0], self.sigmas.to(self.trajectory), noise, flow=self.flow)
        return replace(self, method=VIRTUAL, trajectory=path, rounds=0, records=None)

    def on(self, device: torch.device) -> "Inversion":
        """The same inversion for a run on `device`, which takes a step of it at a time there."""
        return replace(self, sigmas=self.sigmas.to(device))

    @property
    def noise(self) -> Tensor:
        """z_T, [*latent]."""
        return self.trajectory[-1]

    def latent_before(self, step: int) -> Tensor:
        """z where step number `step` (0 = noisiest) of the stored path begins: [*latent]."""
        return self.trajectory[self.steps - step]

    def latent_after(self, step: int) -> Tensor:
        """z where step number `step` (0 = noisiest) of the stored path ends: [*latent]."""
        return self.trajectory[self.steps - 1 - step]


def check_method(method: str) -> None:
    """Raises ValueError, in a sentence, for what is none of METHODS."""
    if method not in METHODS:
        raise ValueError(f"'{method}' is not an inversion method: {', '.join(METHODS)}")


@torch.no_grad()
def ddim_invert(
    denoise: Denoise,
    z0: Tensor,
    sigmas: Tensor,
    source: Any,
    *,
    rounds: int = 0,
    flow: bool = False,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
) -> Tensor:
    """The clip's DDIM trajectory, guidance 1: [steps + 1, *latent] in main memory, index 0 = z0.

    Each step up evaluates the network at the latent of the level below with the label of the level above. `rounds`
    repeats the evaluation at the estimate so far (fixed-point inversion, arXiv 2309.04907 and 2403.14602); 0 is plain
    DDIM inversion. `progress` is called with (step, z) after each step. `unfinished` keeps the state of the run: where
    it holds that of another one with the same inputs this one goes on from there. Values that are no numbers end it
    with a ValueError.
    """
    trajectory = [z0.cpu()]
    z, x = z0, schedule.to_x(z0, sigmas[-1], flow=flow)
    unfinished = unfinished or Unfinished()

    def state() -> State:
        return {"x": x, "trajectory": torch.stack(trajectory)}

    for step, (low, high) in enumerate(pairwise(sigmas.flip(0))):
        if step < len(trajectory) - 1:  # of the run before this one
            continue
        estimate = schedule.to_x(z, high, flow=flow)
        for _ in range(rounds + 1):
            direction = schedule.direction(estimate, denoise(estimate, high, source), high)
            estimate = schedule.ddim_step(x, direction, low, high)
        x = estimate
        z = schedule.to_z(x, high, flow=flow)
        trajectory.append(z.cpu())
        check_finite(x, f"step {step + 1} of the inversion")
        if step == 0 and (checkpoint := unfinished.of_same_run(trajectory[1] - trajectory[0])):
            x, trajectory = checkpoint["x"].to(z0), list(checkpoint["trajectory"].to(z0.dtype))
            z = trajectory[-1].to(z0)
        if progress:
            for done, reached in enumerate([*trajectory[step + 1 : -1], z], step):
                progress(done, reached.to(z))
        unfinished.keep(step + 1, state)
    return torch.stack(trajectory)


@torch.no_grad()
def virtual_path(z0: Tensor, sigmas: Tensor, noise: Tensor, *, flow: bool = False) -> Tensor:
    """A clip's path that costs no forward, as `ddim_invert` returns one: at every level the clip under the same noise
    [1 or frames, channels, rows, columns] (virtual inversion, arXiv 2312.04965, section 3).

    Noise that knows nothing of the clip and is one for all frames makes edits steadier than the inverted one.
    """
    levels = sigmas[:-1].flip(0)
    noisy = [schedule.to_z(schedule.add_noise(z0, noise, level, flow=flow), level, flow=flow) for level in levels]
    return torch.stack([z0, *noisy]).cpu()


@torch.no_grad()
def directions_along(
    denoise: Denoise,
    trajectory: Tensor,
    sigmas: Tensor,
    source: Any,
    *,
    flow: bool = False,
    progress: Progress | None = None,
) -> list[Tensor]:
    """Where the source goes from each latent of a path, noisiest first: [*latent] each, in main memory."""
    directions = []
    for step, (sigma, z) in enumerate(zip(sigmas[:-1], trajectory[1:].flip(0), strict=True)):
        z = sent(z, sigmas.device)
        x = schedule.to_x(z, sigma, flow=flow)
        directions.append(schedule.direction(x, denoise(x, sigma, source), sigma).cpu())
        check_finite(directions[-1], f"step {step + 1} of the source")
        if progress:
            progress(step, z)
    return directions


@torch.no_grad()
def reconstruct(denoise: Denoise, inversion: Inversion, source: Any, *, progress: Progress | None = None) -> Tensor:
    """The source branch run down again by the inversion's own method: z after each step, [steps, *latent], in main
    memory.

    direct, in all its forms, puts every latent back on the stored path (arXiv 2310.01506); negative-prompt and proximal
    have the source prompt as their null text (arXiv 2305.16807), so guidance cancels and one conditional forward a step
    remains.
    """
    if inversion.method in ON_PATH:
        return inversion.trajectory[:-1].flip(0)
    return replay(denoise, inversion, source, progress=progress)


@torch.no_grad()
def replay(denoise: Denoise, inversion: Inversion, source: Any, *, progress: Progress | None = None) -> Tensor:
    """The noise run down again without a look at the stored path, under guidance where there are null texts: z after
    each step, [steps, *latent], in main memory. How exact the inversion itself is."""
    flow = inversion.flow
    x = schedule.to_x(sent(inversion.noise, inversion.sigmas.device), inversion.sigmas[0], flow=flow)
    reconstruction = []
    for step, (sigma, next_sigma) in enumerate(pairwise(inversion.sigmas)):
        denoised = denoise(x, sigma, source)
        if inversion.null is not None:
            denoised = classifier_free_guidance(denoise(x, sigma, inversion.null[step]), denoised, inversion.cfg)
        x = schedule.ddim_step(x, schedule.direction(x, denoised, sigma), sigma, next_sigma)
        z = schedule.to_z(x, next_sigma, flow=flow)
        reconstruction.append(z.cpu())
        check_finite(x, f"step {step + 1} of the reconstruction")
        if progress:
            progress(step, z)
    return torch.stack(reconstruction)
