"""What a running ComfyUI that has this pack answers to bytes, and what is wrong with it, in words."""

from __future__ import annotations

import http.client
import json
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...tools.environment import ROOT
from ...tools.host import Host

KEYS = {"difference", "weights", "windows", "blended", "faults"}
PATIENCE = 120  # seconds for an answer


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def told(self) -> dict:
        """Its JSON, as a browser reads it: there is no NaN and no infinity."""
        return json.loads(self.body, parse_constant=_no_number)


def _no_number(name):
    raise ValueError(f"{name} is no JSON")


def connection_to(host: Host) -> socket.socket:
    return socket.create_connection(("127.0.0.1", host.port), PATIENCE)


def ask(host: Host, sent: bytes, hang_up: bool = False) -> Answer | None:
    """The answer; None if there is none. hang_up: as a client does that has no more to send and to hear."""
    try:
        with connection_to(host) as connection:
            connection.sendall(sent)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection, method=sent.split(b" ", 1)[0].decode())
            response.begin()
            return Answer(response.status, dict(response.getheaders()), response.read())
    except (OSError, http.client.HTTPException):
        return None


def unsound(host: Host, sent: bytes, answer: Answer | None, allowed: Iterable[int | None]) -> Iterator[str]:
    """What is wrong with an answer; with status 200 it must be the route's own. allowed: its statuses, and None if
    there need be no answer."""
    if answer is None:
        yield from () if None in allowed else ("there is no answer",)
        return
    if answer.status not in allowed:
        yield f"status {answer.status}"
    if any(name.lower().startswith("access-control-") for name in answer.headers):
        yield "other origins are let in"
    yield from (f"it tells of {secret}" for secret in secrets(host) if secret in answer.body and secret not in sent)
    if answer.headers.get("Content-Type", "").startswith("application/json"):
        try:
            told = answer.told()
        except ValueError as error:
            yield f"no JSON: {error}"
            return
        if set(told) != (KEYS if answer.status == 200 else {"error"}):
            yield f"it has {sorted(told)}"
        elif answer.status != 200 and not told["error"]:
            yield "it has no sentence"
    elif answer.status == 200 and answer.body:
        yield "it is no JSON"


def secrets(host: Host) -> list[bytes]:
    """What no answer may hold: folders of the machine, and traces of the program."""
    return [*(str(path).encode() for path in (ROOT, host.folder, host.comfyui, sys.prefix)), b"Traceback", b'File "']


def complaints(log: str) -> list[str]:
    """Errors of the pack in what ComfyUI has logged."""
    traces = log.split("Traceback (most recent call last)")[1:]
    return [f"logged: {trace.strip()[-300:]}" for trace in traces if "videop2p_core" in trace]
