"""The blueprint "Video-P2P edit": one box from the node library, wired and run."""

import json

from comfyui_videop2p.tests.host.graphs import succeeded
from comfyui_videop2p.tools.workflows.write import SUBGRAPHS

NAME = "Video-P2P edit"
# The box as the library inserts it, with the demo model and clip before it and a saved video behind it.
WIRED = """async workflow => {
    await app.loadGraphData(workflow)
    const graph = app.graph
    const box = graph._nodes[0]
    const add = (type, x) => {
        const node = LiteGraph.createNode(type)
        node.pos = [x, 0]
        graph.add(node)
        return node
    }
    const model = add('VP2P_LoadDemoModel', -500)
    const clip = add('VP2P_LoadDemoClip', -500)
    const save = add('SaveVideo', 600)
    const slot = name => box.inputs.findIndex(input => input.name === name)
    model.connect(0, box, slot('model'))
    model.connect(1, box, slot('clip'))
    model.connect(2, box, slot('vae'))
    clip.connect(0, box, slot('video'))
    box.connect(box.outputs.findIndex(output => output.name === 'video'), save, 0)
    const given = {
        source_prompt: 'a red ball on the beach', target_prompt: 'a blue ball on the beach', blend_source: 'ball',
        blend_target: 'ball', tuning_steps: 5,
    }
    for (const [name, value] of Object.entries(given)) box.widgets.find(w => w.name === name).value = value
    return (await app.graphToPrompt()).output
}"""


def test_the_library_lists_the_box(host):
    listed = [entry["name"] for entry in host.get("/global_subgraphs").values() if "videop2p" in str(entry["info"])]
    assert listed == [NAME]


def test_the_box_edits_a_clip(page, host):
    graph = page.evaluate(WIRED, json.loads((SUBGRAPHS / f"{NAME}.json").read_text(encoding="utf-8")))
    kinds = {node["class_type"] for node in graph.values()}
    assert {"VP2P_InflateUNet", "VP2P_TuneOnVideo", "VP2P_DDIMInvert", "VP2P_DecoupledSample"} <= kinds
    (controller,) = [node["inputs"] for node in graph.values() if node["class_type"] == "VP2P_AttentionController"]
    assert controller["target_prompt"] == "a blue ball on the beach" and controller["blend_target"] == "ball"
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = min(node["inputs"]["steps"], 5)
    entry = succeeded(host, graph)
    (shown,) = entry["outputs"].values()
    assert shown["images"][0]["filename"].endswith(".mp4")
