"""What a preview on a node can show: smaller pictures than an output may hold, and not at any speed."""

from torch import Tensor

from ...images.comparison import resized

SLOWEST = 0.1  # frames a second
LONGEST = 16383  # pixels a side: the format's bound of a WebP
LARGEST = 2**23  # pixels: somewhat above, the coding of a WebP's blocks outgrows its room where they are full of detail


def previewed(frames: Tensor) -> Tensor:
    """Frames [frames, height, width, 3], smaller where a WebP could not hold them."""
    height, width = size = frames.shape[1:3]
    scale = min(1, LONGEST / max(size), (LARGEST / (height * width)) ** 0.5)
    return resized(frames, [max(1, round(scale * side)) for side in size])


def checked_fps(fps: float) -> float:
    """Raises ValueError where it is too slow for a preview, or no number."""
    if not fps >= SLOWEST:
        raise ValueError(f"the fps is {fps:g}: give {SLOWEST:g} or more")
    return fps
