"""What the browser asks of the pack while an artist types: POST /videop2p/difference."""

import asyncio
import json
from dataclasses import asdict
from typing import Any

from aiohttp import web
from server import PromptServer

from ...edit.alignment import KINDS
from ...edit.edit_fields import AUTO, parse_words
from ...edit.prompt_difference import blend_words, difference, faults, weights, windows
from ..demo_vocabulary import faults_of
from .browser_tokenizer import typing_clip, unknown_inversions
from .clip_tokens import read_prompt

PATH = "/videop2p/difference"
LARGEST, LONGEST = 2**16, 2000  # bytes of a question, characters of a field: the worst takes about a second
MOST = 32  # questions at once, of which a page asks one for each controller
PROMPTS = ("source_prompt", "target_prompt")
# clip: the class of the node that the CLIP comes from, "" where that is not known.
FIELDS = (*PROMPTS, "edit", "blend_source", "blend_target", "subtract", "word_weights", "clip")
DEMO_CLIP = "VP2P_LoadDemoModel"


def add_routes() -> None:
    """Let the host's server answer at PATH."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:  # there is none where ComfyUI serves as a library
        server.routes.post(PATH)(answer)


async def answer(request: web.Request) -> web.Response:
    """As JSON what `compared` says of a JSON object of FIELDS, or under "error" a sentence why it says nothing."""
    if said := refusal(request, LARGEST, too_long("the edit")):
        return said
    try:
        fields = checked(json.loads(await request.read()))
        long = [name for name in FIELDS if len(fields[name]) > LONGEST]
        if long:
            return web.json_response({"error": too_long(f"the {long[0].replace('_', ' ')}")}, status=413)
        return web.json_response(await in_turn(fields))
    except asyncio.QueueFull:
        return web.json_response({"error": f"{MOST} questions wait for an answer: ask later"}, status=503)
    except (ValueError, RecursionError, ConnectionError) as error:  # the last: whoever asked hangs up on the way
        return web.json_response({"error": str(error)}, status=400)


def refusal(request: web.Request, largest: int, too_large: str) -> web.Response | None:
    """To a request that is no question: of another type than JSON, or of more than so many bytes."""
    # Another site's page can send this type only if the host lets it. Packed, a question could be of any size.
    if request.content_type != "application/json" or "Content-Encoding" in request.headers:
        return web.json_response({"error": "ask in application/json, not compressed"}, status=415)
    if request.content_length is None or request.content_length > largest:
        return web.json_response({"error": too_large}, status=413)
    return None


class Turns:
    """A thread for one question after the other: in more of them they would hold up ComfyUI and the graph that runs."""

    def __init__(self) -> None:
        self.turn, self.waiting = asyncio.Semaphore(), 0

    async def __call__(self, fields: dict[str, str]) -> dict:
        """What `compared` says. Raises asyncio.QueueFull where MOST are waiting."""
        if self.waiting >= MOST:
            raise asyncio.QueueFull
        self.waiting += 1
        try:
            async with self.turn:
                return await asyncio.to_thread(compared, fields)
        finally:
            self.waiting -= 1


in_turn = Turns()


def checked(question: Any) -> dict[str, str]:
    """The fields of a question, those that it leaves out empty."""
    if not isinstance(question, dict) or not set(question) <= set(FIELDS):
        raise ValueError(f"ask with an object of {', '.join(FIELDS)}")
    if not all(isinstance(value, str) for value in question.values()):
        raise ValueError("each field is a text")
    "".join(question.values()).encode()  # half of a surrogate pair is no text, which is a ValueError as well
    fields = dict.fromkeys(FIELDS, "") | question
    fields["edit"] = fields["edit"] or KINDS[0]
    if fields["edit"] not in KINDS:
        raise ValueError(f"an edit is one of {', '.join(KINDS)}")
    return fields


def too_long(what: str) -> str:
    """The sentence for a text that is longer than what is answered."""
    return f"{what} is too long to be followed while you type; the node itself reads all of it"


def compared(fields: dict[str, str]) -> dict:
    """{"difference": as difference.Difference, "weights" and "windows": of the target's words, "blended": the words
    that "auto" stands for in either field, "faults": as difference.faults}."""
    source, target = (read_prompt(typing_clip(), fields[name]) for name in PROMPTS)
    named = [[AUTO] if AUTO in parse_words(fields[name]) else [] for name in ("blend_source", "blend_target")]
    return {
        "difference": asdict(difference(source, target, fields["edit"])),
        "weights": weights(target, fields["word_weights"]),
        "windows": windows(target, fields["word_weights"]),
        "blended": blend_words(source, target, fields["edit"], *named),
        "faults": {name: _faults_of_prompt(fields[name], fields["clip"]) for name in PROMPTS}
        | faults(source, target, fields),
    }


def _faults_of_prompt(text: str, clip: str) -> list[str]:
    """What the CLIP of a graph will make nothing of."""
    return unknown_inversions(text) + (faults_of(text) if clip == DEMO_CLIP else [])
