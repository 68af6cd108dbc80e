"""The section "saving" of `dev.py faults`: nothing is wrong, and it would find what it looks for."""

import os

import pytest
from comfyui_videop2p.tools.faults import saving
from comfyui_videop2p.videop2p_core.storage import atomic_files as places


@pytest.mark.slow
def test_nothing_is_half_saved():
    figures = list(saving.figures(short=True))
    assert [figure.wrong for figure in figures] == [()] * 9
    assert all(figure.number > 10 for figure in figures[:-1])


def left_behind(folder):
    """Nothing removes what was begun."""


def in_place(begun, path):
    """What is being written has its name already."""
    path.write_bytes(b"half")
    os.replace(begun, path)


@pytest.mark.parametrize(
    "name, instead, said",
    [("_remove", left_behind, "half-written is left"), ("_move", in_place, "what has a name is not whole")],
)
def test_what_is_wrong_is_found(monkeypatch, name, instead, said):
    monkeypatch.setattr(places, name, instead)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving.folder_paths, "folder_names_and_paths", dict(saving.folder_paths.folder_names_and_paths))
        figure = saving.disturbed("a LoRA", saving.lora, "cancelled")
    assert any(said in wrong for wrong in figure.wrong), figure.wrong
