"""The shipped workflows in the browser that artists open them in."""

import json
import os
from importlib import metadata
from pathlib import Path

from comfyui_videop2p.tools import environment
from comfyui_videop2p.tools.workflows.catalogue import RECIPES
from comfyui_videop2p.tools.workflows.shelf import TEMPLATES, graph_file, prompt_file
from playwright.sync_api import expect

from .conftest import SCREENSHOTS

PROMPT = "async () => (await app.graphToPrompt()).output"
NODES, IS_CONTROLLER = "app.graph._nodes", "node => node.type === 'VP2P_AttentionController'"
CONTROLLER = f"""() => {{
    app.canvas.ds.scale = 1
    app.canvas.centerOnNode({NODES}.find({IS_CONTROLLER}))
}}"""
WHOLE_GRAPH = """() => {
    const boxes = app.graph._groups.map(group => group._bounding)
    const width = Math.max(...boxes.map(box => box[0] + box[2]))
    const height = Math.max(...boxes.map(box => box[1] + box[3]))
    app.canvas.ds.scale = Math.min(innerWidth / (width + 150), innerHeight / (height + 350))
    app.canvas.ds.offset = [80, 250]
    app.canvas.setDirty(true, true)
}"""


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def photograph(page, name):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_the_page_is_of_the_frontend_that_was_asked_for(page):
    installed, version = metadata.version("comfyui-frontend-package"), page.evaluate("__COMFYUI_FRONTEND_VERSION__")
    folder = os.environ.get("VP2P_FRONTEND")
    assert version != installed if folder else version == installed
    if folder and Path(folder) == environment.installed_frontend():
        assert version == environment.FRONTEND


def test_a_graph_from_the_browser_is_the_one_that_the_tests_run(page, host):
    info, changed = host.get("/object_info"), {}
    for name, recipe in RECIPES.items():
        if recipe.needs is None or recipe.needs in info:
            page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file(name)))
            if page.evaluate(PROMPT) != read(prompt_file(name)):
                changed[name] = page.evaluate(PROMPT)
    assert not changed


def test_an_artist_opens_a_template_changes_a_word_and_sees_the_edited_clip(page):
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_text("comfyui-videop2p").first.click()
    card = page.get_by_test_id(f"template-workflow-{TEMPLATES['demo_first']}")
    card.scroll_into_view_if_needed()
    photograph(page, "templates")
    card.click()
    page.wait_for_function(f"{NODES}.find({IS_CONTROLLER})")
    page.evaluate(CONTROLLER)  # what is out of sight, or too small to be read, cannot be typed into
    expect(page.locator(".vp2p-swapped").last).to_have_text("star← rabbit")
    target = page.get_by_placeholder("a robot drives a motorbike")
    target.fill("a red heart on the beach")
    photograph(page, "controller")
    page.evaluate(WHOLE_GRAPH)
    page.get_by_test_id("queue-button").click()
    page.wait_for_function(f"{NODES}.find(node => node.type === 'VP2P_CompareVideos').imgs?.[0]", timeout=400_000)
    page.wait_for_timeout(1000)
    photograph(page, "edited")
    compared = page.evaluate(f"{NODES}.find(node => node.type === 'VP2P_CompareVideos').imgs[0].naturalWidth")
    assert compared == 2 * 128
    # Each lies in its node.
    page.wait_for_function("[...document.querySelectorAll('img')].every(image => image.clientWidth < innerWidth / 2)")
    asked = [node["inputs"].get("target_prompt") for node in page.evaluate(PROMPT).values()]
    assert "a red heart on the beach" in asked
    assert not [text for text in page.complaints if "videop2p" in text.lower()]
