"""LPIPS, where the package `lpips` and the weights of its backbone already are: nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from pickle import UnpicklingError
from urllib.parse import urlparse

import torch
from comfy import model_management
from einops import rearrange
from torch import Tensor

from ...images.metrics import masked_mean

ACTIVATIONS = 128  # numbers for each pixel of a frame that a forward holds at most: a guess on the safe side


def lpips_distance(a: Tensor, b: Tensor, mask: Tensor | None = None) -> float:
    """Learned perceptual distance of frames [frames, height, width, 3], 0 where they are the same (arXiv 1801.03924,
    AlexNet); of the masked region alone where a mask [frames, height, width] is given.

    Raises ValueError where the package or its backbone's weights are not on this machine, or are broken.
    """
    network = _network()
    device = model_management.get_torch_device()
    _, height, width, _ = a.shape
    # The host does not know of this network, so it cannot make room for it unasked.
    needed = model_management.module_size(network) + ACTIVATIONS * height * width * torch.float32.itemsize
    model_management.free_memory(needed, device)
    network = network.to(device)
    a, b = (rearrange(frames, "frames height width colour -> frames 1 colour height width") for frames in (a, b))
    # Frame by frame, as the features of a long clip are large.
    maps = []
    for x, y in zip(a, b, strict=True):
        model_management.throw_exception_if_processing_interrupted()
        maps.append(network(x.to(device), y.to(device), normalize=True)[:, 0].cpu())
    return masked_mean(torch.cat(maps), mask)


def _network() -> torch.nn.Module:
    try:
        import lpips  # ty: ignore
    except ImportError:
        raise ValueError("the Python package lpips is not installed: install it to have LPIPS measured") from None
    weights = weights_file()
    if not weights.is_file():
        raise ValueError(
            f"LPIPS needs AlexNet's weights, which are not on this machine and are not downloaded unasked: put "
            f"{weights.name} into {weights.parent}"
        )
    try:
        return lpips.LPIPS(net="alex", spatial=True, verbose=False).eval()
    except (EOFError, UnpicklingError):
        raise ValueError(f"{weights} is no file of weights, or a part of one: put a whole one there") from None


def weights_file() -> Path:
    """Where torchvision, and so lpips, looks for AlexNet's weights before it would download them."""
    from torchvision.models import AlexNet_Weights

    url = AlexNet_Weights.IMAGENET1K_V1.url
    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urlparse(url).path).name
