"""Where words look in a picture, and what looks alike in it: told by attentions while the network goes on as it is.

A word's map is linear in V, and so is a map spread by what looks like what (edit/places.py): attention whose values are
the map. No map of places by places is formed, so that any size is possible.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any, ClassVar
from uuid import UUID

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor

from ...diffusion.attention import attention, word_probabilities
from ...edit.grids import fitted
from ..comfy.latents import Grid
from ..comfy.model_patches import context_of, options_of, with_options
from .picture_call import PictureCall
from .text_attention import Evaluation, TextAttention, network_of


@dataclass
class Observer(ABC):
    """A wrapper around the calls of a network whose attentions are looked into.

    family: of the network; shape: of the latent, as the host lays it out
    total: of what the calls told, [frames, words, rows, columns]; times: how many told of each frame, [frames, 1, 1,
    1]; both a 0 before the first
    """

    family: TextAttention
    shape: Sequence[int]
    total: Tensor = field(default_factory=partial(torch.zeros, ()), init=False)
    times: Tensor = field(default_factory=partial(torch.zeros, ()), init=False)

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        options, tokens = options_of(args, kwargs), context_of(args, kwargs).shape[1]
        window, layers, entries = options.get("context_window"), list[Tensor](), options["uuids"]
        seen = [part for part, entry in enumerate(entries) if self.sees(entry)]
        if not seen:
            return executor(*args, **kwargs)
        if args[0].ndim > 3 and list(args[0].shape) != self._shape_of_call(len(entries), window):
            raise ValueError(
                "another node gives the model other pictures than those that are sampled (tiles, or some frames at a "
                "time), in which no word can be found: remove that node"
            )
        evaluation = Evaluation(network_of(executor.class_obj), args[0], tokens, kwargs, window)
        grid = self.grid(evaluation)

        def act(call: PictureCall) -> Tensor:
            if self.family.grid_of_call(evaluation, call.options) == grid and _has_places(call, grid):
                share = len(call.q) // len(entries)
                parts = [call.of_rows(slice(part * share, (part + 1) * share)) for part in seen]
                maps = [part_maps for part in parts if (part_maps := self.maps_in(part, grid, evaluation)) is not None]
                layers.extend([torch.stack(maps).mean(dim=0)] if maps else [])
            return call.attended()

        args, kwargs = with_options(args, kwargs, self.family.acting(act, evaluation, options, self.itself))
        denoised = executor(*args, **kwargs)
        if layers:
            self._add(window, torch.stack(self.that_count(layers)).mean(dim=0))
        elif not self.total.ndim:  # a later call may be one that a cache leaves out
            raise ValueError(self.untold)
        return denoised

    def maps(self) -> Tensor:
        """[frames, words, rows, columns]: of each frame the mean of what the calls told of it, 0 where none did."""
        return self.total / self.times.clamp(min=1)

    def _shape_of_call(self, parts: int, window: Any) -> list[int]:
        """What a call in so many parts is given, of one of the host's windows or of the whole clip."""
        shape = list(self.shape)
        if window is not None:
            shape[window.dim] = len(frames_seen(window))
        return [parts * shape[0], *shape[1:]]

    def _add(self, window: Any, maps: Tensor) -> None:
        """window: of the host's that the call saw, None where it saw the whole clip."""
        told = maps.new_ones(len(maps), 1, 1, 1)
        if window is not None:
            maps, told = (_in_clip(x, window) for x in (maps, told))
        self.total, self.times = self.total + maps, self.times + told

    def sees(self, entry: UUID) -> bool:
        """Whether the part of a call's rows that is of this entry of a conditioning is looked into."""
        return True

    def that_count(self, layers: list[Tensor]) -> list[Tensor]:
        """Among what the layers of a call told."""
        return layers

    untold: ClassVar[str]  # what to say where no attention tells
    itself: ClassVar[bool]  # whether those of the picture to itself are among them

    @abstractmethod
    def grid(self, evaluation: Evaluation) -> Grid:
        """Of the attentions that count."""

    @abstractmethod
    def maps_in(self, call: PictureCall, grid: Grid, evaluation: Evaluation) -> Tensor | None:
        """By one of them; None where it tells nothing."""


