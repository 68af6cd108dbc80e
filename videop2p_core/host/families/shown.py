"""What an entry of a CONDITIONING shows a model beside the text, one for each latent frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PICTURE, MASK = "concat_latent_image", "concat_mask"  # of an inpainting model
PAINTED = {PICTURE: "pictures to paint in", MASK: "masks to paint in"}


def numbers_shown(options: Mapping[str, Any], kinds: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    """(what it is called, how many there are) of the pictures of these kinds, options by what they are called."""
    for kind, called in kinds.items():
        pictures = options.get(kind)
        if pictures is not None:  # [frames, ...], or [1, channels, frames, ...] of a video model
            yield called, pictures.shape[2] if pictures.ndim == 5 else len(pictures)


def check_number(name: str, called: str, number: int, frames: int) -> None:
    """Whether there is one for each frame, or one for all: the host would spread others over the clip, or fail.

    Raises ValueError with the `name` of the CONDITIONING.
    """
    if number not in (1, frames):
        raise ValueError(
            f"the {name} conditioning has {number} {called}, the clip {frames} latent frames: give it one for each "
            "frame of the clip, or a single one for all (a reference picture before them wants its latent before the "
            "clip's too)"
        )
