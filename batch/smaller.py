"""Smaller modes of a graph, for a job that memory ran out in."""

from __future__ import annotations

from typing import Any

from .graph import Graph, with_values

WHOLE, TWICE = "as it is", "activations computed twice"
PASSES = {f"passes of {frames} frames": frames for frames in (16, 8, 4)}
SAVING = {"memory": ("fast", "save memory"), "keep_source": ("in memory", "on disk")}  # input: (costs memory, does not)


def smaller(graph: Graph, mode: str) -> Graph:
    """The graph in one of `modes_of`. Passes are other numbers by construction, see docs/same-bits.md."""
    saving = {} if mode == WHOLE else _saving(graph)
    passes = dict.fromkeys(_pass_inputs(graph), PASSES[mode]) if mode in PASSES else {}
    return with_values(graph, saving | passes)


def modes_of(graph: Graph) -> list[str]:
    """Each saves what those before it save, and more."""
    frames_a_pass = [graph[node]["inputs"][name] for node, name in _pass_inputs(graph)]
    passes = [mode for mode, frames in PASSES.items() if any(not most or frames < most for most in frames_a_pass)]
    return [WHOLE, *([TWICE] if _saving(graph) else []), *passes]


def _saving(graph: Graph) -> dict[tuple[str, str], Any]:
    return {
        (node, name): lean
        for node, entry in graph.items()
        for name, (costly, lean) in SAVING.items()
        if entry["inputs"].get(name) == costly
    }


def _pass_inputs(graph: Graph) -> list[tuple[str, str]]:
    """The inputs that cut a clip; norms over all frames need it whole."""
    whole = [node for node, entry in graph.items() if entry["inputs"].get("norm_over_frames")]
    return [
        (node, "frames_per_pass") for node in graph if "frames_per_pass" in graph[node]["inputs"] and node not in whole
    ]