@dataclass
class WordLooks(Observer):
    """How much each place looks at each word. columns: [tokens, words], 1 at the tokens of each."""

    untold: ClassVar[str] = (
        "another node computes how this model looks at its text, so that no word can be found: remove that node "
        "(normalised attention guidance, for instance)"
    )
    itself: ClassVar[bool] = False
    columns: Tensor

    def grid(self, evaluation: Evaluation) -> Grid:
        return self.family.looking_grid(evaluation)

    def maps_in(self, call: PictureCall, grid: Grid, evaluation: Evaluation) -> Tensor | None:
        if call.text is None:
            return None
        words = call.q.new_zeros(call.k.shape[-2], self.columns.shape[1])
        columns = [self.family.over_keys(column, evaluation.tokens, 0.0) for column in self.columns.mT.to(words)]
        words[call.text] = torch.stack(columns, dim=1)
        call = call.of_queries(_slice(call.picture, grid))
        mask = None if call.mask is None else _with_heads(call.mask)
        maps = word_probabilities(*_flat(call), words, call.heads, mask)
        return reduce(maps, "rows heads (f y x) words -> (rows f) words y x", "mean", f=grid[0], y=grid[1])

    def that_count(self, layers: list[Tensor]) -> list[Tensor]:
        """All of a UNet's, the middle half of a transformer's: the first ones of those look at single places, the last
        ones at how they are drawn."""
        quarter = len(layers) // 4 if self.family.is_deep else 0
        return layers[quarter : max(len(layers) - quarter, 1)]


@dataclass
class Likeness(Observer):
    """Maps [frames, words, rows, columns] spread to what looks alike within each frame, once."""

    untold: ClassVar[str] = (
        "another node computes how this model looks at its picture, or leaves calls of it out, so that nothing tells "
        "what looks alike: turn sharp off, or remove that node (HyperTile, ToMe or EasyCache, for instance)"
    )
    itself: ClassVar[bool] = True
    spread: Tensor

    def grid(self, evaluation: Evaluation) -> Grid:
        return self.family.likeness_grid(evaluation)

    def maps_in(self, call: PictureCall, grid: Grid, evaluation: Evaluation) -> Tensor | None:
        if call.itself is None:
            return None
        frames, rows, columns = grid
        spread = self.spread if evaluation.window is None else self.spread[frames_seen(evaluation.window)]
        maps = fitted(spread.float(), (rows, columns), "bilinear").to(call.q.device)
        q, k = _flat(call.of_queries(_slice(call.picture, grid)))
        q, k = (
            rearrange(x, "rows (f places) channels -> (rows f) places channels", f=frames)
            for x in (q.float(), k[:, call.itself][:, : frames * rows * columns].float())
        )
        values = rearrange(maps, "frames words y x -> frames (y x) words")
        values = F.pad(values, (0, -values.shape[-1] % 4))  # fused kernels take values in fours alone
        attended = attention(q, k, values.repeat(1, 1, call.heads), call.heads)
        attended = reduce(attended, "frames places (heads words) -> frames words places", "mean", heads=call.heads)
        return rearrange(attended[:, : maps.shape[1]], "frames words (y x) -> frames words y x", y=rows)


def frames_seen(window: Any) -> list[int]:
    """Of a clip by a call of one of the host's windows, before which it may put another frame."""
    anchor = getattr(window, "causal_anchor_index", None)
    return window.index_list if anchor is None or anchor < 0 else [anchor, *window.index_list]


def _in_clip(x: Tensor, window: Any) -> Tensor:
    """What one of the host's windows told, [frames, ...], among zeros for the rest of the clip."""
    clip = x.new_zeros(window.total_frames, *x.shape[1:])
    clip[window.index_list] = x[-len(window.index_list) :]  # less what the host puts before them
    return clip


def _has_places(call: PictureCall, grid: Grid) -> bool:
    """Whether a call's queries, and its keys where it looks at itself, are the grid's places: some nodes merge them."""
    places, picture = prod(grid), _slice(call.picture, grid)
    keys = places if call.itself is None else call.k[..., call.itself, :].shape[-2]
    return call.q[..., picture, :].shape[-2] == places and keys >= places


def _slice(picture: slice, grid: Grid) -> slice:
    """The queries that are the grid's places, without what stands behind them."""
    frames, rows, columns = grid
    start = picture.start or 0
    return slice(start, start + frames * rows * columns)


def _with_heads(mask: Tensor) -> Tensor:
    """A mask [(rows,) queries, keys] or with heads in the shape [rows, heads, queries, keys]."""
    return mask[None, None] if mask.ndim == 2 else mask[:, None] if mask.ndim == 3 else mask


def _flat(call: PictureCall) -> tuple[Tensor, Tensor]:
    """Queries and keys of a call as [rows, tokens, heads * channels], as many heads of both."""
    q, k = call.q, call.k
    if call.scale is not None:
        q = q * call.scale * (q.shape[-1] // (1 if q.ndim == 4 else call.heads)) ** 0.5
    if q.ndim == 4:
        k = k.repeat_interleave(call.heads // k.shape[1], dim=1)
        q, k = (rearrange(x, "rows heads tokens channels -> rows tokens (heads channels)") for x in (q, k))
    return q, k
