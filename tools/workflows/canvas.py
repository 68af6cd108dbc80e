"""Where the nodes of a graph stand: columns from left to right, a group around each, the note on the far left."""

from __future__ import annotations

from dataclasses import dataclass

from .graph import Graph, Node
from .schema import input_specs, is_widget, options

# In the browser's units.
TITLE, SOCKET, WIDGET, TEXT = 30, 22, 28, 90
GAP, MARGIN, HEADER = 60, 25, 45
WIDTH, NOTE_WIDTH, NOTE_CHARACTERS = 350, 400, 46
PICTURES = {
    "PreviewImage": 260, "LoadVideo": 330, "SaveVideo": 330, "VHS_LoadVideo": 400, "VHS_VideoCombine": 330,
    "VP2P_AttentionController": 200, "VP2P_TuneOnVideo": 310, "VP2P_DDIMInvert": 60, "VP2P_DecoupledSample": 60,
    "VP2P_CompareVideos": 330,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    position: tuple[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Layout:
    """groups: (title, [x, y, width, height]) each."""

    nodes: dict[Node, Place]
    groups: list[tuple[str, list[int]]]
    note: Place


def layout(graph: Graph) -> Layout:
    places, groups, x = {}, [], NOTE_WIDTH + 2 * GAP
    for title, nodes in graph.columns:
        y = 0
        for node in nodes:
            places[node] = Place((x, y), (WIDTH, height(node)))
            y += height(node) + GAP
        box = [x - MARGIN, -TITLE - HEADER, WIDTH + 2 * MARGIN, y - GAP + TITLE + HEADER + MARGIN]
        groups.append((title, box))
        x += WIDTH + 2 * MARGIN + GAP
    lines = sum(1 + len(line) // NOTE_CHARACTERS for line in graph.text.splitlines())
    return Layout(places, groups, Place((0, -HEADER), (NOTE_WIDTH, 80 + 22 * lines)))


def height(node: Node) -> int:
    widgets = [options(spec) for spec in input_specs(node.schema).values() if is_widget(spec)]
    texts = sum(bool(widget.get("multiline")) for widget in widgets)
    seeds = sum(bool(widget.get("control_after_generate")) for widget in widgets)
    rows = max(len(node.sockets()), len(node.schema["output"]))
    return rows * SOCKET + (len(widgets) - texts + seeds) * WIDGET + texts * TEXT + PICTURES.get(node.kind, 10)
