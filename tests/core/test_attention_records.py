"""Kept queries and keys on a disk that has no room for them, or that lost them."""

import gc
import shutil
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion import attention_records as records
from comfyui_videop2p.videop2p_core.diffusion.attention_records import WHOLE, AttentionRecords, RecordSettings
from safetensors import SafetensorError

LAYERS = {"middle": (torch.ones(1, 2, 3).half(), torch.zeros(1, 2, 3).half())}
NO_ROOM = "the source cannot be kept in .*: free space on that disk, or set keep_source to 'in memory' or 'off'"
GONE = "the kept source is gone from the temporary folder, or damaged there: invert again, with keep_source at"


@pytest.fixture
def kept(tmp_path):
    found = AttentionRecords(RecordSettings(folder=tmp_path / "kept"), 1)
    found.write(0, WHOLE, LAYERS)
    return found


def test_what_is_written_is_read(kept):
    kept.check_there()
    for one, other in zip(kept.read(0, WHOLE).get("middle"), LAYERS["middle"], strict=True):
        assert torch.equal(one, other)
    assert kept.read(0, WHOLE).get("another") is None


def test_a_full_disk_is_named_and_nothing_half_written_stays(tmp_path, monkeypatch):
    def full(tensors, path):
        Path(path).write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(records, "save_file", full)
    found = AttentionRecords(RecordSettings(folder=tmp_path / "kept"), 1)
    with pytest.raises(ValueError, match=NO_ROOM) as caught:
        found.write(0, WHOLE, LAYERS)
    assert "No space left on device" in str(caught.value) and any(tmp_path.rglob("*.safetensors"))
    del found, caught
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_or_goes_meanwhile_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=NO_ROOM):
        AttentionRecords(RecordSettings(folder=tmp_path / "file" / "kept"), 1)
    found = AttentionRecords(RecordSettings(folder=tmp_path / "kept"), 1)
    shutil.rmtree(tmp_path / "kept")
    with pytest.raises(ValueError, match=NO_ROOM):
        found.write(0, WHOLE, LAYERS)


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-4])])
def test_what_was_lost_while_an_edit_runs_is_named(kept, tmp_path, spoil):
    layers = kept.read(0, WHOLE)
    (path,) = tmp_path.rglob("*.safetensors")
    spoil(path)
    with pytest.raises(ValueError, match=GONE):
        layers.get("middle")


def test_lost_files_are_missed_before_they_are_read(kept, tmp_path):
    kept.write(1, WHOLE, LAYERS)
    next(tmp_path.rglob("0001*")).unlink()
    with pytest.raises(ValueError, match=GONE):
        kept.check_there()
