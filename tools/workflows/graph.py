"""A graph of nodes, as the recipes write it.

    graph = Graph(info)                       info: the host's /object_info
    graph.column("Model")                     the nodes that follow stand in this group, one below the other
    model, clip, vae = graph.add("VP2P_LoadDemoModel")
    graph.add("VAEDecode", "Decode the edit", samples=latent, vae=vae)

Inputs that are not named have their node's defaults.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .schema import GROWING, base, default, input_specs, is_widget


@dataclass(frozen=True)
class Link:
    """An output of a node."""

    node: Node
    slot: int

    @property
    def type(self) -> str:
        return self.node.schema["output"][self.slot]


@dataclass(eq=False)
class Node:
    """id counts from 1 in the order of adding; inputs: a value or a Link by name, in the order of the schema; models:
    files that it needs, {name, url, directory} each, which the browser offers to download; scripted: widgets that the
    node's own script adds in the browser, after those of its schema."""

    id: int
    kind: str
    title: str
    inputs: dict[str, Any]
    schema: dict[str, Any]
    models: tuple[dict[str, str], ...] = ()
    scripted: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Link]:
        return (Link(self, slot) for slot in range(len(self.schema["output"])))

    def __getitem__(self, name: str) -> Link:
        return Link(self, self.schema["output_name"].index(name))

    def sockets(self) -> list[tuple[str, str, Link | None]]:
        """(name, type, Link or None) of the inputs that a line can end in: all but widgets that hold a value."""
        sockets = []
        for name, spec in input_specs(self.schema).items():
            if spec[0] == GROWING:
                sockets += [(key, link.type, link) for key, link in self.inputs.items() if base(key) == name]
            elif not is_widget(spec):
                sockets.append((name, spec[0], self.inputs.get(name)))
            elif isinstance(self.inputs[name], Link):
                sockets.append((name, "COMBO" if isinstance(spec[0], list) else spec[0], self.inputs[name]))
        return sockets


@dataclass
class Graph:
    """text: a note beside the graph, in Markdown."""

    info: dict[str, Any]
    text: str = ""
    nodes: list[Node] = field(default_factory=list)
    columns: list[tuple[str, list[Node]]] = field(default_factory=list)

    def column(self, title: str) -> None:
        self.columns.append((title, []))

    def add(self, kind: str, title: str = "", *, models=(), scripted=None, **values: Any) -> Node:
        """A node. `given` holds values, Links, and Nodes in the place of their first output."""
        schema = self.info[kind]
        specs = input_specs(schema)
        strange = [name for name in values if base(name) not in specs]
        if strange:
            raise ValueError(f"{kind} has no input {strange[0]}; it has: {', '.join(specs)}")
        inputs = {name: default(spec) for name, spec in specs.items() if is_widget(spec)}
        inputs |= {name: next(iter(value)) if isinstance(value, Node) else value for name, value in values.items()}
        order = list(specs)
        inputs = {name: inputs[name] for name in sorted(inputs, key=lambda name: order.index(base(name)))}
        title = title or schema["display_name"] or kind
        node = Node(len(self.nodes) + 1, kind, title, inputs, schema, tuple(models), scripted or {})
        self.nodes.append(node)
        self.columns[-1][1].append(node)
        return node
