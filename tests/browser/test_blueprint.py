"""The blueprints: boxes from the node library, wired and run. One does all, five do a step each."""

import json

import pytest
from comfyui_videop2p.tests.host.graphs import succeeded
from comfyui_videop2p.tools.workflows.write import SUBGRAPHS
from playwright.sync_api import expect

from .test_difference import VUE
from .test_workflows import photograph

NAME = "Video-P2P-edit"
STEPS = [f"Video-P2P-{step}" for step in ("1-Clip", "2-Tune", "3-Invert", "4-Edit", "5-Result")]
# Boxes as the library inserts them, side by side, with the demo model and clip before them. Every input is wired to the
# nearest output of its name before it.
WIRED = """async ({workflow, given}) => {
    await app.loadGraphData(workflow)
    const graph = app.graph
    const boxes = [...graph._nodes].sort((a, b) => a.id - b.id)
    const add = (type, x, y) => {
        const node = LiteGraph.createNode(type)
        node.pos = [x, y]
        graph.add(node)
        return node
    }
    const before = {}
    const offer = (node, names) => names.forEach((name, slot) => { if (name) before[name] = [node, slot] })
    offer(add('VP2P_LoadDemoModel', -450, 0), ['model', 'clip', 'vae'])
    offer(add('VP2P_LoadDemoClip', -450, 150), ['video'])
    for (const box of boxes) {
        box.inputs.forEach((input, slot) => {
            if (before[input.name]) before[input.name][0].connect(before[input.name][1], box, slot)
        })
        for (const [name, value] of Object.entries(given))
            for (const widget of box.widgets.filter(widget => widget.name === name)) widget.value = value
        offer(box, box.outputs.map(output => output.name))
    }
    const save = add('SaveVideo', 420 * boxes.length + 20, 0)
    before.video[0].connect(before.video[1], save, 0)
    app.canvas.ds.scale = 0.7
    app.canvas.ds.offset = [560, 150]
    return (await app.graphToPrompt()).output
}"""
CHANGE = """([name, value]) => {
    const box = app.graph._nodes.find(node => node.subgraph)
    box.widgets.find(widget => widget.name === name).value = value
}"""
SAVED = """() => {
    const box = app.graph._nodes.find(node => node.subgraph)
    return app.graph.serialize().nodes.find(node => String(node.id) === String(box.id)).widgets_values
}"""
UNWIRED = """app.graph._nodes.flatMap(node =>
    node.inputs.filter((input, slot) => !node.isInputConnected(slot) && !input.widget).map(input => input.name))"""
GIVEN = {
    "source_prompt": "a red rabbit on the beach", "target_prompt": "a blue rabbit on the beach",
    "blend_source": "rabbit", "blend_target": "rabbit", "steps": 5, "start": 1, "every_nth": 1, "frames": 4,
    "side": 128,
}  # fmt: skip


def wired(page, *names):
    """The graph of these boxes as the server would get it."""
    boxes = [json.loads((SUBGRAPHS / f"{name}.json").read_text(encoding="utf-8")) for name in names]
    nodes = [
        node | {"id": number, "pos": [420 * (number - 1), 0]}
        for number, box in enumerate(boxes, start=1)
        for node in box["nodes"]
    ]
    definitions = [definition for box in boxes for definition in box["definitions"]["subgraphs"]]
    workflow = boxes[0] | {"nodes": nodes, "last_node_id": len(nodes), "definitions": {"subgraphs": definitions}}
    return page.evaluate(WIRED, {"workflow": workflow, "given": GIVEN})


def inputs_of(graph, kind):
    (inputs,) = [node["inputs"] for node in graph.values() if node["class_type"] == kind]
    return inputs


def saved(host, graph):
    (save,) = [name for name, node in graph.items() if node["class_type"] == "SaveVideo"]
    return succeeded(host, graph)["outputs"][save]["images"][0]["filename"]


def test_the_library_lists_the_boxes(host):
    listed = [entry["name"] for entry in host.get("/global_subgraphs").values() if "videop2p" in str(entry["info"])]
    assert sorted(listed) == sorted([NAME, *STEPS])


def test_the_box_edits_a_clip(page, host):
    graph = wired(page, NAME)
    kinds = {node["class_type"] for node in graph.values()}
    assert {"VP2P_ClipFrames", "VP2P_InflateUNet", "VP2P_DDIMInvert", "VP2P_DecoupledSample"} <= kinds
    assert inputs_of(graph, "VP2P_DDIMInvert")["method"] == "virtual"
    chosen = inputs_of(graph, "VP2P_ClipFrames")
    assert [chosen[name] for name in ("start", "every_nth", "frames", "side")] == [1, 1, 4, 128]
    controller = inputs_of(graph, "VP2P_AttentionController")
    assert controller["target_prompt"] == "a blue rabbit on the beach" and controller["blend_target"] == "rabbit"
    assert saved(host, graph).endswith(".mp4")


@pytest.fixture(params=[False, True], ids=["canvas", "Nodes 2.0"])
def renderer(request, page):
    """Nodes painted on a canvas, or made of elements."""
    page.evaluate(VUE, request.param)
    yield "vue" if request.param else "canvas"
    page.evaluate(VUE, False)


@pytest.mark.parametrize("name", [NAME, "Video-P2P-4-Edit"])
def test_the_words_of_an_edit_are_shown_on_its_box(page, name, renderer):
    wired(page, name)
    expect(page.locator(".vp2p-swapped:visible")).to_have_text(["red", "blue← red"])
    page.evaluate(CHANGE, ["target_prompt", "a blue zeppelin on the beach"])
    expect(page.locator(".vp2p-swapped:visible").last).to_have_text("zeppelin← rabbit")
    expect(page.locator(".vp2p-fault:visible").first).to_contain_text("the demo model never learnt 'zeppelin'")
    photograph(page, f"box-{name}-{renderer}")
    saved = page.evaluate(SAVED)
    assert all(isinstance(value, (str, int, float)) for value in saved)
    assert not [text for text in page.complaints if "videop2p" in text.lower()]


def test_the_five_boxes_edit_a_clip(page, host):
    graph = wired(page, *STEPS)
    assert page.evaluate(UNWIRED) == []
    page.set_viewport_size({"width": 2300, "height": 700})
    page.wait_for_timeout(1000)
    photograph(page, "boxes")
    origins = {number: node["class_type"] for number, node in graph.items()}

    def comes_from(kind, name):
        return origins[inputs_of(graph, kind)[name][0]]

    # The later steps work on what the earlier ones made, not on what was there before them.
    assert comes_from("VP2P_DDIMInvert", "model") == comes_from("VP2P_DecoupledSample", "model") == "VP2P_TuneOnVideo"
    assert comes_from("VP2P_AttentionController", "source_prompt") == "PrimitiveStringMultiline"
    assert comes_from("VP2P_CompareVideos", "before") == "VP2P_ClipFrames"
    assert inputs_of(graph, "VP2P_TuneOnVideo")["learning_rate"] == 3e-5
    assert [inputs_of(graph, kind)["steps"] for kind in ("VP2P_TuneOnVideo", "VP2P_DDIMInvert")] == [5, 5]
    assert saved(host, graph).endswith(".mp4")
    assert not [text for text in page.complaints if "videop2p" in text.lower()]
