"""The frames of an IMAGE, looked through before a node takes them."""

from torch import Tensor

from ...finite import check_finite_input
from ...images.comparison import coloured


def frames_of(images: Tensor, name: str) -> Tensor:
    """IMAGEs of any channels in colour: [frames, height, width, 3]. name: what a sentence calls them, in the singular.

    Raises ValueError where they are none.
    """
    shape = list(getattr(images, "shape", ()))
    if len(shape) != 4 or not images.numel():
        raise ValueError(f"{name} has shape {shape}: give [frames, height, width, channels], at least one of each")
    if not images.is_floating_point():
        raise ValueError(f"{name} holds {str(images.dtype).removeprefix('torch.')}: give values of 0 to 1")
    check_finite_input(images, f"{name} holds", "decode it anew")
    return coloured(images)
