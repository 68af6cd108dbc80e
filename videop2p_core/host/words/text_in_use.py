"""Where a text is in use in a run: the entries of its conditionings that hold it, and the step that a call is in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comfy.samplers import CFGGuider
from torch import Tensor

from ...edit.prompt import shortened
from ..comfy.conditioning import Conditioning, same_embedding

SAME = 1e-3  # of one noise level, in half precision


def entries_of(guider: CFGGuider, encoded: Conditioning) -> list[dict[str, Any]]:
    """Those of a guider's conditionings that hold a text, of whose CONDITIONING each entry is for a part of the run."""
    entries = [entry for conditioning in guider.conds.values() for entry in conditioning]
    return [entry for entry in entries if any(_holds(entry, embedding) for embedding, _ in encoded)]


def check_in_use(entries: Sequence[dict[str, Any]], text: str, done: str, node: str) -> None:
    """Raises ValueError where no conditioning's entry holds a text. done, node: what is done to its words, and by which
    node."""
    if not entries:
        raise ValueError(
            f"no conditioning has the text '{shortened(text)}', whose words are {done}: sample with the conditioning "
            f"that {node} gives, or with the same text from the same CLIP"
        )


def step_of(levels: Tensor, sigma: float) -> int:
    """The step in which a noise level is evaluated. levels [steps]: where each begins, noisiest first."""
    # A sampler may evaluate between two levels: the step is that which began.
    return max(int((levels >= sigma * (1 - SAME)).sum()) - 1, 0)


def _holds(entry: dict[str, Any], embedding: Tensor) -> bool:
    cross_attn = entry.get("cross_attn")
    return cross_attn is not None and same_embedding([[cross_attn]], embedding)
