"""What an attacker would try (attacks.py) on a running ComfyUI that has this pack, and what it answers."""

from __future__ import annotations

import http.client
import json
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPException

from hypothesis import HealthCheck, given, settings

from ...videop2p_core.host.prompts.difference_route import LARGEST, LONGEST, MOST
from ..environment import ROOT
from ..host import Host
from ..pack import host_path
from . import attacks
from .figures import Figure

KEYS = {"difference", "weights", "faults"}
PATIENCE = 120  # seconds for an answer
PROMPT = 2  # seconds in which the server must answer others meanwhile
# Each of these takes most of a second.
HEAVY = {name: text * LONGEST for name, text in (("source_prompt", "\ufdfa"), ("target_prompt", "\ufdfd"))}


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


def figures(short: bool) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder) as host:
        yield from tried(host, short)


def tried(host: Host, short: bool) -> Iterator[Figure]:
    """All of them on a running host. short: fewer of those that are many."""
    before = len(host.log_text())
    single = {
        "methods and paths of the route": attacks.elsewhere(),
        "paths out of the folder served": attacks.outside(),
        "types and encodings": attacks.types(1 if short else 40),
        "lengths that lie": attacks.lengths(),
        "JSON made to hurt": attacks.bombs(),
        "headers of other origins": attacks.origins(host.port),
    }
    for what, cases in single.items():
        cases = list(cases)
        yield Figure(what, len(cases), "attacks", tuple(_wrong(host, cases)))
    yield named(host)
    yield drawn(host, 60 if short else 5000)
    yield slow(host, 20 if short else 200)
    yield many(host, 6 if short else 120)
    yield Figure("left in the log", 1, "logs", tuple(complaints(host.log_text()[before:])))


# --- asking -----------------------------------------------------------------------------------------------------------


def ask(host: Host, sent: bytes, hang_up: bool = False) -> Answer | None:
    """The answer; None if there is none. hang_up: as a client does that has no more to send and to hear."""
    try:
        with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as connection:
            connection.sendall(sent)
            if hang_up:
                connection.shutdown(socket.SHUT_WR)
            response = http.client.HTTPResponse(connection, method=sent.split(b" ", 1)[0].decode())
            response.begin()
            return Answer(response.status, dict(response.getheaders()), response.read())
    except (OSError, HTTPException):
        return None


# --- what an answer must be -------------------------------------------------------------------------------------------


def unsound(host: Host, sent: bytes, answer: Answer | None, allowed: Iterable[int | None]) -> Iterator[str]:
    """What is wrong with an answer, in words; with status 200 it must be the route's own. allowed: its statuses, and
    None if there need be no answer."""
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


def _wrong(host: Host, cases) -> Iterator[str]:
    for sent, allowed in cases:
        answer = ask(host, sent, hang_up=None in allowed)
        yield from (f"{sent[:100]}: {said}" for said in unsound(host, sent, answer, allowed))


# --- attacks of many questions ----------------------------------------------------------------------------------------


def named(host: Host) -> Figure:
    """Prompts that name files as textual inversions: a word that is kept as one would tell that its file is there."""
    names, wrong = attacks.files_elsewhere(), []
    for name in names:
        sent = attacks.request(attacks.question(source_prompt=f"a embedding:{name}"))
        answer = ask(host, sent)
        found = list(unsound(host, sent, answer, (200,)))
        if not found and any("embedding:" in word["text"] for word in answer.told()["difference"]["source"]):
            found.append("it is told to be there")
        wrong += [f"{name}: {said}" for said in found]
    return Figure("names of files elsewhere", len(names), "attacks", tuple(wrong))


def drawn(host: Host, cases: int) -> Figure:
    """Questions drawn at random."""
    number, wrong = 0, []

    @settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(attacks.questions())
    def one(body):
        nonlocal number
        number += 1
        sent = attacks.request(body)
        found = list(unsound(host, sent, ask(host, sent), (200, 400, 413)))
        wrong.extend(f"{body[:200]}: {said}" for said in found)

    one()
    return Figure("questions drawn at random", number, "attacks", tuple(wrong))


def slow(host: Host, connections: int) -> Figure:
    """Bodies that never come to their end."""
    with ExitStack() as open_:
        for _ in range(connections):
            connection = open_.enter_context(socket.create_connection(("127.0.0.1", host.port), PATIENCE))
            connection.sendall(attacks.request(b"{", length=LARGEST))
        wrong, longest = answering(host, lambda: False)
        answer = ask(host, attacks.request())
        if answer is None or answer.status != 200:
            wrong.append("another question is not answered")
    return Figure("bodies that never end", connections, "attacks", tuple(wrong), f"others wait {longest:.2f} s at most")


def many(host: Host, number: int) -> Figure:
    """As much work as a question can make, from many at once."""
    sent = attacks.request(attacks.question(**HEAVY))
    with ThreadPoolExecutor(number) as pool:
        asked = [pool.submit(ask, host, sent) for _ in range(number)]
        wrong, longest = answering(host, lambda: not all(one.done() for one in asked))
    answers = [one.result() for one in asked]
    for answer in answers:
        wrong += unsound(host, sent, answer, (200, 503))
    counts = Counter(answer and answer.status for answer in answers)
    if counts[200] < min(number, MOST) or (number > MOST + 1 and not counts[503]):
        wrong.append(f"{counts[200]} of {number} were answered, {counts[503]} were to ask later")
    return Figure("heavy questions at once", number, "attacks", tuple(wrong), f"others wait {longest:.2f} s at most")


def answering(host: Host, going_on) -> tuple[list[str], float]:
    """(what is wrong, the longest seconds that ComfyUI takes for an answer) meanwhile."""
    longest = 0.0
    while True:
        started = time.monotonic()
        host.get("/system_stats")
        longest = max(longest, time.monotonic() - started)
        if not going_on():
            return [f"ComfyUI was silent for {longest:.1f} s"] if longest > PROMPT else [], longest
        time.sleep(0.05)
