"""Long clips in passes: ComfyUI's context windows, each with frame 0 before it, which every frame reads."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import comfy.context_windows as windows
import torch
from comfy.context_windows import IndexListContextHandler, IndexListContextWindow
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ...device_transfer import sent
from ...diffusion.windows import even_windows
from ..comfy.conditioning import Prepared
from ..comfy.latents import has_time_axis
from ..comfy.other_packs import check_passes

FRAME_AXIS, VIDEO_FRAME_AXIS = 0, 2  # of a batch of pictures, and of a latent with a time axis


def check_cuts_frames(handler: Any, axis: int) -> None:
    """Whether context windows cut a clip along the axis of its frames, in a sentence."""
    if not isinstance(handler, IndexListContextHandler) or handler.dim != axis:
        raise ValueError(
            f"the context windows on this model cut another axis than that of the frames: set dim to {axis}"
        )


def check_frame_windows(model: ModelPatcher) -> None:
    """Whether a MODEL takes a clip whole or in windows of frames, in a sentence."""
    handler = model.model_options.get("context_handler")
    if handler is not None:
        check_cuts_frames(handler, VIDEO_FRAME_AXIS if has_time_axis(model.model) else FRAME_AXIS)


class Pass(IndexListContextWindow):
    """The frames of one pass; frame 0 comes before them where they do not begin with it.

    weights: [frames], how much each counts where passes overlap
    """

    def __init__(self, frames: list[int], total: int, handler: IndexListContextHandler) -> None:
        super().__init__(frames, dim=FRAME_AXIS, total_frames=total, context_overlap=handler.context_overlap)
        self.weights = torch.tensor(
            windows.get_context_weights(len(frames), total, frames, handler, context_overlap=handler.context_overlap)
        )
        self.sent = {}  # device -> what `on` gives
        self.controls = {}  # ControlNet -> the same with this pass's pictures

    @property
    def key(self) -> str:
        return f"{self.index_list[0]}-{self.index_list[-1]}"

    @property
    def causal_anchor_index(self) -> int | None:
        """What the host puts before the frames, and takes off again."""
        return 0 if self.index_list[0] > 0 else None

    @causal_anchor_index.setter
    def causal_anchor_index(self, _: int | None) -> None:
        pass  # the host means the frame before the window

    @property
    def seen(self) -> list[int]:
        """The frames that the model sees, frame 0 among them."""
        return self.index_list if self.causal_anchor_index is None else [0, *self.index_list]

    def without_anchor(self, x: Tensor) -> Tensor:
        """What a pass made, without the frame that came before its own."""
        return x[len(x) - len(self.index_list) :]

    def on(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """The frames that it sees, its own and their weights, on a device: sent as lists they would wait for it."""
        if device not in self.sent:
            tensors = torch.tensor(self.seen), torch.tensor(self.index_list), self.weights
            self.sent[device] = tuple(sent(x, device) for x in tensors)
        return self.sent[device]


class Passes(IndexListContextHandler):
    """A handler of context windows that makes `Pass`es of them."""

    @classmethod
    def even(cls, length: int, overlap: int) -> "Passes":
        """Of `length` frames, frame 0 counted."""
        if length < 2 or not 0 <= overlap <= (length - 1) // 2:
            raise ValueError(
                f"passes of {length} frames with an overlap of {overlap} were asked for: give at least 2 frames, and "
                "an overlap of less than half as many"
            )
        schedule = windows.ContextSchedule("even", _even)
        fuse = windows.get_matching_fuse_method(windows.ContextFuseMethods.PYRAMID)
        return cls(schedule, fuse, context_length=length - 1, context_overlap=overlap)

    @classmethod
    def of(cls, handler: Any) -> "Passes":
        """What another node asked for, with frame 0 in every window."""
        if isinstance(handler, cls):
            return handler
        check_cuts_frames(handler, FRAME_AXIS)
        passes = cls.__new__(cls)
        vars(passes).update(vars(handler), causal_window_fix=True)
        return passes

    def cuts(self, x: Tensor) -> bool:
        """Whether a clip [frames, ...] is too long for one pass."""
        return len(x) > self.context_length + 1

    def should_use_context(
        self, model: Any, conds: list, x_in: Tensor, timestep: Tensor, model_options: dict[str, Any]
    ) -> bool:
        return self.cuts(x_in)

    def get_context_windows(self, model: Any, x_in: Tensor, model_options: dict[str, Any]) -> list[Pass]:
        check_passes(model_options)
        frames = len(x_in)
        return [Pass(window, frames, self) for window in self.context_schedule.func(frames, self, model_options)]

    def get_resized_cond(self, cond_in: Any, x_in: Tensor, window: Pass, device: Any = None) -> Prepared | None:
        resized = super().get_resized_cond(cond_in, x_in, window, device)
        return resized and [
            {**cond, "control": _with_hints_of(cond["control"], window)} if cond.get("control") else cond
            for cond in resized
        ]

    def execute(self, calc_cond_batch: Callable[..., list[Tensor]], *args: Any, **kwargs: Any) -> list[Tensor]:
        """The activations of one pass at a time are alive, in the backward pass as well."""

        def of_pass(
            model: Any, conds: list, x: Tensor, timestep: Tensor, model_options: dict[str, Any]
        ) -> list[Tensor]:
            window = model_options["transformer_options"]["context_window"]
            inputs = model, conds, x, timestep, _told(window, model_options)
            if torch.is_grad_enabled():
                return checkpoint(calc_cond_batch, *inputs, use_reentrant=False, preserve_rng_state=False)
            return calc_cond_batch(*inputs)

        return super().execute(of_pass, *args, **kwargs)


def passes_of(x: Tensor, sigma: Tensor, inner_model: Any, model_options: dict[str, Any]) -> list[Pass | None]:
    """The passes in which x [frames, ...] is evaluated at this noise level; [None] where it is whole."""
    handler = model_options.get("context_handler")
    if handler is None or not handler.cuts(x):
        return [None]
    handler._model = inner_model
    handler.set_step(sigma, model_options)
    return handler.get_context_windows(inner_model, x, model_options)


def cut(x: Tensor, window: Pass | None) -> Tensor:
    """The frames of a pass, frame 0 among them."""
    if window is None:
        return x
    seen, _, _ = window.on(x.device)
    return x[seen]


def cut_conditioning(entries: Prepared, x: Tensor, window: Pass | None, model_options: dict[str, Any]) -> Prepared:
    """Prepared conditioning for the frames of a pass of x."""
    return entries if window is None else model_options["context_handler"].get_resized_cond(entries, x, window)


def during(window: Pass | None, model_options: dict[str, Any]) -> dict[str, Any]:
    """Options for one pass, under which the host cuts nothing itself."""
    if window is None:
        return model_options
    return {**_told(window, model_options), "context_handler": None}


def merged(parts: Iterable[tuple[Pass | None, Tensor]]) -> Tensor:
    """The clip [frames, ...] from what its passes made."""
    parts = list(parts)
    passes = [(window, part) for window, part in parts if window is not None]
    if not passes:
        ((_, whole),) = parts
        return whole
    total = passes[0][1].new_zeros(passes[0][0].total_frames, *passes[0][1].shape[1:])
    weight = torch.zeros_like(total)
    for window, part in passes:
        frames = window.without_anchor(part)
        _, places, weights = window.on(frames.device)
        weights = weights.to(frames.dtype).view(-1, *(1,) * (frames.ndim - 1))
        total[places] += frames * weights
        weight[places] += weights.expand_as(frames)
    return total / weight


def _told(window: Pass, model_options: dict[str, Any]) -> dict[str, Any]:
    """Options that tell the layers which frames they see; other nodes read AnimateDiff-Evolved's account of it."""
    account = {"full_length": window.total_frames, "context_length": len(window.seen), "sub_idxs": window.seen}
    transformer = {**model_options["transformer_options"], "context_window": window, "ad_params": account}
    return {**model_options, "transformer_options": transformer}


def _even(frames: int, handler: IndexListContextHandler, _model_options: dict[str, Any]) -> list[list[int]]:
    return even_windows(frames, handler.context_length, handler.context_overlap)


def _with_hints_of(control: Any, window: Pass) -> Any:
    """The ControlNet with the pictures of a pass alone; one for all conditionings, as the host batches those alike."""
    if control not in window.controls:
        part = window.controls[control] = copy.copy(control)
        if isinstance(part.cond_hint_original, Tensor):
            part.cond_hint_original = window.get_tensor(part.cond_hint_original)
        part.cond_hint = None
        if hasattr(part, "control_input"):  # of an adapter, which keeps what it made of the pictures
            part.control_input = None
        if part.previous_controlnet is not None:
            part.previous_controlnet = _with_hints_of(part.previous_controlnet, window)
    return window.controls[control]
