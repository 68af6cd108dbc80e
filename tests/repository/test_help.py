"""The help pages: one a node, and no picture missing or left over."""

import json
import re

import pytest
from comfyui_videop2p.tools.environment import ROOT
from markdown_it import MarkdownIt

DOCS, LARGEST = ROOT / "web" / "docs", 200_000  # bytes
IDS = sorted(
    found
    for file in ROOT.glob("nodes/*.py")
    for found in re.findall(r'node_id="(\w+)"', file.read_text(encoding="utf-8"))
)
PAGES = sorted(DOCS.glob("*.md"))
TRANSLATED = sorted(DOCS.glob("*/*.md"))  # of most nodes
LANGUAGES = ("ja", "ko", "zh")
LABELS = {
    language: json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    for language in ("en", *LANGUAGES)
}


def test_the_ids_were_found():
    assert len(IDS) >= 18 and "VP2P_InflateUNet" in IDS


@pytest.mark.parametrize("node_id", IDS)
def test_every_node_has_a_page(node_id):
    lines = (DOCS / f"{node_id}.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ") and len(lines) > 3


def test_no_page_is_of_a_node_that_is_gone():
    assert {page.stem for page in PAGES} == set(IDS)
    assert {page.parent.name for page in TRANSLATED} <= set(IDS)


def test_pictures_and_pages_belong_together():
    pictures = set(DOCS.glob("pictures/*"))
    named = {
        DOCS / path
        for page in PAGES
        for path in re.findall(r"\]\((pictures/[^)]+)\)", page.read_text(encoding="utf-8"))
    }
    assert named == pictures and pictures
    assert all(picture.stat().st_size < LARGEST for picture in pictures)


def emphasised(page):
    """What a page names in italics or bold, without the marks."""
    return set(re.findall(r"\*+([^*\n]+?)\*+", page.read_text(encoding="utf-8")))


def named_inputs(page, node_id, language):
    """The inputs of a node that a page names by their labels in its language, or by their names as they are written."""
    named = emphasised(page)
    labels = LABELS[language][node_id].get("inputs", {})
    return {name for name, entry in labels.items() if {entry["name"], name.replace("_", " "), name} & named}


def test_most_pages_are_in_every_language():
    nodes = {page.parent.name for page in TRANSLATED}
    assert len(nodes) > len(PAGES) / 2 and {"VP2P_AttentionController", "VP2P_ClipFrames", "VP2P_WordMask"} <= nodes
    assert {(page.parent.name, page.stem) for page in TRANSLATED} == {(n, l) for n in nodes for l in LANGUAGES}


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_a_translated_page_is_of_the_same_node_inputs_and_pictures(page):
    node_id, language = page.parent.name, page.stem
    english, text = DOCS / f"{node_id}.md", page.read_text(encoding="utf-8")
    assert text.startswith(f"# {LABELS[language][node_id]['display_name']}\n")
    labels = LABELS[language][node_id].get("inputs", {})
    missing = {name for name in named_inputs(english, node_id, "en") if labels[name]["name"] not in emphasised(page)}
    assert not missing, [labels[name]["name"] for name in missing]
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", text)
    assert set(pictures) <= set(re.findall(r"\]\((pictures/[^)]+)\)", english.read_text(encoding="utf-8")))
    assert bool(pictures) == ("](pictures/" in english.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_every_mark_of_emphasis_is_read_as_one(page):
    """Beside punctuation that no space follows, as where scripts have no spaces, some are not."""
    waiting, texts = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")), []
    while waiting:
        token = waiting.pop()
        waiting += token.children or []
        texts += [token.content] if token.type == "text" else []
    assert not [text for text in texts if "*" in text]
