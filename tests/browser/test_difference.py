"""The prompt difference inside the Attention Controller, as an artist sees it while typing."""

import pytest
from comfyui_videop2p.tools.workflows.shelf import graph_file, prompt_file
from playwright.sync_api import expect

from .test_workflows import CONTROLLER, PROMPT, photograph, read

WORKFLOW = "demo_word_swap"
FIND = "app.graph._nodes.find(node => node.type === 'VP2P_AttentionController')"
SAVED = FIND.replace("app.graph._nodes", "app.graph.serialize().nodes") + ".widgets_values"
FILL = f"([name, text]) => {{ {FIND}.widgets.find(widget => widget.name === name).value = text }}"
VUE = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
ALIKE = ["a", "red", "on", "the", "beach"]


@pytest.fixture
def opened(page):
    """The page with a workflow whose source prompt comes over a link."""
    page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file(WORKFLOW)))
    page.evaluate(CONTROLLER)
    expect(chips(page, "swapped")).to_have_count(2)
    return page


def chips(page, change):
    return page.locator(f".vp2p-difference .vp2p-{change}")


def ours(complaints):
    return [text for text in complaints if "videop2p" in text.lower()]


def test_the_words_of_both_prompts_are_shown(opened):
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit"])
    expect(chips(opened, "kept")).to_have_text(ALIKE * 2)
    expect(chips(opened, "blended")).to_have_text(["rabbit", "star"])  # as both fields say auto
    expect(opened.locator(".vp2p-fault")).to_have_count(0)
    photograph(opened, "difference")
    assert not ours(opened.complaints)


def test_the_difference_follows_the_typing(opened):
    opened.get_by_placeholder("a robot drives a motorbike").fill("a shiny red star on the beach there")
    expect(chips(opened, "added")).to_have_text(["shiny", "there"])
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit"])
    opened.evaluate(FILL, ["blend_source", "bal"])
    opened.evaluate(FILL, ["word_weights", "star: 2"])
    fault = "blend source: 'bal' is not a word of the source prompt: a, red, rabbit, on, the, beach"
    expect(opened.locator(".vp2p-fault")).to_have_text([fault])
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit× 2"])
    photograph(opened, "difference-typing")
    opened.evaluate(FILL, ["edit", "replace"])
    expect(opened.locator(".vp2p-fault")).to_contain_text("source prompt has 6 words and the target prompt 8")
    expect(chips(opened, "kept")).to_have_count(0)
    assert not ours(opened.complaints)


def test_fields_are_called_as_on_the_page(page):
    """Their faults are told in English, the fields by their names in the page's language."""
    try:
        page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'ko')")
        page.reload()  # nodes are named where they are made
        page.wait_for_function("window.app?.graph?._nodes.length && window.app.extensionManager", timeout=60_000)
        page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file(WORKFLOW)))
        page.evaluate(CONTROLLER)
        page.evaluate(FILL, ["blend_source", "bal"])
        expect(page.locator(".vp2p-fault")).to_contain_text(
            "원본 블렌드 단어: 'bal' is not a word of the source prompt"
        )
        photograph(page, "difference-ko")
    finally:
        page.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")
    assert not ours(page.complaints)


def test_prompts_that_say_the_same_are_noted(opened):
    opened.evaluate(FILL, ["target_prompt", "a red rabbit on the beach"])
    expect(opened.locator(".vp2p-note")).to_have_text("Both prompts say the same, so that nothing will change.")
    opened.evaluate(FILL, ["word_weights", "red: 2"])
    expect(opened.locator(".vp2p-note")).to_have_count(0)


def test_curves_and_windows_of_words_are_drawn(opened):
    opened.evaluate(FILL, ["word_weights", "star: 1 @ 0, 2.5 @ 0.5, red: window 0.2 - 0.6"])
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit× 1 … 2.5"])
    expect(opened.locator(".vp2p-fault")).to_have_count(0)
    corners = opened.locator(".vp2p-curve").evaluate("curve => curve.style.clipPath").split(", ")
    heights = [float(corner.split(" ")[1].rstrip("%)")) for corner in corners[:21]]
    assert len(corners) == 23 and heights[0] > heights[5] > heights[10] == heights[20]  # counted from above
    bar = opened.locator(".vp2p-window span").evaluate("bar => [bar.style.left, bar.style.width]")
    assert bar == ["20%", "40%"]
    photograph(opened, "difference-curves")
    assert not ours(opened.complaints)


def test_nothing_of_it_is_saved_or_run(opened):
    workflow = read(graph_file(WORKFLOW))
    (controller,) = (node for node in workflow["nodes"] if node["type"] == "VP2P_AttentionController")
    assert opened.evaluate(SAVED) == controller["widgets_values"]
    assert opened.evaluate(PROMPT) == read(prompt_file(WORKFLOW))


def test_a_prompt_that_another_node_makes_is_not_guessed(opened):
    opened.evaluate(
        f"""() => {{
            const made = LiteGraph.createNode('StringConcatenate')
            app.graph.add(made)
            made.connect(0, {FIND}, {FIND}.inputs.findIndex(input => input.name === 'source_prompt'))
        }}"""
    )
    expect(opened.locator(".vp2p-note")).to_have_text("Known only when the graph runs: source prompt.")
    expect(chips(opened, "kept")).to_have_count(0)


