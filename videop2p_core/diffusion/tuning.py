"""One-shot tuning on the clip itself (arXiv 2303.04761, section 3.1; arXiv 2212.11565)."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..finite import check_finite
from . import schedule
from .inversion import Denoise
from .unfinished import State, Unfinished
from .weight_fingerprint import check_fingerprint

Progress = Callable[[Sequence[float]], None]  # losses so far

# In the names of the diffusers and of the CompVis layout alike.
_TRAINED = re.compile(r"\.(attn[12]\.to_q\.weight|attn_temp\..+)$")
_TEMPORAL = re.compile(r"\.(attn_temp|norm_temp)\.")
_DOWN_BLOCK = re.compile(r"^(down_blocks|input_blocks)\.")

SMOOTH = 0.95  # of the running mean of losses
PROBES, PROBED_EVERY = 4, 10  # forwards of one probing, and the steps between two
LOWER = "lower the learning rate, or "
FALL = 0.01  # the share by which the probed loss has to fall, or it is flat


@dataclass(frozen=True)
class TuningSettings:
    """How a clip is tuned on.

    steps               training steps, each of one timestep and one noise for the whole clip
    learning_rate       of AdamW
    seed                draws timesteps and noises
    patience            steps without progress after which it ends early, 0 for never
    freeze_down_blocks  leave the UNet's first half as it is
    checkpointing       compute activations twice rather than keep them

    Raises ValueError, in a sentence, for what would train to nothing or to no numbers.
    """

    steps: int = 500
    learning_rate: float = 3e-5
    seed: int = 0
    patience: int = 0
    freeze_down_blocks: bool = False
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"{self.steps} steps were asked for: tuning takes at least 1")
        if not 0 < self.learning_rate <= 1:
            raise ValueError(f"the learning rate is {self.learning_rate:g}: give a number above 0, and 1 at most")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"the seed is {self.seed}: give a whole number from 0 to {2**64 - 1}")


@dataclass(frozen=True)
class Tuning:
    """What tuning changed, and how it went.

    Names are those of the UNet's state dict; tensors are float32.

    deltas      trained minus initial value of the base model's trained tensors
    temporal    the temporal layers after tuning, norms included: the base model has none to add a delta to
    losses      [steps]
    grad_norms  [steps], over all trained tensors, before clipping
    base_model  what was tuned, in words; fingerprint: of its weights, see fingerprint, None where not known
    """

    deltas: Mapping[str, Tensor]
    losses: Tensor
    grad_norms: Tensor
    temporal: Mapping[str, Tensor] = field(default_factory=dict)
    learning_rate: float = TuningSettings.learning_rate
    seed: int = 0
    frames: int = 0
    freeze_down_blocks: bool = False
    base_model: str = ""
    fingerprint: Tensor | None = None

    def __post_init__(self) -> None:
        check_fingerprint(self.fingerprint)
        object.__setattr__(self, "deltas", MappingProxyType(dict(self.deltas)))
        object.__setattr__(self, "temporal", MappingProxyType(dict(self.temporal)))
        if self.losses.ndim != 1 or self.losses.shape != self.grad_norms.shape:
            raise ValueError(
                f"the tuning has losses of shape {list(self.losses.shape)} and gradient norms of shape "
                f"{list(self.grad_norms.shape)}; they must be one of each a step"
            )

    @property
    def steps(self) -> int:
        return len(self.losses)


def trained_names(names: Iterable[str], *, freeze_down_blocks: bool = False) -> list[str]:
    """The tensors one-shot tuning trains: W_Q of frame and cross attention, and all of the temporal attention but its
    norm.

    `freeze_down_blocks` keeps those of the down blocks from learning, as the official default does.
    """
    return [name for name in names if _TRAINED.search(name) and not (freeze_down_blocks and _DOWN_BLOCK.search(name))]


def is_temporal(name: str) -> bool:
    """Whether a tensor belongs to the temporal layers, which the base model has not."""
    return _TEMPORAL.search(name) is not None


def draw(steps: int, latent: Tensor, levels: int, seed: int) -> tuple[Tensor, Iterator[Tensor]]:
    """The timesteps [steps], uniform over `levels`, and the noises of a run, [*latent] each, the same on every device.

    A noise is drawn when it is its turn, as those of a long run together would take gigabytes.
    """
    generator = torch.Generator().manual_seed(seed)
    timesteps = torch.randint(levels, (steps,), generator=generator)
    return timesteps, (torch.randn(latent.shape, generator=generator) for _ in range(steps))


def check_reached(trained: Mapping[str, Tensor]) -> None:
    """Raises ValueError, in a sentence, where the first loss gave a trained tensor no gradient."""
    lacking = [name for name, parameter in trained.items() if parameter.grad is None]
    if lacking:
        raise ValueError(
            f"no gradient reached {len(lacking)} of the {len(trained)} tensors to be tuned ({lacking[0]} for one), so "
            "they would learn nothing: this model does not compute with them; load it with ComfyUI's own loader and "
            "without nodes that replace its layers"
        )


def running_mean(losses: Sequence[float], smooth: float = SMOOTH) -> list[float]:
    """v := smooth v + (1 - smooth) loss, corrected for its start."""
    means, mean = [], 0.0
    for step, loss in enumerate(losses, 1):
        mean = smooth * mean + (1 - smooth) * loss
        means.append(mean / (1 - smooth**step))
    return means


def probe_draw(latent: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """The timesteps [PROBES], in the middles of as many equal parts of `levels`, and noises [PROBES, *latent] by which
    every tuning of a clip is judged, whatever its seed."""
    timesteps = (2 * torch.arange(PROBES) + 1) * levels // (2 * PROBES)
    return timesteps, torch.randn(PROBES, *latent.shape, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def probed_loss(denoise: Denoise, z0: Tensor, model_sigmas: Tensor, source: Any, *, prediction: str = "eps") -> float:
    """The geometric mean of the losses at `probe_draw`: a fall by one percent counts alike at every noise level."""
    losses = [
        tuning_loss(denoise, z0, noise.to(z0), model_sigmas[timestep].to(z0), source, prediction=prediction)
        for timestep, noise in zip(*probe_draw(z0, len(model_sigmas)), strict=True)
    ]
    check_finite(torch.stack(losses), "the probe of the tuning", LOWER)
    return torch.stack(losses).cpu().double().log().mean().exp().item()


def is_flat(probed: Sequence[float], patience: int) -> bool:
    """Whether losses, probed every PROBED_EVERY steps, have been within FALL of their lowest for `patience` steps."""
    recent = math.ceil(patience / PROBED_EVERY)
    return len(probed) > recent and min(probed[-recent:]) >= (1 - FALL) * min(probed[:-recent])


def tuning_loss(
    denoise: Denoise, z0: Tensor, noise: Tensor, sigma: Tensor, source: Any, *, prediction: str = "eps"
) -> Tensor:
    """Mean squared error of the model's own prediction (one of schedule.PREDICTIONS) on the noised clip."""
    x = schedule.add_noise(z0, noise, sigma, flow=prediction == "flow")
    error = schedule.prediction_weight(sigma, prediction) * (denoise(x, sigma, source) - z0)
    return error.square().mean()


