"""Saved files that something happened to: a sentence or a value, never another error."""

import json

import pytest
import torch
from comfyui_videop2p.tests.core.fuzzing import (
    ANYTHING,
    Content,
    bounded_memory,
    check_sentence,
    cut_or_grown,
    flipped,
    lying,
    many,
    pickles,
    put_together,
    taken_apart,
    well_formed,
)
from comfyui_videop2p.videop2p_core.diffusion import inversion
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from comfyui_videop2p.videop2p_core.storage.artifacts import WeightsError
from hypothesis import given
from hypothesis import strategies as st

__all__ = ["bounded_memory"]

INVERSION = Inversion(
    method=inversion.SHARED_NULL_TEXT, trajectory=torch.randn(3, 2, 4, 2, 2), sigmas=torch.tensor([3.0, 1.0, 0.1]),
    source=torch.randn(1, 3, 2), initial_null=torch.randn(1, 3, 2), null=torch.randn(2, 1, 3, 2), losses=((0.3,), ()),
)  # fmt: skip
TUNING = Tuning(
    deltas={"a.attn1.to_q.weight": torch.randn(2, 2)}, temporal={"a.attn_temp.to_out.0.bias": torch.randn(2)},
    losses=torch.rand(2), grad_norms=torch.rand(2), learning_rate=1e-4,
)  # fmt: skip
READERS = {"inversion": (INVERSION, weights.load_inversion), "tuning": (TUNING, weights.load_tuning)}
CASES = many(100)


@pytest.fixture(scope="module", params=READERS)
def kept(request, tmp_path_factory):
    """(a path to write to, the bytes of a good file, its reader, what it holds)"""
    value, read = READERS[request.param]
    path = tmp_path_factory.mktemp("fuzz") / "file.safetensors"
    weights.save(value, path)
    return path, Content(path.read_bytes()), read, type(value)


def opened(kept, content):
    path, _, read, kind = kept
    path.write_bytes(content)
    try:
        assert isinstance(read(path), kind)
    except WeightsError as error:
        check_sentence(error)
        assert "file.safetensors" in str(error)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@CASES
@given(data=st.data())
def test_bits_that_flipped(kept, data):
    opened(kept, data.draw(flipped(kept[1])))


@CASES
@given(data=st.data())
def test_files_cut_or_grown(kept, data):
    opened(kept, data.draw(cut_or_grown(kept[1])))


@CASES
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
    deep = "[" * 100_000
    told["settings"] = data.draw(st.just(json.dumps(changed)) | ANYTHING.map(json.dumps) | st.just(deep))
    opened(kept, put_together(header, tensors))


@CASES
@given(data=st.data())
def test_tensors_of_other_names_kinds_and_sizes(kept, data):
    opened(kept, data.draw(well_formed(kept[1])))


@pytest.mark.parametrize(
    "shape", [[0, 2**63], [0, 2**62, 2**62], [2**62, 2**62, 0], [0, 2**32, 2**32], [2**62]], ids=str
)
def test_sizes_beyond_all_numbers_are_a_sentence(kept, shape):
    """Of a tensor without values, which a file may say of itself truthfully."""
    header, tensors = taken_apart(kept[1])
    name = min(header.keys() - {"__metadata__"}, key=lambda name: -header[name]["data_offsets"][0])  # the last
    begin, _ = header[name]["data_offsets"]
    header[name] |= {"shape": shape, "data_offsets": [begin, begin]}
    kept[0].write_bytes(put_together(header, tensors[:begin]))
    with pytest.raises(WeightsError, match="file.safetensors is"):
        kept[2](kept[0])


@CASES
@given(data=st.data())
def test_headers_that_lie(kept, data):
    """Huge declared sizes among them: what a file does not hold is not made room for."""
    opened(kept, data.draw(lying(kept[1])))


@CASES
@given(data=st.data())
def test_pickles_by_the_name_of_a_safetensors_file(kept, data):
    marker = kept[0].with_name("marker")
    opened(kept, data.draw(pickles(marker)))