def test_a_reroute_passes_the_prompt_on(opened):
    opened.evaluate(
        f"""() => {{
            const reroute = LiteGraph.createNode('Reroute')
            const slot = {FIND}.inputs.findIndex(input => input.name === 'source_prompt')
            const origin = {FIND}.getInputNode(slot)
            app.graph.add(reroute)
            origin.connect(0, reroute, 0)
            reroute.connect(0, {FIND}, slot)
            origin.widgets[0].value = 'a red cube on the beach'
        }}"""
    )
    expect(chips(opened, "swapped")).to_have_text(["cube", "star← cube"])


def test_a_prompt_too_long_to_be_followed_is_a_note_and_no_fault(opened):
    opened.evaluate(FILL, ["target_prompt", "a red star on the beach " * 100])
    expect(opened.locator(".vp2p-note")).to_have_text(
        ["the target prompt is too long to be followed while you type; the node itself reads all of it"]
    )
    expect(opened.locator(".vp2p-fault")).to_have_count(0)
    photograph(opened, "difference-long")
    opened.evaluate(FILL, ["target_prompt", "a red star on the beach"])
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit"])


def test_a_textual_inversion_that_is_missing_is_told(opened):
    opened.evaluate(FILL, ["target_prompt", "a red embedding:style star on the beach"])
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit"])
    missing = "target prompt: 'embedding:style' is not installed, so ComfyUI passes it over"
    expect(opened.locator(".vp2p-fault").first).to_have_text(missing)


def test_one_failed_question_is_asked_again_at_the_next_change(opened):
    opened.route("**/videop2p/difference", lambda route: route.fulfill(status=404))
    opened.evaluate(FILL, ["target_prompt", "a red cube on the beach"])
    expect(opened.locator(".vp2p-difference")).to_be_hidden()
    opened.unroute("**/videop2p/difference")
    opened.evaluate(FILL, ["target_prompt", "a red moon on the beach"])
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "moon← rabbit"])
    expect(opened.locator(".vp2p-difference")).to_be_visible()
    opened.route("**/videop2p/difference", lambda route: route.abort())
    opened.evaluate(FILL, ["target_prompt", "a red sun on the beach"])
    expect(opened.locator(".vp2p-fault")).to_have_text(["ComfyUI does not answer."])
    opened.unroute("**/videop2p/difference")
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "sun← rabbit"])


def test_a_question_too_many_is_asked_again(opened):
    opened.route("**/videop2p/difference", lambda route: route.fulfill(status=503, json={"error": "ask later"}))
    opened.evaluate(FILL, ["target_prompt", "a red cube on the beach"])
    expect(opened.locator(".vp2p-fault")).to_have_text(["ComfyUI does not answer."])
    opened.unroute("**/videop2p/difference")
    expect(chips(opened, "swapped")).to_have_text(["rabbit", "cube← rabbit"])


def test_a_word_that_the_demo_model_never_learnt_is_told(opened):
    opened.evaluate(FILL, ["target_prompt", "a red zeppelin on the beach"])
    expect(opened.locator(".vp2p-fault")).to_contain_text(
        "target prompt: the demo model never learnt 'zeppelin'; it knows"
    )


def test_what_spells_markup_is_shown_as_text(opened):
    opened.evaluate("() => { window.ran = 0 }")
    attack = "<img/src=x/onerror=ran++>"
    opened.evaluate(FILL, ["target_prompt", f"a red {attack} on the {attack}<svg/onload=ran++>"])
    opened.evaluate(FILL, ["blend_source", f'"><script>ran++</script>{attack}'])
    opened.evaluate(FILL, ["word_weights", f"{attack}: 2"])
    expect(chips(opened, "added").last).to_contain_text("svg/onload=ran++")
    expect(opened.locator(".vp2p-fault", has_text="blend source:").first).to_contain_text("<script>ran++</script>")
    assert opened.locator(".vp2p-difference").locator("img, svg, script").count() == 0
    assert opened.evaluate("ran") == 0


def test_a_server_without_the_route_shows_no_widget(page):
    page.route("**/videop2p/difference", lambda route: route.fulfill(status=404))
    page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file(WORKFLOW)))
    page.evaluate(CONTROLLER)
    page.wait_for_function(f"{FIND}.widgets.at(-1).hidden")
    expect(page.locator(".vp2p-difference")).to_be_hidden()


def test_a_removed_controller_asks_no_more(opened):
    asked = []
    opened.on("request", lambda request: "/videop2p/difference" in request.url and asked.append(request.url))
    opened.evaluate(f"() => {{ window.gone = {FIND}; app.graph.remove(gone) }}")
    opened.evaluate("() => { gone.widgets.find(widget => widget.name === 'target_prompt').value = 'a cat' }")
    opened.wait_for_timeout(700)
    assert not asked and opened.locator(".vp2p-difference").count() == 0


def test_it_is_shown_in_nodes_of_the_new_kind_too(opened):
    try:
        opened.evaluate(VUE, True)
        expect(chips(opened, "swapped")).to_have_text(["rabbit", "star← rabbit"])
        opened.evaluate(FILL, ["target_prompt", "a red star on the sand"])
        expect(chips(opened, "swapped")).to_have_text(["rabbit", "beach", "star← rabbit", "sand← beach"])
        photograph(opened, "difference-vue")
        assert not ours(opened.complaints)
    finally:
        opened.evaluate(VUE, False)
