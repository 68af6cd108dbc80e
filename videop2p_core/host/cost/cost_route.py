"""What the browser asks of a long node before it runs: POST /videop2p/cost."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from server import PromptServer

from ...diffusion import forwards
from ...diffusion.attention_records import RecordSettings
from ...diffusion.forwards import Forwards
from ...diffusion.inversion import InversionSettings
from ...diffusion.tuning import TuningSettings
from ..prompts.difference_route import refusal
from .measured_runs import EDIT, INVERSION, NULL_TEXT, TUNING, last_run
from .origins import Origin, signature

PATH = "/videop2p/cost"
LARGEST, MOST = 2**18, 1000  # bytes of a question, nodes in it
NOT_KEPT = "off"
Values = Mapping[str, Any]


def add_routes() -> None:
    """Let the host's server answer at PATH."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.post(PATH)(answer)


async def answer(request: web.Request) -> web.Response:
    """As JSON what `cost` says of a JSON object as `checked` wants it, or under "error" a sentence why it says
    nothing."""
    if said := refusal(request, LARGEST, "the graph is too large to be followed"):
        return said
    try:
        return web.json_response(cost(*checked(json.loads(await request.read()))))
    except (ValueError, RecursionError, ConnectionError) as error:
        return web.json_response({"error": str(error)}, status=400)


def checked(question: Any) -> tuple[str, Values, Values | None, list[Origin]]:
    """{"node": its class, "values": of its inputs, None where a link is in the place of one, "edit": those of the one
    controller that it edits by, "origins": [[class, values], ...] of the nodes that model and clip come from}."""
    if not isinstance(question, dict) or not set(question) <= {"node", "values", "edit", "origins"}:
        raise ValueError("ask with an object of node, values, edit, origins")
    node, edit = question.get("node"), question.get("edit")
    values, origins = question.get("values", {}), question.get("origins", [])
    if not isinstance(node, str) or not isinstance(values, dict) or not (edit is None or isinstance(edit, dict)):
        raise ValueError("node is a text, values and edit are objects")
    pairs = isinstance(origins, list) and len(origins) <= MOST and all(map(_is_origin, origins))
    if not pairs:
        raise ValueError(f"origins are a list of [class, values], of {MOST} nodes at most")
    return node, values, edit, [(kind, held) for kind, held in origins]


def _is_origin(entry: Any) -> bool:
    return isinstance(entry, list) and list(map(type, entry)) == [str, dict]


def cost(node: str, values: Values, edit: Values | None, origins: list[Origin]) -> dict[str, Any]:
    """{"steps", "forwards", "at_most"} as Forwards, and {"seconds", "bytes"} by the last run on this machine; each None
    where it is not known."""
    counted = _counted(node, values, edit, origins)
    if counted is None:
        return dict.fromkeys(("steps", "forwards", "at_most", "seconds", "bytes"))
    operation, (steps, taken) = counted
    run = last_run(operation, signature(origins)) if taken else None
    return {
        "steps": steps,
        "forwards": taken and taken.forwards,
        "at_most": taken and taken.at_most,
        "seconds": run and taken and run.seconds * taken.forwards,
        "bytes": run and run.bytes,
    }


def _counted(
    node: str, values: Values, edit: Values | None, origins: list[Origin]
) -> tuple[str, tuple[int, Forwards | None]] | None:
    """The operation of a node, its steps and its forwards, as far as they are known."""
    try:
        match node:
            case "VP2P_TuneOnVideo":
                settings = TuningSettings(steps=_whole(values, "steps"), patience=_whole(values, "patience"))
                taken = forwards.of_tuning(settings, _whole(values, "preview_every"))
                return TUNING, (taken.steps, taken)
            case "VP2P_DDIMInvert":
                settings = _inversion(values)
                taken = forwards.of_inversion(settings, checked=bool(values.get("checked")))
                return NULL_TEXT if settings.optimises_null_text else INVERSION, (taken.steps, taken)
            case "VP2P_DecoupledSample":
                inversions = [held for kind, held in origins if kind == "VP2P_DDIMInvert"]
                if len(inversions) != 1:  # a loaded one, for instance
                    return None
                settings = _inversion(inversions[0])
                if edit is None:  # or several
                    return EDIT, (settings.steps, None)
                taken = forwards.of_edit(
                    settings, strength=float(edit.get("strength", 1)), emphasis=float(edit.get("emphasis", 0))
                )
                return EDIT, (taken.steps, taken)
    except (KeyError, TypeError, ValueError):  # a value over a link, or none that the node would take
        pass
    return None


def _inversion(values: Values) -> InversionSettings:
    recorded = None if values.get("keep_source", NOT_KEPT) == NOT_KEPT else RecordSettings()
    steps, rounds, inner_steps = (_whole(values, name) for name in ("steps", "rounds", "inner_steps"))
    return InversionSettings(values["method"], steps, rounds, inner_steps=inner_steps, record_settings=recorded)


def _whole(values: Values, name: str) -> int:
    """A number of steps, as large as any node takes."""
    value = values[name]
    if not isinstance(value, int) or not 0 <= value <= 10_000:
        raise ValueError(f"{name} is a whole number")
    return value
