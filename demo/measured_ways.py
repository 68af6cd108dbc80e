"""`demo-eval --parts ways`: what the ways of ways.py cost and give, side by side on the same edits."""

from __future__ import annotations

from dataclasses import asdict
from statistics import fmean
from time import perf_counter
from typing import Any

from comfy.patcher_extension import WrappersMP

from ..tools.bench.meter import Meter
from ..videop2p_core.host.demo_model import as_distilled
from ..videop2p_core.host.model.frame_attention import Inflation
from ..videop2p_core.host.model.inflate import inflate
from . import runs
from .acceptance import accepted
from .accepted_edits import KINDS, AcceptedCase, share, told_cases
from .evaluation_world import FRAMES, World
from .ways import DEFAULT_WAY, WAYS, Way


def ways_part(world: World) -> dict[str, Any]:
    """What each of WAYS costs and gives on the same edits: the forwards and seconds of one, and the shares accepted."""
    ways = possible()
    meter, rows = Meter(FRAMES), {name: [] for name in ways}
    models = {False: inflate(world.model, Inflation())}
    if any(way.distilled for way in ways.values()):
        models[True] = inflate(as_distilled(world.model, runs.DISTILLED), Inflation())
    for model in models.values():
        model.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
    for told in told_cases(world, models[False]):
        cases = {distilled: AcceptedCase(world, model, told.seed) for distilled, model in models.items()}
        cases[False] = told  # rendered by now
        for name, way in ways.items():
            case = cases[way.distilled]
            meter.forwards()
            began = perf_counter()
            frames, _ = case.by(way)
            seconds = perf_counter() - began
            judged = {"accepted": asdict(accepted(case.truth, frames.numpy(), world.judge))}
            rows[name].append({"kind": case.kind, "forwards": meter.forwards(), "seconds": seconds, **judged})
        refused = {name: len(some[-1]["accepted"]["refused"]) for name, some in rows.items()}
        print(f"{told.seed} {told.kind}: refused for {refused}", flush=True)
    return {"ways": {name: totals(some) for name, some in rows.items()}, "default_way": DEFAULT_WAY}


def possible() -> dict[str, Way]:
    """Those of WAYS that training has made a model for."""
    return {name: way for name, way in WAYS.items() if not way.distilled or runs.DISTILLED.exists()}


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one way."""
    kinds = {kind: [one for one in rows if one["kind"] == kind] for kind in KINDS}
    return {
        "forwards": fmean(one["forwards"] for one in rows),
        "forwards_by_kind": {kind: fmean(one["forwards"] for one in some) for kind, some in kinds.items() if some},
        "seconds": fmean(one["seconds"] for one in rows),
        "accepted": share(rows, "accepted"),
        "accepted_by_kind": {kind: share(some, "accepted") for kind, some in kinds.items() if some},
    }
