"""All shipped workflows: whoever imports RECIPES from here has every one registered."""

from . import bridges, exports, families, recipes, wan  # noqa: F401
from .recipe import RECIPES, Recipe, graph_of

__all__ = ["RECIPES", "Recipe", "graph_of"]
