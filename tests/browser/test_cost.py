"""What a long node will take, on the node itself."""

import pytest
from comfyui_videop2p.tools.workflows.shelf import graph_file
from playwright.sync_api import expect

from .test_difference import VUE, ours
from .test_workflows import photograph, read

SET = """([type, name, value]) => {
    app.graph._nodes.find(node => node.type === type).widgets.find(widget => widget.name === name).value = value
}"""
NEAR = """() => {
    const { pos } = app.graph._nodes.find(node => node.type === 'VP2P_DDIMInvert')
    app.canvas.ds.scale = 0.7
    app.canvas.ds.offset = [430 - pos[0], 210 - pos[1]]
}"""
LAST_RUN = r"8 steps, 8 forwards, about \d+(\.\d+)? s, 0\.\d+ GiB \(last run here\)"


@pytest.fixture
def opened(page):
    page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file("demo_first")))
    page.evaluate(NEAR)  # what is out of sight, or small, has no elements in newer frontends
    return page


def costs(page):
    return page.locator(".vp2p-cost")


def test_steps_and_forwards_stand_on_long_nodes_and_follow_their_values(opened):
    expect(costs(opened)).to_contain_text(["8 steps, 8 forwards", "8 steps, 16 forwards at most"])
    opened.evaluate(SET, ["VP2P_DDIMInvert", "steps", 20])
    expect(costs(opened)).to_contain_text(["20 steps, 20 forwards", "20 steps, 40 forwards at most"])
    opened.evaluate(SET, ["VP2P_DDIMInvert", "keep_source", "off"])
    expect(costs(opened)).to_contain_text(["20 steps, 0 forwards", "20 steps, 60 forwards at most"])
    opened.evaluate(SET, ["VP2P_AttentionController", "strength", 0.5])
    expect(costs(opened).nth(1)).to_contain_text("10 steps, 30 forwards at most")
    photograph(opened, "cost")
    assert not ours(opened.complaints)


def test_a_run_tells_the_time_and_memory_of_the_next(opened):
    opened.get_by_test_id("queue-button").click()
    opened.wait_for_function(
        "() => [...document.querySelectorAll('.vp2p-cost')].every(line => line.innerText.includes('last run here'))",
        timeout=400_000,
    )
    assert opened.locator(".vp2p-cost").first.evaluate(f"line => /^{LAST_RUN}$/.test(line.innerText)")
    opened.evaluate(SET, ["VP2P_AttentionController", "target_prompt", "a red heart on the beach"])
    opened.wait_for_timeout(1000)
    expect(costs(opened).nth(1)).to_contain_text("last run here")  # words cost nothing
    opened.evaluate(SET, ["VP2P_InflateUNet", "frames_read", "all"])
    expect(costs(opened).first).to_have_text("8 steps, 8 forwards")
    assert not ours(opened.complaints)


def test_it_is_said_in_the_language_of_the_page_and_in_nodes_of_the_new_kind(opened):
    try:
        opened.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'ko')")
        opened.evaluate(VUE, True)
        expect(costs(opened).first).to_contain_text("8단계, 모델 계산 8회")
        photograph(opened, "cost-vue")
    finally:
        opened.evaluate(VUE, False)
        opened.evaluate("() => app.extensionManager.setting.set('Comfy.Locale', 'en')")


AMONG = """(type) => {
    const of = type => app.graph._nodes.find(node => node.type === type)
    const slot = (node, name) => node.inputs.findIndex(input => input.name === name)
    const [controller, invert, sample] = ['AttentionController', 'DDIMInvert', 'DecoupledSample'].map(
        name => of(`VP2P_${name}`))
    const added = LiteGraph.createNode(type)
    added.pos = [invert.pos[0], invert.pos[1] - 180]
    app.graph.add(added)
    if (type === 'CreateList') for (const place of [0, 1]) controller.connect(0, added, place)
    else controller.connect(0, added, slot(added, 'edit'))
    if (type === 'VP2P_AttentionMaps') invert.connect(0, added, slot(added, 'inversion'))
    else added.connect(0, sample, slot(sample, 'edit'))
}"""


@pytest.mark.parametrize(
    "kind, told",
    [
        ("VP2P_SweepEdits", "8 steps, 48 forwards at most"),
        ("CreateList", "8 steps, 32 forwards at most"),
        ("VP2P_AttentionMaps", "8 steps, 8 forwards"),
    ],
)
def test_sweeps_lists_and_maps_are_counted(opened, kind, told):
    opened.evaluate(AMONG, kind)
    expect(costs(opened).filter(has_text=told).last).to_contain_text(told)  # after a run, its time too
    if kind == "VP2P_AttentionMaps":
        opened.evaluate(SET, [kind, "branch", "target"])
        expect(costs(opened).filter(has_text="16 forwards at most")).to_have_count(2)
    photograph(opened, f"cost-{kind}")
    assert not ours(opened.complaints)
