"""Progress bars and previews of the work that is no ordinary sampling."""

import time
from itertools import count

import comfy.model_management
import latent_preview
from comfy.cli_args import LatentPreviewMethod, args
from comfy.utils import ProgressBar
from PIL import Image

from .pictures import loss_plot


def latent_progress(model, steps):
    """progress(step, z) for several stages of `steps` calls in all; z is shown as the host shows latents."""
    callback, done = latent_preview.prepare_callback(model, steps), count()

    def progress(_, z):
        comfy.model_management.throw_exception_if_processing_interrupted()
        callback(next(done), z, z, steps)

    return progress


def loss_progress(steps, seconds=2.0):
    """progress(step, loss) of a tuning; the loss curve so far is drawn every few seconds."""
    bar, losses, drawn = ProgressBar(steps), [], time.monotonic()

    def progress(step, loss):
        nonlocal drawn
        comfy.model_management.throw_exception_if_processing_interrupted()
        losses.append(loss)
        preview = None
        if time.monotonic() - drawn > seconds and args.preview_method != LatentPreviewMethod.NoPreviews:
            picture = (loss_plot(losses)[0] * 255).byte().numpy()
            preview = "JPEG", Image.fromarray(picture), latent_preview.MAX_PREVIEW_RESOLUTION
            drawn = time.monotonic()
        bar.update_absolute(step + 1, steps, preview)

    return progress
