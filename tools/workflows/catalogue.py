"""All shipped workflows: whoever imports RECIPES from here has every one registered, in the order of the modules here.

The families take some of the kinds and ways over, which are registered before.
"""

from . import kinds_of_edit, ways_to_run, ablations, bridges, exports, families, wan, ltx, words  # isort: skip  # noqa: F401
from .recipe import RECIPES, Recipe, graph_of

__all__ = ["RECIPES", "Recipe", "graph_of"]
