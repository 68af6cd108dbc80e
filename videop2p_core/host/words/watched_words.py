"""Words watched while any sampler runs: where the picture looks at them, the mean of the steps.

Nodes hold their outputs from one run to the next, and several samplers may run on one MODEL: what a run told is known
by the latent that came of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfy.sd import CLIP
from comfy.utils import unpack_latents
from torch import Tensor

from ..comfy.conditioning import Conditioning, control_nets
from ..comfy.denoiser import Algorithm
from ..comfy.latents import has_time_axis
from ..comfy.model_patches import WATCH, options_of
from ..comfy.progress import latent_progress
from ..model.context_passes import check_frame_windows
from ..model.input_checks import check_calls_nothing, check_one_gpu, clip_of, streams_of
from ..prompts.encoded_text import EncodedText, encoded_text
from .table import text_attention_of
from .text_attention import TextAttention
from .text_in_use import check_in_use, entries_of, step_of
from .word_looks import WordLooks
from .word_masks import LOW, Observe, WordMasks, frames_for, masks_from, observed, sharpened

KEPT = 64  # runs of one Watch Words; a longer list of latents is seldom sampled in one go
WATCHER = "what watches words"  # in sentences
SEED = 0  # of the noise that what looks alike is looked at under


@dataclass
class RunLooks(WordLooks):
    """Of one run. entries: of its conditionings, those that hold the text; window: the share of its steps that is
    looked into."""

    entries: frozenset[UUID]
    window: tuple[float, float]

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        options, (_, sigma, *_), (start, end) = options_of(args, kwargs), args, self.window
        levels = options["sample_sigmas"][:-1]
        if not start <= step_of(levels, sigma.max().item()) / len(levels) < end:
            return executor(*args, **kwargs)
        return super().__call__(executor, *args, **kwargs)

    def sees(self, entry: UUID) -> bool:
        return entry in self.entries


@dataclass(frozen=True)
class WatchedRun:
    """maps: see `Observer.maps`, without axes where the text was in use in no step that was watched; noise: the level
    that it ended at, as the model counts it."""

    maps: Tensor
    noise: float


@dataclass(frozen=True, eq=False)
class WatchedWords:
    """Words of a text that are watched on a MODEL.

    model: as it was before, of a family; columns: see WordLooks; window: the share of the steps in which they are
    watched; runs: what each told, by `digest` of the picture that came of it, the latest last
    """

    model: ModelPatcher
    family: TextAttention
    encoded: EncodedText
    columns: Tensor
    window: tuple[float, float]
    runs: dict[str, WatchedRun] = field(default_factory=dict)

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Around one run: a wrapper of the host's call of this name."""
        guider = executor.class_obj
        noise, _, sampler, sigmas, *_ = args
        steps = len(sigmas) - 1
        if isinstance(sampler, Algorithm) or not steps:  # of a node of this pack, which samples nothing
            return executor(*args, **kwargs)
        looks = RunLooks(self.family, noise.shape, self.columns, self._entries(guider), self.window)
        self._check(guider, noise, steps)
        add_wrapper_with_key(WrappersMP.APPLY_MODEL, WATCH, looks, guider.model_options, is_model_options=True)
        latent = executor(*args, **kwargs)
        picture, *_ = unpack_latents(latent, kwargs.get("latent_shapes") or [latent.shape])  # without its sound
        name = digest(picture)
        self.runs.pop(name, None)
        self.runs[name] = WatchedRun(looks.maps().cpu(), sigmas[-1].item())
        while len(self.runs) > KEPT:
            del self.runs[next(iter(self.runs))]
        return latent

    def run_of(self, picture: Tensor) -> WatchedRun:
        """That a latent came of."""
        run = self.runs.get(digest(picture))
        if run is None:
            raise ValueError(
                "this latent came of none of the last runs that were watched: connect the output of a sampler that "
                "runs on Watch Words' model, as it comes, and if it does, run that sampler again with another seed"
            )
        if not run.maps.ndim:
            raise ValueError(
                "the text was in use in none of the steps that were watched: give its conditioning the whole run"
            )
        return run

    def _entries(self, guider: Any) -> frozenset[UUID]:
        entries = entries_of(guider, self.encoded.conditioning)
        check_in_use(entries, self.encoded.text, "watched", "Watch Words")
        if any(entry.get("area") is not None or entry.get("set_area_to_bounds") for entry in entries):
            raise ValueError(
                "the conditioning with the watched text holds for an area of the picture alone: give it a mask "
                "(Conditioning Set Mask, default) in the place of the area"
            )
        return frozenset(entry["uuid"] for entry in entries)

    def _check(self, guider: Any, noise: Tensor, steps: int) -> None:
        check_frame_windows(guider.model_patcher)
        check_one_gpu(guider.model_patcher, WATCHER)
        for name, conditioning in guider.conds.items():
            for control in (control for entry in conditioning for control in control_nets(entry)):
                check_calls_nothing(control, name, WATCHER)
        if has_time_axis(self.model.model) and len(noise) > 1:
            raise ValueError(
                f"words are watched in one clip at a time, and {len(noise)} are sampled: sample them one by one"
            )
        start, end = self.window
        if not any(start <= step / steps < end for step in range(steps)):
            raise ValueError(
                f"none of the {steps} steps begins between {start:g} and {end:g} of the run: watch more of it"
            )


