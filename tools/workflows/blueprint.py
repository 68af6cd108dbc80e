"""Subgraphs for the browser's node library: a part of a workflow as one box, written from the same graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .canvas import SOCKET, TEXT, TITLE, WIDGET, Place, layout
from .forms import ui_node
from .graph import Graph, Link, Node
from .schema import WIDGETS, input_specs, options

# Ids by which the browser knows the two edges of a box.
ENTRANCE, EXIT = -10, -20
ROW = 20


@dataclass(frozen=True)
class Blueprint:
    """name: what the box is called; entrance: a node whose outputs are what is put into the box, with the values of
    those that are widgets; exits: what comes out, by name."""

    name: str
    description: str
    graph: Graph
    entrance: Node
    exits: dict[str, Link]


def entrance(**values: Any) -> Node:
    """Inputs of a box by name, each a type ("IMAGE"), or a pair of a type and the value that its widget begins with."""
    kinds = {name: value if isinstance(value, str) else value[0] for name, value in values.items()}
    widgets = {name: value[1] for name, value in values.items() if kinds[name] in WIDGETS}
    return Node(ENTRANCE, "", "", widgets, {"output": list(kinds.values()), "output_name": list(kinds)})


def subgraph_form(blueprint: Blueprint) -> dict[str, Any]:
    """A workflow that holds the box alone."""
    graph, name = blueprint.graph, blueprint.name
    lines = [
        (wire, node, slot) for node in graph.nodes for slot, (*_, wire) in enumerate(node.sockets()) if wire is not None
    ]
    lines = [(number, *line) for number, line in enumerate(lines, start=1)]
    exits = [(len(lines) + i, *way_out) for i, way_out in enumerate(blueprint.exits.items(), start=1)]
    # The nodes list the lines to the exits among those of their outputs.
    outside = Node(EXIT, "", "", {}, {})
    every = [*lines, *((number, link, outside, slot) for slot, (number, _, link) in enumerate(exits))]
    places = layout(graph)
    right = max(place.position[0] + place.size[0] for place in places.nodes.values())
    names = blueprint.entrance.schema["output_name"]
    inputs = [(port, link.type, link) for port, link in zip(names, blueprint.entrance, strict=True)]
    definition = {
        "id": _id(name),
        "version": 1,
        "state": {
            "lastGroupId": len(places.groups), "lastNodeId": len(graph.nodes), "lastLinkId": len(every),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": name,
        "inputNode": {"id": ENTRANCE, "bounding": [260, 0, 120, ROW * (len(inputs) + 2)]},
        "outputNode": {"id": EXIT, "bounding": [right + 80, 0, 120, ROW * (len(exits) + 2)]},
        "inputs": [
            {
                "id": _id(name, port), "name": port, "type": kind, "pos": [360, ROW * (i + 1)],
                "linkIds": [number for number, wire, *_ in lines if wire == link],
            }
            for i, (port, kind, link) in enumerate(inputs)
        ],
        "outputs": [
            {
                "id": _id(name, "out", port), "name": port, "type": link.type, "linkIds": [number],
                "pos": [right + 100, ROW * (i + 1)],
            }
            for i, (number, port, link) in enumerate(exits)
        ],
        "widgets": [],
        "nodes": [ui_node(node, every, places.nodes[node]) for node in graph.nodes],
        "groups": [
            {"id": number, "title": title, "bounding": box, "color": "#3f789e", "font_size": 24, "flags": {}}
            for number, (title, box) in enumerate(places.groups, start=1)
        ],
        "links": [
            {
                "id": number, "origin_id": wire.node.id, "origin_slot": wire.slot, "target_id": node.id,
                "target_slot": slot, "type": wire.type,
            }
            for number, wire, node, slot in every
        ],
        "extra": {},
        "category": "Video-P2P",
        "description": blueprint.description,
    }  # fmt: skip
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_box(blueprint, Place((0, 0), (400, _height(blueprint))))],
        "links": [],
        "version": 0.4,
        "definitions": {"subgraphs": [definition]},
        "extra": {},
    }


def _box(blueprint: Blueprint, place: Place) -> dict[str, Any]:
    names, widgets = blueprint.entrance.schema["output_name"], blueprint.entrance.inputs
    return {
        "id": 1,
        "type": _id(blueprint.name),
        "pos": list(place.position),
        "size": list(place.size),
        "flags": {},
        "order": 0,
        "mode": 0,
        "inputs": [
            {"name": port, "type": link.type, "link": None} | ({"widget": {"name": port}} if port in widgets else {})
            for port, link in zip(names, blueprint.entrance, strict=True)
        ],
        "outputs": [{"name": port, "type": link.type, "links": None} for port, link in blueprint.exits.items()],
        "title": blueprint.name,
        "properties": {"proxyWidgets": [["-1", port] for port in widgets]},
        "widgets_values": list(widgets.values()),
    }


def _height(blueprint: Blueprint) -> int:
    links = dict(zip(blueprint.entrance.schema["output_name"], blueprint.entrance, strict=True))
    widgets = [links[port] for port in blueprint.entrance.inputs]
    texts = sum(_is_text(blueprint.graph, link) for link in widgets)
    rows = max(len(links) - len(widgets), len(blueprint.exits))
    return TITLE + rows * SOCKET + (len(widgets) - texts) * WIDGET + texts * TEXT


def _is_text(graph: Graph, link: Link) -> bool:
    """Whether what is put into the box is written in several lines where it goes to."""
    return any(
        wire == link and options(input_specs(node.schema)[name]).get("multiline", False)
        for node in graph.nodes
        for name, wire in node.inputs.items()
    )


def _id(*names: str) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(("comfyui-videop2p", "subgraphs", *names))))
