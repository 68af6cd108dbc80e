"""What the host's /object_info says of a node's inputs. A spec is [type, options]."""

from __future__ import annotations

from typing import Any

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", "COMFY_DYNAMICCOMBO_V3"}
GROWING = "COMFY_AUTOGROW_V3"


def input_specs(schema: dict[str, Any]) -> dict[str, list]:
    """The specs by name, required inputs first, as the browser lays them out."""
    order = schema["input_order"]
    return {name: schema["input"][kind][name] for kind in ("required", "optional") for name in order.get(kind, ())}


def base(name: str) -> str:
    """The schema's name of an input that belongs to a growing one: 'inputs' of 'inputs.input0'."""
    return name.partition(".")[0]


def options(spec: list) -> dict[str, Any]:
    return spec[1] if len(spec) > 1 else {}


def is_widget(spec: list) -> bool:
    return (isinstance(spec[0], list) or spec[0] in WIDGETS) and not options(spec).get("forceInput")


def default(spec: list) -> Any:
    settings = options(spec)
    if "default" in settings:
        return settings["default"]
    choices = spec[0] if isinstance(spec[0], list) else settings.get("options")
    if choices:
        return choices[0]["key"] if spec[0] == "COMFY_DYNAMICCOMBO_V3" else choices[0]
    return ""