def tune(
    denoise: Denoise,
    parameters: Mapping[str, Tensor],
    z0: Tensor,
    model_sigmas: Tensor,
    source: Any,
    settings: TuningSettings,
    *,
    prediction: str = "eps",
    timesteps: Tensor | None = None,
    noises: Tensor | None = None,
    progress: Progress | None = None,
    unfinished: Unfinished | None = None,
) -> Tuning:
    """Train, in place, those of `parameters` that `trained_names` chooses, and say what changed.

    `parameters` are the UNet's and its temporal layers', by name, float32 whatever the model computes in.
    z0 [*latent] is the whole clip, model_sigmas [levels] the model's table, cleanest first. `timesteps` [steps] and
    `noises` [steps, *latent] replace the drawn ones. AdamW (0.9, 0.999, eps 1e-8, weight decay 1e-2), gradient norm
    clipped at 1.0. With patience training ends early where the `probed_loss` `is_flat`, for PROBES forwards more before
    the first step and after every PROBED_EVERY. `progress` is called with the losses so far after every step.
    `unfinished` keeps the state of the run: where it holds that of another one with the same inputs this one goes on
    from there, to the same result. A loss, gradient or trained value that is not a number ends the run with a
    ValueError, and so does a tensor that no gradient reaches.
    """
    steps, patience = settings.steps, settings.patience
    names = trained_names(parameters, freeze_down_blocks=settings.freeze_down_blocks)
    trained = {name: parameters[name] for name in names}
    if not trained:
        raise ValueError("the model has no attention queries and no temporal attention to tune: inflate a UNet first")
    if (timesteps is None) != (noises is None):
        raise ValueError("give both the timesteps and the noises of a tuning run, or neither")
    drawn: Iterable[Tensor]
    if timesteps is None or noises is None:
        timesteps, drawn = draw(steps, z0, len(model_sigmas), settings.seed)
    elif len(timesteps) != steps or noises.shape != (steps, *z0.shape):
        raise ValueError(
            f"{len(timesteps)} timesteps and noises of shape {list(noises.shape)} do not fit {steps} steps of a clip "
            f"of shape {list(z0.shape)}"
        )
    else:
        drawn = noises
    # The temporal layers are kept whole, so only the base model's tensors need what they were.
    initial = {name: parameter.detach().clone() for name, parameter in trained.items() if not is_temporal(name)}
    for name, parameter in parameters.items():
        parameter.requires_grad_(name in trained)

    # One tensor at a time: together they would need temporaries of the size of all.
    optimizer = torch.optim.AdamW(trained.values(), lr=settings.learning_rate, weight_decay=1e-2, foreach=False)
    losses: list[float] = []
    grad_norms: list[float] = []
    unfinished = unfinished or Unfinished()

    def probe() -> float:
        return probed_loss(denoise, z0, model_sigmas, source, prediction=prediction)

    def state() -> State:
        series = {"losses": losses, "grad_norms": grad_norms, "probed": probed}
        numbers = {name: torch.tensor(values, dtype=torch.float64) for name, values in series.items()}
        return numbers | state_of(trained, optimizer)

    probed = [probe()] if patience else []
    with torch.enable_grad():
        for step, (timestep, noise) in enumerate(zip(timesteps, drawn, strict=True)):
            if step < len(losses):  # of the run before this one, whose noises had to be drawn all the same
                continue
            sigma = model_sigmas[timestep.to(model_sigmas.device)].to(z0)
            loss = tuning_loss(denoise, z0, noise.to(z0), sigma, source, prediction=prediction)
            check_finite(loss, f"step {step + 1} of the tuning", LOWER)
            loss.backward()
            if step == 0:
                check_reached(trained)
            norm = torch.nn.utils.clip_grad_norm_(trained.values(), 1.0, foreach=False)
            check_finite(norm, f"the gradient of step {step + 1} of the tuning", LOWER)
            grad_norms.append(norm.item())
            optimizer.step()
            optimizer.zero_grad()  # not beside the activations of the next step
            losses.append(loss.item())
            if step == 0 and (checkpoint := unfinished.of_same_run(loss)):
                losses, grad_norms, probed = (checkpoint[name].tolist() for name in ("losses", "grad_norms", "probed"))
                restore(trained, optimizer, checkpoint)
            if progress:
                progress(losses)
            if step + 1 < len(losses):
                continue
            if patience and (step + 1) % PROBED_EVERY == 0:
                probed.append(probe())
                if is_flat(probed, patience):
                    break
            unfinished.keep(step + 1, state)
    for parameter in trained.values():  # no loss has seen the last of their changes
        check_finite(parameter, f"step {len(losses)} of the tuning", LOWER)
    return Tuning(
        deltas={name: (trained[name].detach() - value).float().cpu() for name, value in initial.items()},
        temporal={
            name: parameter.detach().float().cpu().clone()
            for name, parameter in parameters.items()
            if is_temporal(name)
        },
        losses=torch.tensor(losses),
        grad_norms=torch.tensor(grad_norms),
        learning_rate=settings.learning_rate,
        seed=settings.seed,
        frames=z0.shape[0],
        freeze_down_blocks=settings.freeze_down_blocks,
    )


def state_of(trained: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Trained tensors by "value NAME", and the moments that AdamW keeps of each by "exp_avg NAME" and the like."""
    values = {f"value {name}": parameter for name, parameter in trained.items()}
    return values | {
        f"{moment} {name}": tensor
        for name, parameter in trained.items()
        for moment, tensor in optimizer.state[parameter].items()
    }


@torch.no_grad()
def restore(trained: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, checkpoint: Mapping[str, Tensor]) -> None:
    """Put back, in place, what `state_of` gave."""
    for name, tensor in state_of(trained, optimizer).items():
        tensor.copy_(checkpoint[name])
