"""A workflow's recipe, and the register of all of them by the names of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .graph import Graph
from .studio import Studio
from .worlds import DEMO, WORLDS


@dataclass(frozen=True)
class Recipe:
    """write: adds the nodes; text: the note beside them; needs: a node of another pack without which it is nothing."""

    write: Callable[[Studio], None]
    world: str
    text: str
    needs: str | None = None


RECIPES: dict[str, Recipe] = {}


def recipe(text: str, *worlds: str, needs: str | None = None):
    """Registers `world_name` for every world, the demo's where none is named."""

    def register(write):
        for world in worlds or (DEMO,):
            RECIPES[f"{world}_{write.__name__}"] = Recipe(write, world, text, needs)
        return write

    return register


def graph_of(name: str, info: dict[str, Any]) -> Graph:
    chosen = RECIPES[name]
    graph = Graph(info, chosen.text + WORLDS[chosen.world].text)
    chosen.write(Studio(graph, chosen.world))
    return graph
