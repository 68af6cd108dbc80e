"""What a queued node is computed from, told by the graph, as the host's own cache tells nodes apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from math import isnan
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph import DynamicPrompt
from comfy_execution.graph_utils import is_link


def ancestors_of(hidden: io.HiddenHolder | None) -> str | None:
    """The `graph_signature` of a node with the hidden inputs dynprompt and unique_id; None outside of a queue."""
    if hidden is None or hidden.dynprompt is None:
        return None
    return graph_signature(hidden.dynprompt, hidden.unique_id)


def graph_signature(graph: DynamicPrompt, node_id: str) -> str | None:
    """Of the nodes that a node's linked inputs come from: their classes, values and links, and what they say of files.

    The same wherever they stand and whatever their numbers are. The node's own values are left out. None where a node
    among them says that it never gives the same twice.
    """
    order = [node_id]
    described = [_links(graph, node_id, order)]
    for other in order[1:]:  # grows meanwhile
        node = graph.get_node(other)
        fresh = node.get("is_changed")
        if _never_the_same(fresh):
            return None
        values = {name: value for name, value in node["inputs"].items() if not is_link(value)}
        described.append([node["class_type"], repr(fresh), values, _links(graph, other, order)])
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=repr).encode()).hexdigest()


def _links(graph: DynamicPrompt, node_id: str, order: list[str]) -> dict[str, tuple[int, int]]:
    """{input: (place of a node in `order`, its output)}; new nodes are added to the order."""
    inputs: Mapping[str, Any] = graph.get_node(node_id)["inputs"]
    links = {}
    for name, value in sorted(inputs.items()):
        if is_link(value):
            other, output = value
            if other not in order:
                order.append(other)
            links[name] = order.index(other), output
    return links


def _never_the_same(fresh: Any) -> bool:
    return any(isinstance(value, float) and isnan(value) for value in (fresh if isinstance(fresh, list) else [fresh]))
