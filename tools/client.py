"""A graph sent to a running ComfyUI, followed until it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import aiohttp
import numpy as np
from PIL import Image

from .host import LOCAL

Progress = Callable[[str, int, int], None]  # id of a node, step, steps
HEARTBEAT = 60  # seconds without an answer after which a server is gone


class GraphError(Exception):
    """The graph was refused or failed; the message is ComfyUI's own sentence. node: the id of the one that it is about,
    if it is one."""

    def __init__(self, message: str, node: str | None = None):
        super().__init__(message)
        self.node = node


class ConnectionLostError(GraphError):
    """There is no ComfyUI any more that would run the graph."""


@dataclass
class Ran:
    """outputs: what the output nodes showed, by id; seconds: how long each node took that was not cached."""

    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


def run_graph(
    url: str,
    graph: dict[str, Any],
    progress: Progress = lambda node, step, steps: None,
    queued: Callable[[str], None] = lambda prompt: None,
) -> Ran:
    """Queue a graph in its API form and wait for it. queued: told the id that the queue gave it."""
    try:
        return asyncio.run(_run(url, graph, progress, queued))
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLostError(f"the connection to ComfyUI at {url} broke ({error})") from error


async def _run(url, graph, progress, queued) -> Ran:
    client, ran, running = uuid4().hex, Ran(), None
    async with aiohttp.ClientSession() as session:
        address = f"{url}/ws?clientId={client}"
        async with session.ws_connect(address, max_msg_size=0, heartbeat=HEARTBEAT) as socket:
            prompt = await _queue(session, url, graph, client)
            queued(prompt)
            async for message in socket:
                if message.type != aiohttp.WSMsgType.TEXT:
                    continue
                kind, data = message.json()["type"], message.json()["data"]
                if data.get("prompt_id") != prompt:
                    continue
                if kind == "executing":
                    now = time.monotonic()
                    if running:
                        ran.seconds[running[0]] = now - running[1]
                    if data["node"] is None:
                        return ran
                    running = data["node"], now
                elif kind == "progress":
                    progress(data["node"], data["value"], data["max"])
                elif kind == "executed" and data["output"]:
                    ran.outputs[data["node"]] = data["output"]
                elif kind == "execution_error":
                    node, message = data["node_id"], data["exception_message"].strip()
                    raise GraphError(f"{graph[node]['_meta']['title']}: {message}", node)
                elif kind == "execution_interrupted":
                    raise GraphError("the run was interrupted")
    raise ConnectionLostError("ComfyUI closed the connection before the graph was done")


async def _queue(session, url, graph, client) -> str:
    async with session.post(f"{url}/prompt", json={"prompt": graph, "client_id": client}) as answer:
        reply = await answer.json()
    # A graph of several outputs is queued without those that are wrong: half a result is none.
    errors = [
        f"{graph[node]['_meta']['title']}: {error['message']}, {error['details']}"
        for node, faults in reply["node_errors"].items()
        for error in faults["errors"]
    ]
    if errors or answer.status != 200:
        raise GraphError("; ".join(errors) or reply["error"]["message"], next(iter(reply["node_errors"]), None))
    return reply["prompt_id"]


def node_titled(graph: dict[str, Any], title: str) -> str:
    """The id of the node with this title."""
    return next(node for node, entry in graph.items() if entry["_meta"]["title"] == title)


def shown_files(url: str, output: dict[str, Any]) -> list[bytes]:
    """The files that an output node showed, from what Ran keeps of it."""
    files = []
    for file in output["images"]:
        with LOCAL.open(f"{url}/view?{urlencode(file)}", timeout=30) as answer:
            files.append(answer.read())
    return files


def shown_frames(url: str, output: dict[str, Any]) -> np.ndarray:
    """The pictures that a preview node showed: [frames, height, width, 3] in 0..1."""
    pictures = (Image.open(BytesIO(file)).convert("RGB") for file in shown_files(url, output))
    return np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in pictures])
