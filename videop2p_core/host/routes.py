"""What the browser asks of the pack while an artist types: POST /videop2p/difference."""

import asyncio
import json
from dataclasses import asdict
from functools import cache
from types import SimpleNamespace

import comfy.sd1_clip
from aiohttp import web
from server import PromptServer

from ..difference import difference, faults, weights
from ..prompts import KINDS
from .tokens import read_prompt

PATH = "/videop2p/difference"
LARGEST, LONGEST = 2**15, 1000  # bytes of a question, characters of a field
FIELDS = ("source_prompt", "target_prompt", "edit", "blend_source", "blend_target", "subtract", "word_weights")


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
        return web.json_response({"error": f"ask in {LARGEST} bytes at most"}, status=413)
    try:
        fields = checked(json.loads(await request.read()))
        return web.json_response(await asyncio.to_thread(told, fields))
    except (ValueError, RecursionError) as error:
        return web.json_response({"error": str(error)}, status=400)


def checked(asked) -> dict[str, str]:
    """The fields of a question, those that it leaves out empty."""
    if not isinstance(asked, dict) or not set(asked) <= set(FIELDS):
        raise ValueError(f"ask with an object of {', '.join(FIELDS)}")
    if not all(isinstance(value, str) and len(value) <= LONGEST for value in asked.values()):
        raise ValueError(f"each field is a text of at most {LONGEST} characters")
    "".join(asked.values()).encode()  # half of a surrogate pair is no text, which is a ValueError as well
    fields = dict.fromkeys(FIELDS, "") | asked
    fields["edit"] = fields["edit"] or KINDS[0]
    if fields["edit"] not in KINDS:
        raise ValueError(f"an edit is one of {', '.join(KINDS)}")
    return fields


def told(fields: dict[str, str]) -> dict:
    """{"difference": as difference.Difference, "weights": of the target's words, "faults": as difference.faults}."""
    source, target = (read_prompt(words(), fields[name]) for name in ("source_prompt", "target_prompt"))
    return {
        "difference": asdict(difference(source, target, fields["edit"])),
        "weights": weights(target, fields["word_weights"]),
        "faults": faults(source, target, fields),
    }


@cache
def words():
    """Reads prompts as the CLIP of a graph would, which is loaded only when the graph runs: its words are the same."""
    tokenizer = comfy.sd1_clip.SD1Tokenizer()
    return SimpleNamespace(tokenize=tokenizer.tokenize_with_weights, tokenizer=tokenizer)
