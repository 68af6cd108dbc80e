"""The families of models that an edit runs on: to add one is a file beside this one, and a line here."""

from typing import Any

from torch import nn

from .cosmos import CosmosPredict2
from .family import Family
from .kandinsky import Kandinsky5
from .ltxav import LTXAV
from .ltxv import LTXV
from .unet import UNet
from .wan import Wan

FAMILIES: tuple[Family, ...] = (UNet(), Wan(), LTXV(), LTXAV(), CosmosPredict2(), Kandinsky5())


def known_family(network: nn.Module) -> Family | None:
    """None for a network that an edit cannot run on."""
    return next((family for family in FAMILIES if family.has(network)), None)


def family_of_network(network: nn.Module) -> Family:
    """Raises ValueError for a network that an edit cannot run on."""
    family = known_family(network)
    if family is None:
        raise ValueError(f"a {type(network).__name__} is of no family that an edit runs on")
    return family


def family_of(model: Any) -> Family:
    """Of a MODEL; raises ValueError as `family_of_network` does."""
    return family_of_network(model.get_model_object("diffusion_model"))
