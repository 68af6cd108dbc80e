"""The families of models that an edit runs on: to add one is a file beside this one, and a line here."""

from typing import Any

from torch import nn

from .family import Family
from .unet import UNet
from .wan import Wan

FAMILIES: tuple[Family, ...] = (UNet(), Wan())


def family_of_network(network: nn.Module) -> Family | None:
    """None for a network that an edit cannot run on."""
    return next((family for family in FAMILIES if family.has(network)), None)


def family_of(model: Any) -> Family | None:
    """Of a MODEL."""
    return family_of_network(model.get_model_object("diffusion_model"))
