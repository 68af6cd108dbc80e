"""What is compared: the paper's method, what it is compared with, its ablations; and tunings, long and short."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...videop2p_core.diffusion.inversion import PER_FRAME_NULL_TEXT, SHARED_NULL_TEXT
from ...videop2p_core.host.model.frame_attention import Inflation

NO_NULL_TEXT = "no null text"  # plain DDIM inversion: the source is guided with the null text as it is
ALL, QUERIES, TEMPORAL = "all", "queries", "temporal"  # what a tuning trains
TUNING_STEPS = 300


@dataclass(frozen=True)
class Method:
    """inflation: None for an image model, which sees each frame alone; tuning: steps of it, 0 for none, of what
    `trained` names; inversion: one of the null-text methods or NO_NULL_TEXT, None for the pack's default way to edit;
    controlled: by the source's attention and a mask; coupled: the target is guided with the source's null text."""

    inflation: Inflation | None
    tuning: int = TUNING_STEPS
    trained: str = ALL
    inversion: str | None = SHARED_NULL_TEXT
    controlled: bool = True
    coupled: bool = False


PAPERS = Inflation("first", norm_over_frames=True)
SPARSE_CAUSAL = Inflation("first+previous", norm_over_frames=True)  # arXiv 2212.11565

OURS = Method(PAPERS)
IMAGE, TUNE_A_VIDEO, VIDEO_P2P = "image P2P, frame by frame", "Tune-A-Video", "Video-P2P"
UNTUNED, PER_FRAME, NONE, COUPLED = "not tuned", "a null text for each frame", "no null text", "coupled guidance"
METHODS = {
    IMAGE: Method(None, tuning=0, inversion=PER_FRAME_NULL_TEXT, coupled=True),
    TUNE_A_VIDEO: Method(SPARSE_CAUSAL, inversion=NO_NULL_TEXT, controlled=False),
    VIDEO_P2P: OURS,
    UNTUNED: replace(OURS, tuning=0),
    PER_FRAME: replace(OURS, inversion=PER_FRAME_NULL_TEXT),
    NONE: replace(OURS, inversion=NO_NULL_TEXT),
    COUPLED: replace(OURS, coupled=True),
}

DEFAULT = Method(Inflation(), tuning=0, inversion=None)  # the pack's
LONG = replace(DEFAULT, tuning=TUNING_STEPS)
SHORT = replace(DEFAULT, tuning=100)
TUNINGS = {
    "not inflated": replace(DEFAULT, inflation=None),
    "0 steps": DEFAULT,
    "50 steps": replace(DEFAULT, tuning=50),
    "100 steps": SHORT,
    "300 steps": LONG,
    "100 steps, queries alone": replace(SHORT, trained=QUERIES),
    "100 steps, temporal layers alone": replace(SHORT, trained=TEMPORAL),
    "0 steps, first frame read": replace(DEFAULT, inflation=Inflation("first")),
    "100 steps, first frame read": replace(SHORT, inflation=Inflation("first")),
    "0 steps, all frames read": replace(DEFAULT, inflation=Inflation("all")),
}


def shortened(methods: dict[str, Method], most: int) -> dict[str, Method]:
    """The same with at most so many steps of tuning."""
    return {name: replace(method, tuning=min(method.tuning, most)) for name, method in methods.items()}
