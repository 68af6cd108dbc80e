"""Files that something happened to: a sentence or a value, never another error. VP2P_FUZZ=20000 tries as many."""

import json
import os
import struct

import pytest
import torch
from comfyui_videop2p.videop2p_core import inversion, weights
from comfyui_videop2p.videop2p_core.inversion import Inversion
from comfyui_videop2p.videop2p_core.tuning import Tuning
from comfyui_videop2p.videop2p_core.weights import WeightsError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("VP2P_FUZZ", 400))
many = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

INVERSION = Inversion(
    method=inversion.SHARED_NULL_TEXT, trajectory=torch.randn(3, 2, 4, 2, 2), sigmas=torch.tensor([3.0, 1.0, 0.1]),
    source=torch.randn(1, 3, 2), initial_null=torch.randn(1, 3, 2), null=torch.randn(2, 1, 3, 2), losses=((0.3,), ()),
)  # fmt: skip
TUNING = Tuning(
    deltas={"a.attn1.to_q.weight": torch.randn(2, 2)}, temporal={"a.attn_temp.to_out.0.bias": torch.randn(2)},
    losses=torch.rand(2), grad_norms=torch.rand(2), learning_rate=1e-4,
)  # fmt: skip
READERS = {"inversion": (INVERSION, weights.load_inversion), "tuning": (TUNING, weights.load_tuning)}


@pytest.fixture(scope="module", params=READERS)
def kept(request, tmp_path_factory):
    """(a path to write to, the bytes of a good file, its reader, what it holds)"""
    value, read = READERS[request.param]
    path = tmp_path_factory.mktemp("fuzz") / "file.safetensors"
    weights.save(value, path)
    return path, path.read_bytes(), read, type(value)


def opened(kept, content):
    path, _, read, kind = kept
    path.write_bytes(content)
    try:
        assert isinstance(read(path), kind)
    except WeightsError as error:
        assert "file.safetensors" in str(error)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@many
@given(data=st.data())
def test_bits_that_flipped(kept, data):
    content = bytearray(kept[1])
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    opened(kept, bytes(content))


@many
@given(data=st.data())
def test_files_cut_or_grown(kept, data):
    content = kept[1][: data.draw(st.integers(0, len(kept[1])))] + data.draw(st.binary(max_size=40))
    opened(kept, content)


def taken_apart(content):
    """(header, bytes of the tensors) of a safetensors file."""
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def put_together(header, tensors):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + tensors


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)


@many
@given(data=st.data())
def test_settings_of_any_kind(kept, data):
    """Well-formed files, whose account of themselves is of other kinds than ours."""
    _, content, *_ = kept
    header, tensors = taken_apart(content)
    told = header["__metadata__"]
    changed = json.loads(told["settings"])
    for name in data.draw(st.lists(st.sampled_from(sorted(changed)), max_size=3)):
        changed[name] = data.draw(ANYTHING)
    for name in data.draw(st.lists(st.text(max_size=8), max_size=2)):
        changed[name] = data.draw(ANYTHING)
    whole = data.draw(st.booleans())
    told["settings"] = json.dumps(changed) if whole else json.dumps(data.draw(ANYTHING))
    opened(kept, put_together(header, tensors))


@many
@given(data=st.data())
def test_tensors_of_other_names_kinds_and_sizes(kept, data):
    """Huge declared shapes among them: what a file does not hold is not made room for."""
    _, content, *_ = kept
    header, tensors = taken_apart(content)
    names = [name for name in header if name != "__metadata__"]
    for name in data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)):
        entry = header.pop(name)
        entry["dtype"] = data.draw(st.sampled_from(["F32", "F16", "I64", "BOOL", "F8_E4M3", "what"]))
        entry["shape"] = data.draw(st.lists(st.integers(0, 2**62), max_size=5))
        if data.draw(st.booleans()):
            header[data.draw(st.text(max_size=12))] = entry
        else:
            header[name] = entry
    opened(kept, put_together(header, tensors))
