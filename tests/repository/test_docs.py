"""What is written for people: links that lead somewhere, a README of one sitting, forms that ask for what is needed."""

import re
from urllib.parse import unquote

import pytest
import yaml
from comfyui_videop2p.tests.repository.tracked import tracked
from comfyui_videop2p.tools.environment import ROOT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("web/docs/*.md"), ROOT / "demo" / "README.md")
)
MOST_WORDS = 1000
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))


def links(text):
    """Targets of a page's links and pictures that are no addresses."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)
    found = re.findall(r"\]\(\s*<?([^)\s>]+)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def headings(text):
    """The anchors that GitHub gives to a page's headings."""
    titles = re.findall(r"^#+ +(.+?)\s*$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def dead(page, text, paths):
    """Links of a page that lead to nothing that is tracked, or to no heading."""
    folder = page.parent
    for target in links(text):
        path, _, anchor = unquote(target).partition("#")
        file = (folder / path).resolve() if path else page
        name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else None
        if name not in paths and not any(other.startswith(f"{name}/") for other in paths):
            yield target
        elif anchor and anchor not in headings(file.read_text(encoding="utf-8")):
            yield target


def test_the_pages_were_found():
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert names >= {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "BENCHMARKS.md", "demo/README.md"}
    assert sum(name.startswith("docs/") for name in names) >= 10


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page):
    assert not list(dead(page, page.read_text(encoding="utf-8"), set(tracked())))


@pytest.mark.parametrize(
    "text, found",
    [
        ("[a](docs/none.md)", ["docs/none.md"]),
        ("![a picture](demo/pictures/none.gif)", ["demo/pictures/none.gif"]),
        ("[a](docs/other-packs.md#none)", ["docs/other-packs.md#none"]),
        ("[a](#none)", ["#none"]),
        ("[a](../elsewhere.md)", ["../elsewhere.md"]),
        ('<img src="none.png">', ["none.png"]),
        ("[a](docs/wan.md) [b](docs/other-packs.md#models-in-few-bits) [c](docs) [d](https://example.com/none)", []),
        ("`[a](none.md)`", []),
    ],
)
def test_a_dead_link_is_found(text, found):
    assert list(dead(ROOT / "README.md", text, set(tracked()))) == found


def words(text):
    return len(text.split())


def test_the_readme_is_of_one_sitting():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert words(text) <= MOST_WORDS
    assert words(text + " and another" * MOST_WORDS) > MOST_WORDS


def test_the_readme_leads_to_every_page():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT).as_posix() for page in PAGES if page.parent in (ROOT, ROOT / "docs")}
    assert pages - {"README.md"} <= {target.partition("#")[0] for target in links(text)}


def test_the_readme_names_two_commands():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^    python (.+?)(?:  |$)", text, flags=re.MULTILINE) == ["dev.py demo", "dev.py test"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_a_form_is_one_that_github_takes(form):
    asked = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert asked["name"] and asked["description"]
    fields = [field for field in asked["body"] if field["type"] != "markdown"]
    assert fields and len({field["id"] for field in fields}) == len(fields)
    assert {field["type"] for field in fields} <= {"checkboxes", "dropdown", "input", "textarea"}
    assert all(field["attributes"]["label"] for field in fields)


def test_a_bug_report_asks_for_what_is_needed():
    bug = yaml.safe_load(FORMS[0].read_text(encoding="utf-8"))
    required = {field["id"] for field in bug["body"] if field.get("validations", {}).get("required")}
    assert required >= {"comfyui", "pack", "device", "family", "workflow", "log"}
