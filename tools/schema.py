"""`python dev.py schema`: what saved workflows hold of the nodes, written to tests/host/schema.json.

A saved workflow names nodes, inputs and outputs, keeps widgets by their place and lines by the place of the socket that
they leave. So what was there once stays: new inputs come last and are optional, new outputs come last.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import Any

from .environment import ROOT
from .pack import use_host
from .workflows.schema import input_specs, is_widget, options

FILE = ROOT / "tests" / "host" / "schema.json"
COMMAND = "python dev.py schema"
WIDGET_SETTINGS = ("default", "min", "max", "control_after_generate")  # of what is told of an input, beside its type
# Whether every value that was allowed before still is.
WIDENED = {
    "options": lambda was, now: set(was) <= set(now),
    "min": lambda was, now: now <= was,
    "max": lambda was, now: now >= was,
}

Port = dict[str, Any]  # an input or an output
Snapshot = dict[str, dict[str, Any]]  # by node: "inputs" and "outputs", and whether it "takes_lists"


def present() -> Snapshot:
    """Of each node of the pack by its id what a saved workflow relies on."""
    use_host()
    from ..nodes.extension import VideoP2PExtension

    nodes = {node.GET_SCHEMA().node_id: node for node in asyncio.run(VideoP2PExtension().get_node_list())}
    return {name: described(nodes[name]) for name in sorted(nodes)}


def described(node) -> dict[str, Any]:
    info = json.loads(json.dumps(node.GET_NODE_INFO_V1()))  # as the browser is told it
    required = info["input"].get("required", {})
    outputs = zip(node.GET_SCHEMA().outputs, info["output_name"], info["output"], info["output_is_list"], strict=True)
    return {
        "takes_lists": bool(info["is_input_list"]),
        "inputs": [of_input(name, spec, name in required) for name, spec in input_specs(info).items()],
        "outputs": [
            {"id": output.id, "name": name, "type": kind, "is_list": is_list} for output, name, kind, is_list in outputs
        ],
    }


def of_input(name: str, spec: list, required: bool) -> Port:
    settings = options(spec)
    port = {"id": name, "type": spec[0], "required": required, "widget": is_widget(spec)}
    port |= {key: settings[key] for key in WIDGET_SETTINGS if key in settings}
    # A choice without a default is one of the files that lie in some folder.
    return port | ({"options": settings["options"]} if "options" in settings and "default" in settings else {})


# --- two snapshots ----------------------------------------------------------------------------------------------------


def compared(before: Snapshot, now: Snapshot) -> tuple[list[str], list[str]]:
    """(what breaks saved workflows, what is new), a sentence each."""
    breaks = [f"{node} is gone" for node in before if node not in now]
    news = [f"{node} is new" for node in now if node not in before]
    for node in (node for node in before if node in now):
        if before[node]["takes_lists"] != now[node]["takes_lists"]:
            breaks.append(f"{node} is one that takes its inputs as lists, and was not, or was and is not")
        for ports in ("inputs", "outputs"):
            of_these = compared_ports(before[node][ports], now[node][ports])
            for changes, sentences in zip((breaks, news), of_these, strict=True):
                changes += [f"{node}, {ports}: {sentence}" for sentence in sentences]
    return breaks, news


def compared_ports(before: list[Port], now: list[Port]) -> tuple[list[str], list[str]]:
    names, after = [port["id"] for port in before], {port["id"]: port for port in now}
    added = [port for port in now if port["id"] not in names]
    breaks = [f"{name} is gone" for name in names if name not in after]
    if not breaks and list(after)[: len(names)] != names:
        breaks.append(f"the order was {', '.join(names)} and is {', '.join(after)}")
    breaks += [
        f"{port['id']} is new and required, which no saved workflow gives: make it optional"
        for port in added
        if port.get("required")
    ]
    news = [f"{port['id']} is new" for port in added if not port.get("required")]
    for was, is_now in ((port, after[port["id"]]) for port in before if port["id"] in after):
        for key in (key for key in {**was, **is_now} if was.get(key) != is_now.get(key)):
            sentence = f"{key} of {was['id']} was {was.get(key)!r} and is {is_now.get(key)!r}"
            widened = key in WIDENED and key in was and key in is_now and WIDENED[key](was[key], is_now[key])
            # Every saved workflow gives a required input its value: a fresh node alone has the default.
            harmless = widened or (key == "default" and was.get("required") and is_now.get("required"))
            (news if harmless else breaks).append(sentence)
    return breaks, news


# --- the file ---------------------------------------------------------------------------------------------------------


def read() -> Snapshot:
    return json.loads(FILE.read_text(encoding="utf-8"))


def as_text(snapshot: Snapshot) -> str:
    """As JSON with a line for each input and output."""

    def lines(ports):
        return "[" + ",".join(f"\n   {json.dumps(port, ensure_ascii=False)}" for port in ports) + "\n  ]"

    nodes = [
        f' "{name}": {{\n  "takes_lists": {json.dumps(node["takes_lists"])},\n  "inputs": {lines(node["inputs"])},\n'
        f'  "outputs": {lines(node["outputs"])}\n }}'
        for name, node in snapshot.items()
    ]
    return "{\n" + ",\n".join(nodes) + "\n}\n"


def main() -> str | None:
    parser = argparse.ArgumentParser(prog="dev.py schema")
    parser.add_argument("--break", dest="may_break", action="store_true", help="write it though workflows break")
    may_break = parser.parse_args().may_break
    now = present()
    breaks, news = compared(read(), now) if FILE.is_file() else ([], [])
    print("\n".join((*breaks, *news)) or "nothing changed")
    if breaks and not may_break:
        return "not written, as saved workflows would break: append instead or, if it must be, give --break"
    FILE.write_text(as_text(now), encoding="utf-8")
    print(f"written: {FILE}")


if __name__ == "__main__":
    raise SystemExit(main())
