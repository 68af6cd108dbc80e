"""What a model is recognised by in whatever precision it is loaded: values out of its weights.

A fingerprint is a tensor [weights, 1 + VALUES] in float32. A row is one weight: first the root mean square error that
its values are expected to have, or 0 where they are floating-point numbers and show it themselves, then the values.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

RUNS, RUN = 4, 32  # a run lies within one block of the formats that scale weights by blocks
VALUES = RUNS * RUN
# Coarsest first. How many bits of a number each keeps, and which share of the values may come to other numbers as they
# were rounded to something finer on the way: at worst as many as are then in the middle between two numbers.
KINDS = {
    torch.float8_e5m2: (3, 0.1), torch.float8_e4m3fn: (4, 0.15), torch.bfloat16: (8, 0.25), torch.float16: (11, 0.03),
    torch.float32: (24, 0.03),
}  # fmt: skip
UNREADABLE = torch.inf  # the error of a row whose values are not known
BETWEEN = -1.0  # the error of a row that stands between two models
# How many times the expected error two loads of one file may be apart. Measured: at most 1.5 in formats of 2 to 8 bits,
# 1.7 where numbers are rounded up or down at random.
TOLERANCE = 2.0
COARSE = 0.25  # relative to the values: other models may be as near as that
ENOUGH = 0.25  # the share of the rows that must be finer


class Verdict(Enum):
    """Whether two fingerprints are of the same weights."""

    SAME, OTHER, UNCERTAIN = range(3)


@dataclass(frozen=True)
class Likeness:
    """difference: of the rows that are furthest apart, relative to their values; inf where there is nothing to compare.

    UNCERTAIN is what may be the same model in another precision and may be another one.
    """

    verdict: Verdict
    difference: float


def places(length: int) -> Tensor:
    """Which values of a weight of this many go into its row: RUNS runs, spread over it."""
    blocks = length // RUN
    if blocks <= RUNS:
        return torch.arange(min(length, VALUES))
    starts = torch.arange(RUNS) * blocks // RUNS * RUN
    return (starts[:, None] + torch.arange(RUN)).flatten()


def row(values: Tensor, error: float = 0.0) -> Tensor:
    """[1 + VALUES] of a weight's values at its places, which may be fewer."""
    values = values.detach().to("cpu", torch.float32)
    return torch.cat([torch.tensor([error]), values, torch.zeros(VALUES - len(values))])


def unreadable() -> Tensor:
    """The row of a weight whose values cannot be told."""
    return row(torch.zeros(0), UNREADABLE)


def together(one: Tensor, other: Tensor) -> Tensor:
    """The fingerprint of two models."""
    return torch.cat([one, row(torch.zeros(0), BETWEEN)[None], other])


def apart(fingerprint: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the two models that a fingerprint is of; raises ValueError where it is of another number."""
    places = (fingerprint[:, 0] == BETWEEN).nonzero().flatten().tolist()
    if len(places) != 1:
        raise ValueError(f"the fingerprint of a pair of models is of {len(places) + 1}: invert the clip again")
    return fingerprint[: places[0]], fingerprint[places[0] + 1 :]


def scaled_error(values: Tensor, kind: torch.dtype) -> float:
    """Expected of values that were stored as floating-point numbers of this kind under some scale."""
    return 0.75 * torch.finfo(kind).eps / 12**0.5 * _rms(values.float())


def packed_error(values: Tensor, bits: float) -> float:
    """Expected of values that were stored as whole numbers of so many bits under some scale.

    1.7 times 2^-bits is what formats that scale by blocks come to. Where there are few large values, or one scale for
    all of a weight, steps are larger: two values of a run are seldom nearer than one of them.
    """
    runs = values.float().split(RUN)
    gaps = [sorted_run.diff().min() for sorted_run in map(torch.unique, runs) if len(sorted_run) > 1]
    step = _rms(torch.stack(gaps)) if gaps else 0.0
    return max(1.7 * 2**-bits * _rms(values.float()), step / 12**0.5)


def check_fingerprint(fingerprint: Tensor | None) -> None:
    """Raises ValueError for what cannot be one."""
    if fingerprint is not None and (fingerprint.ndim != 2 or fingerprint.shape[1] != 1 + VALUES):
        raise ValueError(f"the fingerprint of its model has shape {list(fingerprint.shape)}")


def likeness(one: Tensor, other: Tensor) -> Likeness:
    """Whether two fingerprints are of one file, loaded in whatever precision."""
    if one.shape != other.shape:
        return Likeness(Verdict.OTHER, torch.inf)
    rows = [_Row(*pair) for pair in zip(one.float(), other.float(), strict=True)]
    difference = max((row.difference for row in rows if row.allowed < UNREADABLE), default=torch.inf)
    if not all(row.difference <= row.allowed for row in rows):
        return Likeness(Verdict.OTHER, difference)
    telling = [row for row in rows if row.allowed <= COARSE]
    certain = len(telling) >= ENOUGH * len(rows) and not any(row.is_doubtful for row in rows)
    return Likeness(Verdict.SAME if certain else Verdict.UNCERTAIN, difference)


class _Row:
    """Two rows: how far they are apart and may be, relative to their values."""

    def __init__(self, one: Tensor, other: Tensor) -> None:
        errors, values = (float(one[0]), float(other[0])), (one[1:], other[1:])
        kinds = [_may_be_held_in(each) for each in values]
        expected = [error or _rounding(each, held) for error, each, held in zip(errors, values, kinds, strict=True)]
        scale = max(map(_rms, values)) or 1.0
        self.difference = _rms(values[0] - values[1]) / scale
        self.allowed = TOLERANCE * math.hypot(*expected) / scale
        self.is_doubtful = not any(errors) and _are_unlike(values, kinds)


def _may_be_held_in(values: Tensor) -> list[torch.dtype]:
    """The kinds that can hold all of them, coarsest first: a file may be loaded as more than it has."""
    return [kind for kind in KINDS if torch.equal(values.to(kind).float(), values)] or [torch.float32]


def _rounding(values: Tensor, kinds: Sequence[torch.dtype]) -> float:
    """Root mean square error of rounding to the coarsest of these kinds, which for small numbers may be a later one."""

    def steps(kind: torch.dtype) -> Tensor:
        limits = torch.finfo(kind)
        return limits.eps * torch.exp2(values.abs().clamp(min=limits.smallest_normal).log2().floor())

    return max(_rms(steps(kind)) for kind in kinds) / 12**0.5


def _are_unlike(values: Sequence[Tensor], kinds: Sequence[Sequence[torch.dtype]]) -> bool:
    """Whether numbers of these kinds are others even where both are brought to the coarser one of two."""
    (one, other), (ones, others) = values, kinds
    if any(0 < abs(KINDS[kind][0] - KINDS[another][0]) < 3 for kind in ones for another in others):
        return False  # much of one is in the middle between two numbers of the other
    finest = max(ones[0], others[0], key=list(KINDS).index)
    coarse = [kind for kind in KINDS if kind in (*ones, *others) and KINDS[kind] <= KINDS[finest]]
    return all((one.to(kind) != other.to(kind)).float().mean() > KINDS[kind][1] for kind in coarse)


def _rms(values: Tensor) -> float:
    return values.double().square().mean().sqrt().item()
