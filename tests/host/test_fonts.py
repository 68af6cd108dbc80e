"""Texts in pictures are drawn in a font that has their letters."""

from pathlib import Path

import matplotlib
import pytest
import torch
from comfyui_videop2p.videop2p_core.host.images import fonts
from comfyui_videop2p.videop2p_core.host.images.plots import labelled

FOLDER = Path(matplotlib.get_data_path(), "fonts", "ttf")
SHIPPED, OTHER = FOLDER / "DejaVuSans.ttf", FOLDER / "DejaVuSansMono.ttf"
LACKED = "\u2312", "\u2313"  # an arc and a segment, which the one lacks and the other has


@pytest.fixture(autouse=True)
def installed(monkeypatch, tmp_path):
    """Two files: a font that has a letter which the shipped one lacks, and one that is none."""
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(broken), str(OTHER)])
    fonts._font_file.cache_clear()
    yield
    fonts._font_file.cache_clear()


def test_an_installed_font_is_taken_for_letters_that_the_shipped_one_lacks():
    assert fonts.font_file("a red rabbit, кот × 2") == str(SHIPPED)
    assert fonts.font_file(LACKED[0]) == str(OTHER)


def test_a_label_shows_them(monkeypatch):
    images = torch.zeros(1, 64, 256, 3)
    assert not torch.equal(*(labelled(images, letter) for letter in LACKED))
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", list)
    fonts._font_file.cache_clear()
    assert torch.equal(*(labelled(images, letter) for letter in LACKED))  # a box each


def test_a_letter_that_no_font_has_is_drawn_all_the_same():
    assert fonts.font_file("猫") == str(SHIPPED)
    assert labelled(torch.zeros(1, 64, 256, 3), "猫").shape[1] > 64
