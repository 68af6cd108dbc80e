"""What the paper claims of its parts, and whether it holds here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean, stdev

from .figures import Figures
from .methods import COUPLED, IMAGE, PER_FRAME, UNTUNED, VIDEO_P2P

Row = dict[str, Figures]  # of one clip, by the method's name
SURE = 2  # standard errors of the mean


@dataclass(frozen=True)
class Claim:
    """That a figure of method `less` is below that of `more`, or at most `slack` above it."""

    text: str
    figure: str
    less: str
    more: str
    slack: float = 0.0


CLAIMS = (
    Claim("Tuned inflation is steadier than editing frame by frame", "flicker", VIDEO_P2P, IMAGE),
    Claim("Tuned inflation is steadier than inflation alone", "flicker", VIDEO_P2P, UNTUNED),
    Claim(
        "One null text for all frames reconstructs within 0.2 dB of one for each", "reconstruction", PER_FRAME,
        VIDEO_P2P, slack=0.2,
    ),
    Claim("One null text for all frames keeps more after editing", "background", PER_FRAME, VIDEO_P2P),
    Claim("Decoupled guidance edits where coupled guidance does not", "changed", COUPLED, VIDEO_P2P),
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """Of a claim on some clips. less, more: means of the figure; margin: of their differences, slack included; error:
    its standard error, None of a single clip; holding: clips in which it holds, of `clips`."""

    claim: Claim
    less: float
    more: float
    margin: float
    error: float | None
    holding: int
    clips: int

    @property
    def verdict(self) -> str:
        if self.error is not None and abs(self.margin) < SURE * self.error:
            return "not decided"
        return "holds" if self.margin > 0 else "does not hold"

    def sentence(self) -> str:
        claim = self.claim
        error = "" if self.error is None else f" ± {self.error:.2f}"
        slack = f", {claim.slack:g} allowed" if claim.slack else ""
        return (
            f"{claim.text}: **{self.verdict}**. {claim.figure} {self.less:.2f} ({claim.less}), {self.more:.2f} "
            f"({claim.more}): by {self.margin:.2f}{error}{slack}, in {self.holding} of {self.clips} clips."
        )


def finding(claim: Claim, rows: list[Row]) -> Finding | None:
    """None where no clip has both figures."""
    pairs = [tuple(getattr(row[name], claim.figure) for name in (claim.less, claim.more)) for row in rows]
    pairs = [(less, more) for less, more in pairs if less is not None and more is not None]
    if not pairs:
        return None
    margins = [more - less + claim.slack for less, more in pairs]
    error = stdev(margins) / math.sqrt(len(margins)) if len(margins) > 1 else None
    less, more = (fmean(values) for values in zip(*pairs, strict=True))
    return Finding(claim, less, more, fmean(margins), error, sum(margin > 0 for margin in margins), len(margins))


def findings(rows: list[Row]) -> list[Finding]:
    return [result for claim in CLAIMS if (result := finding(claim, rows))]
