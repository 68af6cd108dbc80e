"""The two JSON forms of a graph: what the server runs and what the browser opens."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from .canvas import Place, layout
from .graph import Graph, Link, Node
from .schema import default, input_specs, is_widget, options

# Widgets that the browser adds after one of a node's own, and what a file keeps of them.
FOLLOWERS = {"control_after_generate": "fixed", "video_upload": "video", "image_upload": "image"}
BY_NAME = "VHS_"


def api_form(graph: Graph) -> dict[str, Any]:
    def value(entry):
        return [str(entry.node.id), entry.slot] if isinstance(entry, Link) else entry

    return {
        str(node.id): {
            "inputs": {name: value(entry) for name, entry in {**node.inputs, **node.scripted}.items()},
            "class_type": node.kind,
            "_meta": {"title": node.title},
        }
        for node in graph.nodes
    }


def ui_form(graph: Graph, name: str) -> dict[str, Any]:
    """`name` gives the workflow an id that stays the same whenever it is written."""
    ends = [(node, slot, link) for node in graph.nodes for slot, (*_, link) in enumerate(node.sockets()) if link]
    lines = [(number, link, node, slot) for number, (node, slot, link) in enumerate(ends, start=1)]
    places = layout(graph)
    return {
        "id": str(uuid5(NAMESPACE_URL, f"comfyui-videop2p/{name}")),
        "revision": 0,
        "last_node_id": len(graph.nodes) + 1,
        "last_link_id": len(lines),
        "nodes": [*(ui_node(node, lines, places.nodes[node]) for node in graph.nodes), ui_note(graph, places.note)],
        "links": [[number, out.node.id, out.slot, node.id, slot, out.type] for number, out, node, slot in lines],
        "groups": [
            {"id": number, "title": title, "bounding": box, "color": "#3f789e", "font_size": 24, "flags": {}}
            for number, (title, box) in enumerate(places.groups, start=1)
        ],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def ui_node(node: Node, lines: list[tuple[int, Link, Node, int]], place: Place) -> dict[str, Any]:
    specs = input_specs(node.schema)
    arriving = {slot: number for number, _, target, slot in lines if target is node}
    inputs = [
        {"name": name, "type": kind, "link": arriving.get(slot)}
        | ({"widget": {"name": name}} if name in specs and is_widget(specs[name]) else {})
        for slot, (name, kind, _) in enumerate(node.sockets())
    ]
    outputs = [
        {
            "name": label,
            "type": link.type,
            "slot_index": link.slot,
            "links": [number for number, out, *_ in lines if out == link],
        }
        for label, link in zip(node.schema["output_name"], node, strict=True)
    ]
    properties = {"Node name for S&R": node.kind} | ({"models": list(node.models)} if node.models else {})
    return _box(node.id, node.kind, node.title, place) | {
        "order": node.id - 1,
        "inputs": inputs,
        "outputs": outputs,
        "properties": properties,
        "widgets_values": widget_values(node),
    }


def widget_values(node: Node) -> list[Any] | dict[str, Any]:
    """The browser keeps widgets by position, those of a node whose script adds some by name. One that a line ends in
    keeps its default."""
    specs = {name: spec for name, spec in input_specs(node.schema).items() if is_widget(spec)}
    values = {
        name: default(spec) if isinstance(node.inputs[name], Link) else node.inputs[name]
        for name, spec in specs.items()
    }
    if node.kind == "VHS_LoadVideo":
        # By name the browser's newest frontend gives them to other widgets; this list its own script reads everywhere.
        size = "{custom_width}x{custom_height}".format_map(values)
        cut = ("frame_load_cap", "skip_first_frames", "select_every_nth")
        return [values["video"], values["force_rate"], size, *(values[name] for name in cut)]
    if node.kind.startswith(BY_NAME):
        return values | node.scripted
    followed = []
    for name, spec in specs.items():
        followed += [values[name], *(follower for key, follower in FOLLOWERS.items() if options(spec).get(key))]
    return followed


def ui_note(graph: Graph, place: Place) -> dict[str, Any]:
    number = len(graph.nodes) + 1
    return _box(number, "MarkdownNote", "About this workflow", place) | {
        "order": number - 1,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": [graph.text],
        "color": "#432",
        "bgcolor": "#653",
    }


def _box(number: int, kind: str, title: str, place: Place) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "title": title,
        "pos": list(place.position),
        "size": list(place.size),
        "flags": {},
        "mode": 0,
    }
