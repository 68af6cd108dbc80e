"""Where a node's model, clip and CONDITIONING come from, as one text: by it a run is known again before it runs.

A run tells it from the queued graph, the browser from the graph on its canvas (web/cost.js). Words cost nothing, and
neither do what steps of ours train or invert: another prompt, seed or number of steps leaves it as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import is_link

from nodes import NODE_CLASS_MAPPINGS

WORDS = {"CLIP", "STRING", "VP2P_EDIT"}  # types of links that are not followed
SAME_COST = {"VP2P_TuneOnVideo", "VP2P_DDIMInvert"}  # whose values change nothing of what a forward costs
NUMBERS = ("INT", "FLOAT", "BOOLEAN")

Origin = tuple[str, Mapping[str, Any]]  # a node's class, and its values by the names of its inputs


def origins_of(hidden: io.HiddenHolder | None) -> str | None:
    """The `signature` of what a node with the hidden inputs dynprompt and unique_id is run on; None outside of a
    queue."""
    if hidden is None or hidden.dynprompt is None:
        return None
    return signature(ancestors(hidden.dynprompt, hidden.unique_id))


def ancestors(graph: DynamicPrompt, node_id: str) -> list[Origin]:
    """The nodes that a node's links come from, but for those of words."""
    order = [node_id]
    for node_id in order:  # grows meanwhile
        for value in graph.get_node(node_id)["inputs"].values():
            if is_link(value) and value[0] not in order and _type_of(graph, *value) not in WORDS:
                order.append(value[0])
    return [(node["class_type"], node["inputs"]) for node in map(graph.get_node, order[1:])]


def signature(origins: Iterable[Origin]) -> str:
    """Of nodes in whatever order: their classes, and those of their values that are chosen or counted."""
    told = sorted(json.dumps([kind, _telling(kind, values)]) for kind, values in origins)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def _telling(kind: str, values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Choices as they are, numbers as such whether a page or a graph wrote them."""
    types, told = {} if kind in SAME_COST else _declared(kind), []
    for name in sorted(types.keys() & values.keys()):
        value, chosen = values[name], types[name] == "COMBO" or isinstance(types[name], list)
        if types[name] in NUMBERS and isinstance(value, (int, float)) and "seed" not in name:
            told.append((name, repr(float(value))))
        elif chosen and isinstance(value, str):
            told.append((name, value))
    return told


def _declared(kind: str) -> dict[str, Any]:
    """{input: its type} of a class of nodes; nothing of one that does not say it."""
    try:
        declared: Any = NODE_CLASS_MAPPINGS[kind].INPUT_TYPES()
        return {name: entry[0] for part in ("required", "optional") for name, entry in declared.get(part, {}).items()}
    except Exception:  # other packs' own code, which must not end a run
        return {}


def _type_of(graph: DynamicPrompt, node_id: str, output: int) -> str | None:
    """Of what a node gives, by its class."""
    kind = graph.get_node(node_id)["class_type"]
    types = getattr(NODE_CLASS_MAPPINGS[kind], "RETURN_TYPES", ()) if kind in NODE_CLASS_MAPPINGS else ()
    return types[output] if output < len(types) else None
