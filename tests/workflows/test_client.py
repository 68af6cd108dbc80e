"""How a graph is followed, and what is said of one that cannot run."""

import json

import pytest
from comfyui_videop2p.tools.client import GraphError, node_titled, run_graph
from comfyui_videop2p.tools.workflows.shelf import prompt_file

STEPS = 2


@pytest.fixture
def graph():
    graph = json.loads(prompt_file("demo_fast").read_text(encoding="utf-8"))
    graph[node_titled(graph, "DDIM Invert with Shared Null-Text")]["inputs"]["steps"] = STEPS
    return graph


def test_every_step_is_told_and_every_node_timed(host, graph):
    told = []
    ran = run_graph(host.url, graph, lambda node, step, steps: told.append((node, step, steps)))
    for title in ("DDIM Invert with Shared Null-Text", "Decoupled Sample"):
        node = node_titled(graph, title)
        assert (node, STEPS, STEPS) in told and ran.seconds[node] > 0
    assert ran.outputs[node_titled(graph, "Save the edited clip")]["images"][0]["filename"].endswith(".mp4")


def test_a_fault_is_told_with_the_node_that_has_it(host, graph):
    graph[node_titled(graph, "Attention Controller")]["inputs"]["blend_source"] = "bike"
    with pytest.raises(
        GraphError, match="^Attention Controller: 'bike' is not a word of the source prompt: a, red, car"
    ):
        run_graph(host.url, graph)


def test_a_refused_graph_is_told_with_the_value_that_is_wrong(host, graph):
    graph[node_titled(graph, "DDIM Invert with Shared Null-Text")]["inputs"]["steps"] = 0
    with pytest.raises(GraphError, match="^DDIM Invert with Shared Null-Text: Value 0 smaller than min of 1"):
        run_graph(host.url, graph)
