"""Progress bars and previews of the work that is no ordinary sampling."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import comfy.model_management
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy.utils import ProgressBar
from PIL import Image
from torch import Tensor

from ..images.plots import loss_plot

SHOWN = 8  # frames at most


def latent_progress(model: ModelPatcher, steps: int) -> Callable[[int, Tensor], None]:
    """progress(step, z) for several stages of `steps` calls in all; z is shown as the host shows latents."""
    callback, done = latent_preview.prepare_callback(model, steps), count()

    def progress(_: int, z: Tensor) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        callback(next(done), z, z, steps)

    return progress


class TuningProgress:
    """progress(losses) of a tuning, all so far. Their curve is drawn every few seconds, whatever the host's setting
    for previews of latents; below it stand the frames that were shown last."""

    def __init__(self, steps: int, latent_format: Any, seconds: float = 2.0) -> None:
        self.bar, self.seconds = ProgressBar(steps), seconds
        self.drawn = time.monotonic()
        self.latent_format, self.frames = latent_format, []

    def show(self, z: Tensor) -> None:
        """z [frames, channels, height, width] at the model's scale; drawn at the next step."""
        form = self.latent_format
        if form.latent_rgb_factors is None:  # the host has no preview of such latents
            return
        previewer = latent_preview.Latent2RGBPreviewer(form.latent_rgb_factors, form.latent_rgb_factors_bias)
        self.frames = [previewer.decode_latent_to_preview(frame[None]) for frame in z[:SHOWN]]
        self.drawn = -math.inf

    def __call__(self, losses: Sequence[float]) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        preview = None
        if time.monotonic() - self.drawn > self.seconds:
            preview = "JPEG", self.picture(losses), latent_preview.MAX_PREVIEW_RESOLUTION
            self.drawn = time.monotonic()
        self.bar.update_absolute(len(losses), self.bar.total, preview)

    def picture(self, losses: Sequence[float]) -> Image.Image:
        plot = Image.fromarray((loss_plot(losses)[0] * 255).byte().numpy())
        if not self.frames:
            return plot
        width = plot.width // len(self.frames)
        frames = [frame.resize((width, round(width * frame.height / frame.width))) for frame in self.frames]
        picture = Image.new("RGB", (plot.width, plot.height + frames[0].height), "white")
        picture.paste(plot)
        for place, frame in enumerate(frames):
            picture.paste(frame, (place * width, plot.height))
        return picture
