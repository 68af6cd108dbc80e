"""A tuning's deltas as a LoRA: the nearest matrices of low rank, in the names of kohya's scripts."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

Progress = Callable[[int], None]


@dataclass(frozen=True)
class LowRank:
    """delta ~ up @ down of each weight, and what is lost of it: ||delta - up down|| / ||delta||, Frobenius norms.

    factors  {name: (up [outputs, rank], down [rank, inputs])}
    errors   {name: of that weight alone}
    error    of all together
    """

    factors: Mapping[str, tuple[Tensor, Tensor]]
    errors: Mapping[str, float]
    error: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "factors", MappingProxyType(dict(self.factors)))
        object.__setattr__(self, "errors", MappingProxyType(dict(self.errors)))

    @property
    def rank(self) -> int:
        """The highest of all weights."""
        return max(up.shape[1] for up, _ in self.factors.values())


def factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The (up [outputs, r], down [r, inputs]) of r = min(rank, outputs, inputs) whose product is nearest to delta
    [outputs, inputs]: the truncated singular value decomposition, its values shared evenly (Eckart and Young, 1936)."""
    u, s, vh = torch.linalg.svd(delta.float(), full_matrices=False)
    root = s[:rank].sqrt()
    return (u[:, :rank] * root).contiguous(), (root[:, None] * vh[:rank]).contiguous()


def low_rank(deltas: Mapping[str, Tensor], rank: int, progress: Progress | None = None) -> LowRank:
    """deltas {name: [outputs, inputs]} at a rank of 1 or more; `progress` is called with the number of each."""
    if rank < 1:
        raise ValueError(f"a LoRA has a rank of at least 1, not {rank}")
    if not deltas:
        raise ValueError("there are no deltas to make a LoRA of")
    pairs, lost, whole = {}, {}, {}
    for step, (name, delta) in enumerate(deltas.items()):
        up, down = pairs[name] = factors(delta, rank)
        lost[name], whole[name] = (delta - up @ down).norm().item(), delta.norm().item()
        if progress:
            progress(step)
    return LowRank(
        pairs,
        {name: _share(lost[name], whole[name]) for name in pairs},
        _share(_norm(lost.values()), _norm(whole.values())),
    )


def lora_tensors(factors: LowRank, names: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a LoRA file. names: {name: its diffusers name}, both ending in `.weight`.

    Loaders multiply up @ down by alpha / rank, so alpha is the rank.
    """
    tensors = {}
    for name, (up, down) in factors.factors.items():
        layer = "lora_unet_" + names[name].removesuffix(".weight").replace(".", "_")
        tensors[f"{layer}.lora_up.weight"], tensors[f"{layer}.lora_down.weight"] = up, down
        tensors[f"{layer}.alpha"] = torch.tensor(float(up.shape[1]))
    return tensors


def _norm(norms: Iterable[float]) -> float:
    return sum(norm**2 for norm in norms) ** 0.5


def _share(lost: float, whole: float) -> float:
    return lost / whole if whole else 0.0
