"""The help pages: one a node, and no picture missing or left over."""

import re

import pytest
from comfyui_videop2p.tools.environment import ROOT

DOCS, LARGEST = ROOT / "web" / "docs", 200_000  # bytes
IDS = sorted(
    found
    for file in ROOT.glob("nodes/*.py")
    for found in re.findall(r'node_id="(\w+)"', file.read_text(encoding="utf-8"))
)
PAGES = sorted(DOCS.glob("*.md"))


def test_the_ids_were_found():
    assert len(IDS) >= 18 and "VP2P_InflateUNet" in IDS


@pytest.mark.parametrize("node_id", IDS)
def test_every_node_has_a_page(node_id):
    lines = (DOCS / f"{node_id}.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and len(lines) > 3


def test_no_page_is_of_a_node_that_is_gone():
    assert {page.stem for page in PAGES} == set(IDS)


def test_pictures_and_pages_belong_together():
    pictures = set(DOCS.glob("pictures/*"))
    named = {
        DOCS / path
        for page in PAGES
        for path in re.findall(r"\]\((pictures/[^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert named == pictures and pictures
    assert all(picture.stat().st_size < LARGEST for picture in pictures)
