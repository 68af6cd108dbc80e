"""The attentions of Video-P2P (arXiv 2303.04761): across frames, over time, and edited without a map.

Heads are flattened throughout, [rows, tokens, heads * dim_head], as UNets pass queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Attend = Callable[[Tensor, Tensor, Tensor, int], Tensor]  # q, k, v, heads -> like q

HEAD_GROUPS = 4
ROWS_AT_ONCE = 2**15  # a fused kernel's grid ends at 65535 rows
FRAMES_READ = ("first", "first+previous", "first+self", "first+previous+self", "window", "all")


def frames_read(rule: str, frames: int, window: int = 1) -> Tensor:
    """Which frames each frame reads in frame attention, as indices [frames, reads].

    first                 frame 0                      Video-P2P (arXiv 2303.04761, section 3.2)
    first+previous        frames 0 and i-1             Tune-A-Video's sparse-causal attention (arXiv 2212.11565)
    first+self            frames 0 and i
    first+previous+self   frames 0, i-1 and i
    window                frames i-window .. i+window, shifted at the ends so that every frame reads equally many
    all                   every frame                  vid2vid-zero (arXiv 2303.17599)

    The frame before frame 0 is frame 0, as in Tune-A-Video, so frame 1 reads frame 0 twice under the rules with
    `previous`. Columns that say the same for every frame are kept once: a single frame reads itself under every rule.
    """
    here = torch.arange(frames)
    first, previous = torch.zeros_like(here), (here - 1).clamp(min=0)
    if rule == "window" and window < 0:
        raise ValueError(f"the window of frame attention reaches {window} frames to either side: give 0 or more")
    if rule == "window":
        width = min(2 * window + 1, frames)
        start = (here - window).clamp(0, frames - width)
        columns = [start + offset for offset in range(width)]
    elif rule == "all":
        columns = [torch.full_like(here, frame) for frame in range(frames)]
    elif rule in FRAMES_READ:
        named = {"first": first, "previous": previous, "self": here}
        columns = [named[name] for name in rule.split("+")]
    else:
        raise ValueError(f"frames read '{rule}' is not one of: {', '.join(FRAMES_READ)}")
    return torch.stack(columns, dim=1).unique(dim=1)


def read_frames(x: Tensor, table: Tensor) -> Tensor:
    """For every frame the tokens of the frames it reads, one after the other.

    x [batch * frames, tokens, channels], table [frames, reads] -> [batch * frames, reads * tokens, channels]
    """
    clips = rearrange(x, "(b f) t c -> b f t c", f=len(table))
    return rearrange(clips[:, table], "b f r t c -> (b f) (r t) c")


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(dim_head) + mask) v, fused.

    q [rows, tokens, channels], k and v [rows, keys, channels], mask [1 or rows, 1 or heads, 1 or tokens, keys] or bool
    """
    if len(q) > ROWS_AT_ONCE and mask is None:
        parts = zip(*(x.split(ROWS_AT_ONCE) for x in (q, k, v)), strict=True)
        return torch.cat([attention(*part, heads=heads) for part in parts])
    q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), "b h t d -> b t (h d)")


def head_groups(channels: int, heads: int) -> list[tuple[slice, int]]:
    """(channels, number of heads) of up to HEAD_GROUPS equal groups of an attention's heads, each of which may be
    computed by itself."""
    groups = max(n for n in range(1, HEAD_GROUPS + 1) if heads % n == 0)
    size = channels // groups
    return [(slice(start, start + size), heads // groups) for start in range(0, channels, size)]


def edited_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    source_q: Tensor,
    source_k: Tensor,
    source: Tensor | None,
    target: Tensor | None,
    heads: int,
    attend: Attend = attention,
    attend_source: Attend | None = None,
) -> Tensor:
    """A_s (S V) + A_t (T V): any prompt-to-prompt edit of the attention maps A_s, A_t without forming them.

    q, source_q [frames, tokens, channels], k, v [frames, N_target, channels], source_k [frames, N_source, channels],
    source (S) [N_source, N_target], target (the diagonal of T) [N_target], either None where it is zero
    -> [frames, tokens, channels]; attend_source: in the place of `attend` for A_s
    """
    attend_source = attend_source or attend
    if target is None:
        return torch.zeros_like(q) if source is None else attend_source(source_q, source_k, source @ v, heads)
    of_target = attend(q, k, target[:, None] * v, heads)
    return of_target if source is None else of_target + attend_source(source_q, source_k, source @ v, heads)


def word_probabilities(q: Tensor, k: Tensor, words: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """How much attention each place pays to each group of tokens: A w for the columns w of `words`, in float32.

    q [frames, tokens, channels], k [frames, N, channels], words [N, groups], mask as `attention` has it
    -> [frames, heads, tokens, groups].
    A depends on q and k only, so A w is an attention whose values are w, the same for every head.
    """
    # Fused kernels take values in fours alone.
    values = F.pad(words.float(), (0, -words.shape[1] % 4)).repeat(len(q), 1, heads)  # [frames, N, heads * groups]
    seen = rearrange(attention(q.float(), k.float(), values, heads, mask), "f t (h w) -> f h t w", h=heads)
    return seen[..., : words.shape[1]]


class SelfAttention(nn.Module):
    """The projections around one attention. `operations` makes the layers: torch.nn or what has its constructors."""

    def __init__(
        self,
        channels: int,
        heads: int,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        self.heads = heads
        self.to_q = operations.Linear(channels, channels, bias=False, **like)
        self.to_k = operations.Linear(channels, channels, bias=False, **like)
        self.to_v = operations.Linear(channels, channels, bias=False, **like)
        self.to_out = nn.ModuleList([operations.Linear(channels, channels, **like)])

    @torch.no_grad()
    def reset(self, generator: torch.Generator | None) -> None:
        """Random projections and a zero output, weight and bias."""
        for layer in (self.to_q, self.to_k, self.to_v):
            bound = layer.weight.shape[1] ** -0.5
            layer.weight.copy_(torch.empty(layer.weight.shape).uniform_(-bound, bound, generator=generator))
        for values in self.to_out.parameters():
            nn.init.zeros_(values)

    def forward(self, x: Tensor, attend: Attend = attention) -> Tensor:
        """x [rows, tokens, channels]; attend(q, k, v, heads) -> like x"""
        return self.to_out[0](attend(self.to_q(x), self.to_k(x), self.to_v(x), self.heads))


class TemporalAttention(nn.Module):
    """h + Attn(LayerNorm(h)) over the frames at each place, without positions (arXiv 2303.04761, section 3.2)."""

    def __init__(
        self,
        channels: int,
        heads: int,
        operations: Any = nn,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.norm_temp = operations.LayerNorm(channels, device=device, dtype=dtype)
        self.attn_temp = SelfAttention(channels, heads, operations, device, dtype)

    def reset(self, generator: torch.Generator | None) -> None:
        """The identity until it is trained."""
        nn.init.ones_(self.norm_temp.weight)
        nn.init.zeros_(self.norm_temp.bias)
        self.attn_temp.reset(generator)

    def forward(self, h: Tensor, frames: int, attend: Attend = attention) -> Tensor:
        """h [batch * frames, places, channels] -> like h; attend: `attention` on [batch * places, frames, channels]."""
        batch = len(h) // frames
        x = rearrange(self.norm_temp(h), "(b f) d c -> (b d) f c", f=frames)
        return h + rearrange(self.attn_temp(x, attend), "(b d) f c -> (b f) d c", b=batch)
