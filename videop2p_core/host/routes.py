"""What the browser asks of the pack while an artist types: POST /videop2p/difference."""

import asyncio
import json
from dataclasses import asdict

from aiohttp import web
from server import PromptServer

from ..difference import difference, faults, weights
from ..prompts import KINDS
from .tokens import read_prompt
from .typing_clip import typing_clip, unknown_inversions

PATH = "/videop2p/difference"
LARGEST, LONGEST = 2**16, 2000  # bytes of a question, characters of a field: the worst takes about a second
PROMPTS = ("source_prompt", "target_prompt")
FIELDS = (*PROMPTS, "edit", "blend_source", "blend_target", "subtract", "word_weights")


def add_routes():
    server = getattr(PromptServer, "instance", None)
    if server is not None:  # there is none where ComfyUI serves as a library
        server.routes.post(PATH)(answer)


async def answer(request: web.Request) -> web.Response:
    """As JSON what `told` says of a JSON object of FIELDS, or under "error" a sentence why it says nothing."""
    # Another site's page can send this type only if the host lets it.
    if request.content_type != "application/json":
        return web.json_response({"error": "ask in application/json"}, status=415)
    if request.content_length is None or request.content_length > LARGEST:
        return web.json_response({"error": too_long("the edit")}, status=413)
    try:
        fields = checked(json.loads(await request.read()))
        long = [name for name in FIELDS if len(fields[name]) > LONGEST]
        if long:
            return web.json_response({"error": too_long(f"the {long[0].replace('_', ' ')}")}, status=413)
        return web.json_response(await asyncio.to_thread(told, fields))
    except (ValueError, RecursionError) as error:
        return web.json_response({"error": str(error)}, status=400)


def checked(asked) -> dict[str, str]:
    """The fields of a question, those that it leaves out empty."""
    if not isinstance(asked, dict) or not set(asked) <= set(FIELDS):
        raise ValueError(f"ask with an object of {', '.join(FIELDS)}")
    if not all(isinstance(value, str) for value in asked.values()):
        raise ValueError("each field is a text")
    "".join(asked.values()).encode()  # half of a surrogate pair is no text, which is a ValueError as well
    fields = dict.fromkeys(FIELDS, "") | asked
    fields["edit"] = fields["edit"] or KINDS[0]
    if fields["edit"] not in KINDS:
        raise ValueError(f"an edit is one of {', '.join(KINDS)}")
    return fields


def too_long(what: str) -> str:
    return f"{what} is too long to be followed while you type; the node itself reads all of it"


def told(fields: dict[str, str]) -> dict:
    """{"difference": as difference.Difference, "weights": of the target's words, "faults": as difference.faults}."""
    source, target = (read_prompt(typing_clip(), fields[name]) for name in PROMPTS)
    return {
        "difference": asdict(difference(source, target, fields["edit"])),
        "weights": weights(target, fields["word_weights"]),
        "faults": {name: unknown_inversions(fields[name]) for name in PROMPTS} | faults(source, target, fields),
    }