def watch_words(
    model: Any, clip: CLIP, text: str, words: Sequence[str], start: float = 0.0, end: float = 1.0
) -> tuple[ModelPatcher, Conditioning, WatchedWords]:
    """(a clone of MODEL that watches words wherever it is sampled with this text, the text's CONDITIONING, what the
    runs tell).

    words: all of the text's for none; start, end: shares of the steps. Raises ValueError for a model of a family that
    is not known and a word that the text does not have.
    """
    family = text_attention_of(model)
    if not start < end:
        raise ValueError(
            f"the words are watched from {start:g} to {end:g} of the run, which is no step: start before the end"
        )
    encoded = encoded_text(clip, text)
    watched = WatchedWords(model, family, encoded, encoded.columns_of(words), (start, end))
    model = family.prepared(model)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WATCH, watched.outer_sample)
    return model, encoded.conditioning, watched


def watched_masks(
    watched: WatchedWords, latent: dict[str, Any], *, sharp: bool = True, images: Tensor | None = None
) -> WordMasks:
    """Where watched words looked while a LATENT was sampled.

    sharp: whether the model looks at it twice more, for what looks alike in it; images: its frames, to see the masks
    over. Raises ValueError for a LATENT of another run, one that ended in noise, and images that do not fit.
    """
    model, family = watched.model, watched.family
    picture, *_ = streams_of(latent)
    z = clip_of({"samples": picture}, model)
    run = watched.run_of(picture)
    images = frames_for(model, z, images)
    maps = run.maps
    if sharp:
        sampling: Any = model.get_model_object("model_sampling")
        if run.noise > float(sampling.percent_to_sigma(1 - LOW)):
            raise ValueError(
                "this latent still holds noise, in which nothing looks alike: turn sharp off, or connect the sampler "
                "that ends without noise"
            )
        progress = latent_progress(model, 2, "Watched Word Mask")

        def algorithm(observe: Observe) -> Tensor:
            return sharpened(family, maps, picture.shape, observe, progress)

        maps = observed(model, family, watched.encoded.conditioning, z, SEED, algorithm)
    return masks_from(model, maps, sharp, z, images)


def digest(picture: Tensor) -> str:
    """Of a latent, in the precision that it is passed on in at the least."""
    numbers = picture.detach().to("cpu", torch.float16).contiguous()
    return hashlib.sha256(f"{tuple(numbers.shape)}".encode() + numbers.numpy().tobytes()).hexdigest()
