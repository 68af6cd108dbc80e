"""What the browser asks of a long node before it runs: POST /videop2p/cost."""

import json
from collections.abc import Mapping
from types import NoneType
from typing import Any

from aiohttp import web
from server import PromptServer

from ...diffusion import forwards
from ...diffusion.attention_records import RecordSettings
from ...diffusion.forwards import Forwards
from ...diffusion.inversion import InversionSettings
from ...diffusion.tuning import TuningSettings
from ...edit.sweep import parse_sweep
from ...storage.artifacts import settings_of_inversion
from ..prompts.difference_route import refusal
from ..storage.saved_names import INVERSIONS, path_of
from .measured_runs import EDIT, INVERSION, NULL_TEXT, SOURCE_MAPS, TARGET_MAPS, TUNING, last_run
from .origins import Origin, signature

PATH = "/videop2p/cost"
LARGEST, MOST = 2**18, 1000  # bytes of a question, nodes in it
NOT_KEPT = "off"
INVERTING = {"VP2P_DDIMInvert", "VP2P_LoadInversion"}
INFLATING = "VP2P_InflateUNet"  # makes of an image model one whose edits share a look at the source
SWEPT = "cross_windows", "word", "word_weights", "target_prompts"  # fields of Sweep Edits
Values = Mapping[str, Any]
Edits = list[tuple[Values, Values | None]]


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


def checked(question: Any) -> tuple[str, Values, Edits | None, list[Origin]]:
    """{"node": its class, "values": of its inputs, without those that a link is in the place of, "edits": [[values,
    sweep], ...] of the controllers that it edits by and of what sweeps each, None for nothing, and None for edits that
    only a run knows, "origins": [[class, values], ...] of the nodes that model and clip come from}."""
    if not isinstance(question, dict) or not set(question) <= {"node", "values", "edits", "origins"}:
        raise ValueError("ask with an object of node, values, edits, origins")
    node, values = question.get("node"), question.get("values", {})
    if not isinstance(node, str) or not isinstance(values, dict):
        raise ValueError("node is a text, values are an object")
    edits, origins = question.get("edits"), question.get("origins", [])
    if not (edits is None or _are_pairs(edits, (dict,), (dict, NoneType))):
        raise ValueError(f"edits are a list of [values, sweep], of {MOST} at most")
    if not _are_pairs(origins, (str,), (dict,)):
        raise ValueError(f"origins are a list of [class, values], of {MOST} nodes at most")
    return node, values, edits and [(held, sweep) for held, sweep in edits], [(kind, held) for kind, held in origins]


def _are_pairs(entries: Any, *kinds: tuple[type, ...]) -> bool:
    return (
        isinstance(entries, list)
        and len(entries) <= MOST
        and all(isinstance(pair, list) and len(pair) == 2 and all(map(isinstance, pair, kinds)) for pair in entries)
    )


def cost(node: str, values: Values, edits: Edits | None, origins: list[Origin]) -> dict[str, Any]:
    """{"steps", "forwards", "at_most"} as Forwards, and {"seconds", "bytes"} by the last run on this machine; each None
    where it is not known."""
    counted = _counted(node, values, edits, origins)
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
    node: str, values: Values, edits: Edits | None, origins: list[Origin]
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
            case "VP2P_AttentionMaps" if values["branch"] == "source":
                taken = forwards.of_source_maps(_inverted(origins), _whole(values, "step"), bool(values.get("sharp")))
                return SOURCE_MAPS, (taken.steps, taken)
            case "VP2P_DecoupledSample" | "VP2P_AttentionMaps":
                settings = _inverted(origins)
                taken = _of_edits(settings, edits, shared=any(kind == INFLATING for kind, _ in origins))
                operation = EDIT if node == "VP2P_DecoupledSample" else TARGET_MAPS
                return operation, (taken.steps if taken else settings.steps, taken)
    except (KeyError, TypeError, ValueError, OSError):  # a value over a link, or none that the node would take
        pass
    return None


def _of_edits(inversion: InversionSettings, edits: Edits | None, shared: bool) -> Forwards | None:
    return forwards.of_edits([_of_edit(inversion, *edit, shared) for edit in edits]) if edits else None


def _of_edit(inversion: InversionSettings, values: Values, sweep: Values | None, shared: bool) -> Forwards:
    strength, emphasis = _number(values, "strength", 1), _number(values, "emphasis", 0)
    variants = 1 if sweep is None else parse_sweep(*(_text(sweep, name) for name in SWEPT)).count
    return forwards.of_edit(inversion, strength=strength, emphasis=emphasis, variants=variants, shared=shared)


def _inverted(origins: list[Origin]) -> InversionSettings:
    """Of the one inversion among them. Raises ValueError for none or several."""
    (inversion,) = [(kind, held) for kind, held in origins if kind in INVERTING]
    kind, held = inversion
    if kind == "VP2P_DDIMInvert":
        return _inversion(held)
    return settings_of_inversion(path_of(INVERSIONS, _text(held, "inversion_name")))


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


def _number(values: Values, name: str, default: float) -> float:
    value = values.get(name, default)
    if not isinstance(value, int | float) or not 0 <= value <= 10_000:
        raise ValueError(f"{name} is a number")
    return value


def _text(values: Values, name: str) -> str:
    if not isinstance(values[name], str):
        raise ValueError(f"{name} is a text")
    return values[name]
