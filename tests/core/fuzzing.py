"""Files that something happened to, as hypothesis draws them. VP2P_FUZZ=30 tries thirty times as many."""

import json
import os
import pickle
import struct
import sys
from math import prod
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

LONG = 1_000  # characters of a sentence, and of the names in it
GROWTH = 512 * 2**20  # bytes that reading small files may add to what the process takes at most

BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I64": 8, "U64": 8, "I32": 4,
    "U16": 2, "I8": 1, "BOOL": 1, "C64": 8,
}  # fmt: skip
EDGES = st.sampled_from([2**31, 2**32, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1])


def many(cases: int):
    """So many in the suite; other ones each time."""
    return settings(
        max_examples=cases * int(os.environ.get("VP2P_FUZZ", 1)), deadline=None, derandomize=False, database=None,
        print_blob=True, suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def check_sentence(error: ValueError) -> None:
    said = str(error)
    assert 0 < len(said) < LONG and ": " in said, said


def everything_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.fixture(scope="module", autouse=True)
def bounded_memory():
    """Files of a few megabytes make no process grow much, whatever they say of themselves."""
    if sys.platform != "linux":
        yield
        return
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < GROWTH


# --- bytes ------------------------------------------------------------------------------------------------------------


class Content(bytes):
    """A file's bytes, of which a report has not all."""

    def __repr__(self):
        return f"{bytes(self[:1000])!r}{f'... of {len(self)} bytes' * (len(self) > 1000)}"


@st.composite
def flipped(draw, content: bytes, begin: int = 0, end: int | None = None) -> bytes:
    """Some bytes between these are other ones."""
    changed, end = bytearray(content), len(content) if end is None else end
    for _ in range(draw(st.integers(1, 8))):
        changed[draw(st.integers(begin, end - 1))] = draw(st.integers(0, 255))
    return Content(changed)


@st.composite
def cut_or_grown(draw, content: bytes) -> bytes:
    return Content(content[: draw(st.integers(0, len(content)))] + draw(st.binary(max_size=40)))


# --- safetensors ------------------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


def taken_apart(content: bytes) -> tuple[dict, bytes]:
    """(header, bytes of the tensors) of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, tensors: bytes) -> bytes:
    return with_header(json.dumps(header).encode(), tensors)


def with_header(text: bytes, tensors: bytes, length: int | None = None) -> bytes:
    """length: what the file says of its header's."""
    return Content(struct.pack("<Q", len(text) if length is None else length) + text + tensors)


@st.composite
def lying(draw, content: bytes) -> bytes:
    """A file whose header lies: of its length, of a tensor told twice, of where one lies, of its size."""
    header, tensors = taken_apart(content)
    items = list(header.items())
    names = [name for name in header if name != "__metadata__"]
    length = None
    for lie in draw(st.lists(st.sampled_from(["length", "twice", "place", "size"]), min_size=1, max_size=2)):
        name = draw(st.sampled_from(names))
        entry = json.loads(json.dumps(header[name]))
        if lie == "length":
            length = draw(st.sampled_from([2**60, 2**64 - 1, 10**8, 10**8 + 1]) | st.integers(0, 2 * len(content)))
        elif lie == "twice":
            items.append((draw(st.sampled_from([name, "__metadata__"])), entry))
        elif lie == "place":
            entry["data_offsets"] = draw(st.lists(st.integers(-1, len(tensors) + 8) | EDGES, min_size=1, max_size=3))
            items = [(key, entry if key == name else value) for key, value in items]
        else:
            entry["shape"] = draw(st.lists(st.integers(-1, 3) | EDGES, max_size=4))
            items = [(key, entry if key == name else value) for key, value in items]
    text = ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in items)
    return with_header(f"{{{text}}}".encode(), tensors, length)


@st.composite
def well_formed(draw, content: bytes) -> bytes:
    """A file without a fault, of which some tensors have other names, kinds, sizes and values; one of no values may
    have any size at all."""
    header, tensors = taken_apart(content)
    made, data, length = {"__metadata__": header.pop("__metadata__")}, [], 0
    changed = draw(st.lists(st.sampled_from(sorted(header)), min_size=1, max_size=3, unique=True))
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = tensors[begin:end]
        if name in changed:
            kind, shape = draw(st.sampled_from(sorted(BYTES))), entry["shape"]
            if draw(st.booleans()):
                shape = draw(st.lists(st.integers(0, 3), max_size=5))
                shape = [0, *draw(st.lists(st.integers(0, 3) | EDGES, max_size=3))] if 0 in shape else shape
            size = 0 if 0 in shape else prod(shape) * BYTES[kind]
            values = draw(st.binary(min_size=1, max_size=8)) * size
            entry, values = {"dtype": kind, "shape": shape}, values[:size]
            if draw(st.booleans()):
                name = draw(st.text(max_size=12) | st.sampled_from(sorted(header)))
        made[name] = entry | {"data_offsets": [length, length + len(values)]}
        data, length = [*data, values], length + len(values)
    return put_together(made, b"".join(data))


# --- pickles ----------------------------------------------------------------------------------------------------------


class Malicious:
    """Makes a file when it is read as a pickle."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def pickles(marker: Path):
    """Of plain values, and of something that makes the marker."""

    @st.composite
    def pickled(draw):
        value = draw(ANYTHING | st.just(Malicious(marker)))
        value = {draw(st.text(max_size=8)): value} if draw(st.booleans()) else value
        return pickle.dumps(value, protocol=draw(st.integers(0, pickle.HIGHEST_PROTOCOL)))

    return pickled()
