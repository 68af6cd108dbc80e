"""Progress bars and previews of the work that is no ordinary sampling."""

import math
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview
from comfy.model_patcher import ModelPatcher
from comfy.utils import ProgressBar
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ..images.plots import loss_plot

SHOWN = 8  # frames at most


class LoggedSteps:
    """A bar of steps in the log, as the host's samplers have one; it begins anew at step 0."""

    def __init__(self, name: str) -> None:
        self.name, self.shown = name, tqdm(disable=True)

    def __call__(self, step: int, steps: int) -> None:
        """Step `step` of so many is done."""
        if step == 0:
            self.shown.close()
            self.shown = tqdm(total=steps, desc=self.name, disable=not comfy.utils.PROGRESS_BAR_ENABLED)
        self.shown.update(step + 1 - self.shown.n)
        if step + 1 == steps:
            self.shown.close()


def latent_progress(model: ModelPatcher, steps: int, name: str) -> Callable[[int, Tensor], None]:
    """progress(step, z) for several stages of `steps` calls in all; z is shown as the host shows latents."""
    callback, done, logged = latent_preview.prepare_callback(model, steps), count(), LoggedSteps(name)

    def progress(_: int, z: Tensor) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        step = next(done)
        callback(step, z, z, steps)
        logged(step, steps)

    return progress


def edit_progress(model: ModelPatcher, steps: int, name: str) -> Callable[[int, Tensor, Tensor, int], None]:
    """callback(step, denoised, x, steps) of an edit, as the host's samplers call theirs."""
    callback, logged = latent_preview.prepare_callback(model, steps), LoggedSteps(name)

    def progress(step: int, denoised: Tensor, x: Tensor, steps: int) -> None:
        callback(step, denoised, x, steps)
        logged(step, steps)

    return progress


class TuningProgress:
    """progress(losses) of a tuning, all so far. Their curve is drawn every few seconds, whatever the host's setting
    for previews of latents; below it stand the frames that were shown last."""

    def __init__(self, steps: int, latent_format: Any, seconds: float = 2.0) -> None:
        self.bar, self.logged, self.seconds = ProgressBar(steps), LoggedSteps("Tune on Video"), seconds
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
        self.logged(len(losses) - 1, self.bar.total)

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
