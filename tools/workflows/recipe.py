"""A workflow's recipe, and the register of all of them by the names of their files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .graph import Graph
from .studio import DEMO, SD15, Studio


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
    graph = Graph(info, chosen.text + (OWN_CLIP_TEXT if chosen.world == SD15 else DEMO_TEXT))
    chosen.write(Studio(graph, chosen.world))
    return graph


DEMO_TEXT = """

This graph runs as it is, on the small model that comes with the pack. It draws balls, stars, hearts, fish, cars and
rabbits of 8 colours, plain, striped, spotted or shiny, on the beach, in the forest, in the city, in space or in the
snow, as a sketch or at night; it knows no other words.
"""
OWN_CLIP_TEXT = """

**Yours to set:** the clip in *Load your clip*, what it shows in *Source prompt*, and the target prompt in *Attention
Controller*. Change as few words as you can.

The checkpoint is Stable Diffusion 1.5; any model of that family will do.
"""
