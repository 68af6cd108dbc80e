"""Tests that draw their cases (hypothesis) as a section: with more cases than in the suite, counted as they ran."""

from __future__ import annotations

import base64
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

from ..environment import ROOT
from .figures import Figure

RAN = re.compile(r"- (\d+) passing, (\d+) failing, and \d+ invalid test cases")  # of each phase, says hypothesis
EXAMPLE = re.compile(r"(Failing test case|Falsifying example)")  # as versions of hypothesis have it
NO_TESTS = 5  # pytest's exit code
STATISTICS = "hypothesis-statistics-"


def fuzzed(paths: Sequence[str | Path], cases: int) -> Iterator[Figure]:
    """A Figure of each test in these files that draws its cases: how many hypothesis ran, and its smallest example of
    each that failed. VP2P_FUZZ tells the tests how many are asked for. A test without cases is told only if it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [
            sys.executable, "-m", "pytest", "-q", "-n", "0", "-c", str(ROOT / "pyproject.toml"), "-o", "timeout=0",
            "-p", "no:cacheprovider", f"--junitxml={report}", *map(str, paths),
        ]  # fmt: skip
        environment = {**os.environ, "VP2P_FUZZ": str(cases)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if done.returncode == NO_TESTS or not report.is_file():
            raise RuntimeError(f"pytest ran no tests of {paths}:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        yield from read(ElementTree.parse(report))


def read(report: ElementTree.ElementTree) -> list[Figure]:
    """What a report of pytest (JUnit's form) says, the parameters of a test taken together."""
    ran, wrong = {}, {}
    for entry in report.iter("property"):
        if entry.get("name").startswith(STATISTICS):
            told = base64.b64decode(entry.get("value")).decode()
            found = sum(int(number) for phase in RAN.findall(told) for number in phase)
            name = _name(entry.get("name").rpartition("::")[2])
            ran[name] = ran.get(name, 0) + found
    for test in report.iter("testcase"):
        for failure in (*test.iter("failure"), *test.iter("error")):
            wrong.setdefault(_name(test.get("name")), []).append(f"{test.get('name')}: {_said(failure)}")
    return [Figure(name, ran.get(name, 0), "cases", tuple(wrong.get(name, ()))) for name in {**ran, **wrong}]


def _name(test: str) -> str:
    """test_bits_that_flipped[tuning] is 'bits that flipped'."""
    return test.partition("[")[0].removeprefix("test_").replace("_", " ")


def _said(failure: ElementTree.Element) -> str:
    text, message = failure.text or "", failure.get("message", "")
    example = EXAMPLE.search(text)
    if example and not EXAMPLE.search(message):
        return f"{message}\n{text[example.start() :].strip()}"
    return f"{message}\n{text.strip()}" if failure.tag == "error" else message
