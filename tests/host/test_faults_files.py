"""The files section of `dev.py faults`: its short form finds nothing wrong, and a failing reader would be told."""

import pytest
from comfyui_videop2p.tools.faults import files
from comfyui_videop2p.tools.faults.figures import Figure
from comfyui_videop2p.tools.faults.files import SHORT, figures, rounds
from comfyui_videop2p.tools.faults.report import SECTIONS

READERS = """
import os
import struct
from hypothesis import given, settings, strategies as st

many = settings(max_examples=int(os.environ["VP2P_FUZZ"]), deadline=None, derandomize=False, database=None)

def length(content):
    if len(content) < 8:
        raise ValueError("too short: copy it anew")
    return struct.unpack("<Q", content[:8])[0]

def careless_length(content):
    return struct.unpack("<Q", content[:8])[0]

def opened(read, content):
    try:
        read(content)
    except ValueError as error:
        assert ": " in str(error)
"""
CAREFUL = """
@many
@given(st.binary(max_size=16))
def test_a_careful_reader(content):
    opened(length, content)
"""
CARELESS = """
@many
@given(st.binary(max_size=16))
def test_a_careless_reader(content):
    opened(careless_length, content)
"""


def written(path, *parts):
    path.write_text("\n".join(parts))
    return path


@pytest.mark.slow
def test_the_short_form_finds_nothing_wrong():
    assert SECTIONS["files"] is files.figures
    found = {figure.what: figure for figure in figures(short=True)}
    assert not [said for figure in found.values() for said in figure.wrong]
    assert len(found) == 13 and all(figure.number >= SHORT for figure in found.values()), found
    assert found["bits that flipped"].number >= 2 * SHORT  # of two kinds of files


def test_a_failing_reader_is_told_with_what_it_failed_on(tmp_path):
    path = written(tmp_path / "test_readers.py", READERS, CAREFUL, CARELESS)
    careful, careless = rounds([path], 50, 60)  # ends with the first round
    assert careful.what == "a careful reader" and careful.number == 50 and not careful.wrong
    (said,) = careless.wrong
    assert "struct.error" in said and "content=b''" in said


def test_rounds_go_on_until_the_time_is_over_and_are_counted(monkeypatch):
    times = iter([0, 3, 9, 11])
    monkeypatch.setattr(files.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(files, "fuzzed", lambda paths, cases: [Figure("a", cases, "cases"), Figure("b", 1, "cases")])
    assert [(figure.what, figure.number) for figure in rounds([], 50, 10)] == [("a", 150), ("b", 3)]
