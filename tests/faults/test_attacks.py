"""What an attacker would send to a running ComfyUI that has this pack, and what it answers. VP2P_FUZZ=30 draws thirty
times as many questions."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from comfyui_videop2p.tests.core.fuzzing import many
from comfyui_videop2p.tests.faults import attacks
from comfyui_videop2p.tests.faults.answers import Answer, ask, complaints, connection_to, unsound
from comfyui_videop2p.tests.faults.attacks import question, request
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.videop2p_core.host.prompts.difference_route import LARGEST, LONGEST, MOST
from hypothesis import given

SILENT = 2  # seconds at most in which ComfyUI does not answer others
# Each of these takes most of a second.
HEAVY = {name: text * LONGEST for name, text in (("source_prompt", "\ufdfa"), ("target_prompt", "\ufdfd"))}
ATTACKS = {
    "methods and paths of the route": lambda host: attacks.elsewhere(),
    "paths out of the folder served": lambda host: attacks.outside(),
    "types and encodings": lambda host: attacks.types(megabytes=1),
    "lengths that lie": lambda host: attacks.lengths(),
    "JSON made to hurt": lambda host: attacks.bombs(),
    "headers of other origins": lambda host: attacks.origins(host.port),
    "types and encodings of much": lambda host: attacks.types(megabytes=40),
}
*SOME, MUCH = ATTACKS


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture(autouse=True)
def nothing_is_logged(host):
    before = len(host.log_text())
    yield
    assert not complaints(host.log_text()[before:])


@pytest.mark.parametrize("what", [*SOME, slow(MUCH)])
def test_no_attack_gets_through(host, what, measured):
    cases = list(ATTACKS[what](host))
    for sent, allowed in cases:
        assert not list(unsound(host, sent, ask(host, sent, hang_up=None in allowed), allowed)), sent[:100]
    measured(f"{len(cases)} attacks")
    assert len(cases) >= 25


def test_no_file_is_told_to_be_there(host, measured):
    """A prompt may name it as a textual inversion, which is kept as a word if it is known."""
    names = attacks.files_elsewhere()
    for name in names:
        sent = request(question(source_prompt=f"a embedding:{name}"))
        answer = ask(host, sent)
        assert not list(unsound(host, sent, answer, (200,))), name
        assert not any("embedding:" in word["text"] for word in answer.told()["difference"]["source"]), name
    measured(f"{len(names)} attacks")


@many(160)
@given(body=attacks.questions())
def test_a_question_drawn_at_random_is_answered(host, body):
    sent = request(body)
    assert not list(unsound(host, sent, ask(host, sent), (200, 400, 413)))


def longest_wait(host, going_on=lambda: False):
    """The longest seconds that ComfyUI takes for an answer meanwhile."""
    longest = 0.0
    while True:
        started = time.monotonic()
        host.get("/system_stats")
        longest = max(longest, time.monotonic() - started)
        if not going_on():
            return longest
        time.sleep(0.05)


@pytest.mark.parametrize("connections", [20, slow(200)])
def test_bodies_that_never_end_keep_nobody_waiting(host, connections, measured):
    with ExitStack() as open_:
        for _ in range(connections):
            open_.enter_context(connection_to(host)).sendall(request(b"{", length=LARGEST))
        longest, answer = longest_wait(host), ask(host, request())
    measured(f"others wait {longest:.2f} s at most")
    assert longest <= SILENT and answer and answer.status == 200


@pytest.mark.parametrize("number", [6, slow(120)])
def test_heavy_questions_at_once_keep_nobody_waiting(host, number, measured):
    sent = request(question(**HEAVY))
    with ThreadPoolExecutor(number) as pool:
        asked = [pool.submit(ask, host, sent) for _ in range(number)]
        longest = longest_wait(host, lambda: not all(one.done() for one in asked))
    answers = [one.result() for one in asked]
    measured(f"others wait {longest:.2f} s at most")
    assert longest <= SILENT and not [said for one in answers for said in unsound(host, sent, one, (200, 503))]
    counts = Counter(answer.status for answer in answers)
    assert counts[200] >= min(number, MOST) and (number <= MOST + 1 or counts[503]), counts


# --- what gets through is found ---------------------------------------------------------------------------------------

WHOLE = b'{"difference": {}, "weights": [], "windows": [], "blended": [], "faults": {}}'
AS_JSON = {"Content-Type": "application/json; charset=utf-8"}


@pytest.mark.parametrize(
    "status, headers, body, said",
    [
        (200, AS_JSON, WHOLE, []),
        (400, AS_JSON, b'{"error": "why"}', []),
        (404, {}, b"404: Not Found", []),
        (500, {}, b"", ["status 500"]),
        (200, AS_JSON | {"Access-Control-Allow-Origin": "*"}, WHOLE, ["other origins are let in"]),
        (200, AS_JSON, b'{"error": "why"}', ["it has ['error']"]),
        (400, AS_JSON, b'{"error": ""}', ["it has no sentence"]),
        (200, AS_JSON, b'{"weights": [NaN]}', ["no JSON: NaN is no JSON"]),
        (200, {"Content-Type": "text/x-python"}, b"import os", ["it is no JSON"]),
        (400, {}, b"Traceback (most recent call last)", ["it tells of b'Traceback'"]),
        (400, {}, str(ROOT / "nodes").encode(), [f"it tells of {str(ROOT).encode()}"]),
    ],
)
def test_what_gets_through_would_be_found(host, status, headers, body, said):
    allowed = {200, 400, 404}
    assert list(unsound(host, request(), Answer(status, headers, body), allowed)) == said


def test_silence_and_errors_in_the_log_would_be_found(host):
    assert list(unsound(host, request(), None, (200,))) == ["there is no answer"]
    assert list(unsound(host, request(), None, (400, None))) == []
    trace = 'Traceback (most recent call last)\n  File "{}/x.py", line 1\nKeyError'
    assert complaints(trace.format("videop2p_core")) and not complaints(trace.format("comfy"))
