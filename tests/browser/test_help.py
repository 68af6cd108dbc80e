"""The help page of a node, opened from the node."""

from comfyui_videop2p.tools.workflows.shelf import FOLDER, graph_file

from .test_workflows import CONTROLLER, photograph, read

SELECT = "app.canvas.selectNode(app.graph._nodes.find(node => node.type === 'VP2P_AttentionController'))"
SHOWN = "[...document.querySelectorAll('img')].filter(img => img.src.includes('/docs/') && img.naturalWidth > 0).length"
PAGE = FOLDER.parent / "web" / "docs" / "VP2P_AttentionController.md"


def test_a_help_page_opens_with_its_pictures(page):
    page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file("demo_word_swap")))
    page.evaluate(CONTROLLER.replace("scale = 1", "scale = 0.6"))  # the buttons above so tall a node are in sight
    page.evaluate(SELECT)
    page.get_by_test_id("info-button").click()
    pictures = PAGE.read_text(encoding="utf-8").count("](pictures/")
    assert pictures
    page.wait_for_function(f"{SHOWN} === {pictures}")
    photograph(page, "help")
    assert not [text for text in page.complaints if "videop2p" in text.lower()]
