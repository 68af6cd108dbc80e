"""One attention of a picture: to its text, to itself, or to both in one softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]  # q, k, v, mask -> out


@dataclass(frozen=True)
class PictureCall:
    """One call of the host's attention, whatever family it is of.

    kernel: what computes it
    q, k, v: [rows, tokens, heads * channels] or [rows, heads, tokens, channels], k and v perhaps of fewer heads
    mask: the host's own, [..., 1 or queries, keys], None for none
    heads, scale: of the queries; what their products with the keys are multiplied by, None for the usual
    options: the call's own
    picture: the queries that are the picture's
    text: the keys that are its text's, None where it looks at none
    itself: the keys that are its own, None where it does not look at itself
    occupant: what another node has put in the kernel's place, None for nothing
    """

    kernel: Kernel
    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None
    heads: int
    scale: float | None
    options: dict[str, Any]
    picture: slice
    text: slice | None = None
    itself: slice | None = None
    occupant: Callable[..., Tensor] | None = None

    def attended(self) -> Tensor:
        """As without this pack."""
        if self.occupant is not None:
            return self.occupant(self.q, self.k, self.v, self.options)
        return self.seeing(self.v)

    def seeing(self, v: Tensor) -> Tensor:
        """The kernel's output with other values."""
        return self.kernel(self.q, self.k, v, self.mask)

    def of_rows(self, rows: slice) -> PictureCall:
        mask = self.mask
        if mask is not None and mask.ndim > 2 and len(mask) == len(self.q):
            mask = mask[rows]
        return replace(self, q=self.q[rows], k=self.k[rows], v=self.v[rows], mask=mask)

    def of_queries(self, queries: slice) -> PictureCall:
        mask = self.mask
        if mask is not None and mask.shape[-2] > 1:
            mask = mask[..., queries, :]
        return replace(self, q=self.q[..., queries, :], mask=mask)


Act = Callable[[PictureCall], Tensor]
