"""What a CONDITIONING holds."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

# Of a token's embedding. Half precision moves one by 0.003 at most and 8 bits by 0.04, a weight of 1.1 by 0.08 and
# another word by 0.2.
ALIKE = 0.07

# What SDXL, and LTX, read in numbers beside a text.
SIZES = ("width", "height", "crop_w", "crop_h", "target_width", "target_height", "aesthetic_score", "frame_rate")

Conditioning = list  # of entries [embedding [1, tokens, channels], options], as nodes pass it on
Prepared = list[dict[str, Any]]  # a conditioning's entries as the host prepares them for a model


def same_embedding(conditioning: Conditioning, embedding: Tensor) -> bool:
    """Whether a CONDITIONING's first entry holds this embedding [1, tokens, channels], encoded in whatever precision.

    Each token for itself: in the whole of a text, most of which is padding, a word would not be missed.
    """
    tokens = conditioning[0][0]
    if tokens.shape != embedding.shape:
        return False
    tokens, embedding = tokens.float().cpu(), embedding.float().cpu()
    size = torch.maximum(tokens.norm(dim=-1), embedding.norm(dim=-1))
    return bool(((tokens - embedding).norm(dim=-1) <= ALIKE * size).all())


def control_nets(options: dict[str, Any]) -> Iterator[Any]:
    """Those of an entry of a conditioning, the one that is applied last first."""
    control = options.get("control")
    while control is not None:
        yield control
        control = control.previous_controlnet


def in_use(options: dict[str, Any]) -> tuple[float, float]:
    """The part of the run in which an entry of a conditioning is in use, by its options."""
    start, end = options.get("start_percent"), options.get("end_percent")
    return 0.0 if start is None else start, 1.0 if end is None else end


def embedding_of(conditioning: Conditioning | None, name: str) -> Tensor:
    """The embedding [1, tokens, channels] of a CONDITIONING's first entry."""
    embedding = conditioning[0][0] if conditioning else None
    if not isinstance(embedding, torch.Tensor) or embedding.ndim != 3 or len(embedding) != 1:
        raise ValueError(f"the {name} input holds no text embedding: connect a CLIP Text Encode")
    return embedding.cpu()


def tokens_of(conditioning: Conditioning) -> int:
    """Of the text of a CONDITIONING's first entry, padding among them."""
    return conditioning[0][0].shape[1]


def sizes_of(conditioning: Conditioning) -> dict[str, float]:
    """SIZES of a CONDITIONING's first entry, those that it tells."""
    options = conditioning[0][1]
    return {name: options[name] for name in SIZES if options.get(name) is not None}


def with_sizes(conditioning: Conditioning, sizes: Mapping[str, float]) -> Conditioning:
    """The CONDITIONING with these where it tells none."""
    if not sizes or any(sizes_of([entry]) for entry in conditioning):
        return conditioning
    return [[embedding, {**options, **sizes}] for embedding, options in conditioning]
