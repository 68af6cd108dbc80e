"""Keeping the source's queries and keys while its inversion runs (attention_records.py says what for)."""

from collections.abc import Generator, Hashable
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import torch
from comfy.model_patcher import create_model_options_clone
from torch import Tensor

from ...device_transfer import Ferry
from ...diffusion.attention import Attend, attention
from ...diffusion.attention_records import WHOLE, AttentionRecords
from ...diffusion.inversion import Denoise
from ...edit.local_blend import blend_grid
from ..comfy.denoiser import SOURCE, Denoiser
from ..comfy.model_patches import AttentionCall, install, may_lock_pages
from ..families.table import family_of_network
from ..families.unet import LayersOnGrid
from .attention_slots import check_rows, frame_layer, once, rows_of, with_frames_read


class AttentionRecorder:
    """What the attention layers of an inversion do: go on as they are, and report.

    entry: uuid of the source's conditioning entry; tokens: of its text; size: the latent's (height, width).
    """

    def __init__(self, records: AttentionRecords, entry: UUID, tokens: int, size: tuple[int, int]) -> None:
        self.records, self.entry, self.tokens = records, entry, tokens
        self.word_map_layers = LayersOnGrid(blend_grid(*size))
        self.step = 0
        self.recording = {}  # pass -> {layer: (q, k)} of this step
        self.ferry = Ferry(may_lock_pages())

    @contextmanager
    def evaluation(self, step: int) -> Generator[None, None, None]:
        """One evaluation. Of several of a step the last counts: fixed-point rounds come nearer each time."""
        self.step = step
        yield
        self.ferry.land()
        for part, layers in self.recording.items():
            self.records.write(step, part, layers)
        self.recording = {}

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        family = family_of_network(executor.class_obj.diffusion_model)
        frame = self.frame_attention if self.records.has_structure(self.step) else None
        return family.fill_attention(self.cross_attention, frame, executor, *args, **kwargs)

    def cross_attention(self, call: AttentionCall) -> Tensor:
        options = call.options
        check_rows(call)
        rows = rows_of(self.entry, len(call.q), options)
        feeds_maps = self.word_map_layers.feed(call.slot, options)
        if rows is not None and (feeds_maps or self.records.has_cross(self.step)):
            self._keep(call.slot, call.q[rows], once(call.k[rows], self.tokens, "source"), options)
        return call.attended()

    def frame_attention(self, call: AttentionCall) -> Tensor:
        rows = rows_of(self.entry, len(call.q), call.options)
        if rows is not None:
            self._keep(frame_layer(call.slot), call.q[rows], call.k[rows], call.options)
        return with_frames_read(call)

    def temporal(self, layer: Hashable, options: dict[str, Any]) -> Attend:
        """attend(q, k, v, heads) of a temporal layer, as AttentionControl has it."""

        def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
            rows = rows_of(self.entry, len(q), options)
            if rows is not None and self.records.has_temporal(self.step):
                self._keep(layer, q[rows], k[rows], options)
            return attention(q, k, v, heads)

        return attend

    def _keep(self, layer: Hashable, q: Tensor, k: Tensor, options: dict[str, Any]) -> None:
        window = options.get("context_window")
        part = self.recording.setdefault(WHOLE if window is None else window.key, {})
        # In half precision at once: a step of a large clip in full would be the peak of the inversion.
        part[str(layer)] = tuple(self.ferry.out(x, torch.float16) for x in (q, k))


def keeping(
    denoise: Denoiser, records: AttentionRecords, sigmas: Tensor, tokens: int, size: tuple[int, int]
) -> Denoise:
    """`denoise`, with what the source's attention saw going into the records."""
    recorder = AttentionRecorder(records, denoise.guider.conds[SOURCE][0]["uuid"], tokens, size)
    options = create_model_options_clone(denoise.model_options)
    install(recorder, options)
    inner = Denoiser(denoise.guider, options)
    steps = {level: step for step, level in enumerate(sigmas.tolist())}

    def recorded_denoise(x: Tensor, sigma: Tensor, conditioning: str | Tensor) -> Tensor:
        # A step up is labelled with the level above, where the step down of an edit begins.
        with recorder.evaluation(steps[sigma.item()]):
            return inner(x, sigma, conditioning)

    return recorded_denoise
