"""A graph taken apart into what is kept and what is edited, on the shipped workflows."""

import pytest
from comfyui_videop2p.batch.columns import place_of
from comfyui_videop2p.batch.faults import BatchError
from comfyui_videop2p.batch.graph import is_link, read, signatures, with_values
from comfyui_videop2p.batch.stages import EDITS, SAVE, edits_graph, keys, row_of, shares_pass, source_graph
from comfyui_videop2p.batch.template import COMPARISON, FIGURES, template_of


def classes(graph):
    return sorted(entry["class_type"].removeprefix("VP2P_") for entry in graph.values())


def listed_in(graph):
    return [node for node in graph if node.startswith(EDITS)]


def whole(graph):
    """Whether every link leads to a node."""
    return all(value[0] in graph for entry in graph.values() for value in entry["inputs"].values() if is_link(value))


@pytest.fixture(scope="module")
def tuned():
    return template_of(read("demo_refine"))


def rows(template, *targets):
    return [with_values(template.graph, {place_of(template.graph, "target_prompt"): target}) for target in targets]


def names(template):
    return {node: f"batch/{node}_00001_.safetensors" for node in template.sources}


@pytest.mark.parametrize(
    "name", ["sd15_word_swap", "sdxl_word_swap", "sd2_word_swap", "wan_word_swap", "demo_word_swap"]
)
def test_shipped_workflows_are_templates(name):
    template = template_of(read(name))
    assert [template.graph[node]["class_type"] for node in template.sources] == ["VP2P_DDIMInvert"]
    assert template.outputs == [template.result, FIGURES, COMPARISON] and template.sampler and whole(template.graph)
    assert template_of(template.graph) == template


def test_a_graph_with_nothing_to_save_is_no_template():
    graph = {node: entry for node, entry in read("sd15_word_swap").items() if entry["class_type"] != "SaveVideo"}
    with pytest.raises(BatchError, match="the graph has 0 nodes that save a video"):
        template_of(graph)


def test_what_is_kept_depends_on_the_source_alone(tuned):
    a, b = rows(tuned, "a red star", "a red heart")
    assert [tuned.graph[node]["class_type"] for node in tuned.sources] == ["VP2P_TuneOnVideo", "VP2P_DDIMInvert"]
    assert keys(tuned, a) == keys(tuned, b) and len(set(keys(tuned, a).values())) == 2
    assert signatures(a, [tuned.result]) != signatures(b, [tuned.result])
    other = with_values(a, {place_of(tuned.graph, "source_prompt"): "a green rabbit"})
    assert not set(keys(tuned, other).values()) & set(keys(tuned, a).values())


def test_ways_of_memory_do_not_change_what_is_kept(tuned):
    invert = tuned.sources[1]
    saving = with_values(tuned.graph, {(invert, "memory"): "save memory", (invert, "keep_source"): "on disk"})
    assert keys(tuned, saving) == keys(tuned, tuned.graph)


def test_a_signature_knows_no_numbers_and_no_titles(tuned):
    renamed = {
        f"n{node}": entry
        | {
            "inputs": {k: [f"n{v[0]}", v[1]] if is_link(v) else v for k, v in entry["inputs"].items()},
            "_meta": {"title": node},
        }
        for node, entry in reversed(tuned.graph.items())
    }
    assert signatures(renamed, [f"n{tuned.result}"]) == signatures(tuned.graph, [tuned.result])


def test_the_graph_of_a_source_makes_it_and_no_more(tuned):
    tune, invert = tuned.sources
    graph = source_graph(tuned.graph, tune, {}, "batch/key")
    assert graph[SAVE]["inputs"] == {"tuning": [tune, 1], "filename_prefix": "batch/key"} and whole(graph)
    assert not {"DDIMInvert", "AttentionController"} & set(classes(graph))
    graph = source_graph(tuned.graph, invert, {tune: "batch/tuned.safetensors"}, "batch/key")
    assert "TuneOnVideo" not in classes(graph) and graph[tune]["inputs"]["tuning_name"] == "batch/tuned.safetensors"
    assert graph[invert]["inputs"]["keep_source"] == "off" and whole(graph)


def test_edits_of_a_clip_share_one_sampler(tuned):
    graphs = rows(tuned, "a red star", "a red heart", "a blue rabbit")
    merged = edits_graph(tuned, graphs, names(tuned))
    assert shares_pass(tuned, graphs) and whole(merged)
    assert classes(merged).count("AttentionController") == 3 and classes(merged).count("DecoupledSample") == 1
    assert not {"TuneOnVideo", "DDIMInvert"} & set(classes(merged))
    (listed,) = listed_in(merged)
    edits = [merged[node]["inputs"]["target_prompt"] for node, _ in merged[listed]["inputs"].values()]
    assert edits == ["a red star", "a red heart", "a blue rabbit"] and merged[tuned.sampler]["inputs"]["edit"] == [
        listed,
        0,
    ]
    assert [row_of(node) for node, _ in merged[listed]["inputs"].values()] == [0, 1, 2] and row_of(listed) is None


def test_one_edit_is_the_users_graph(tuned):
    merged = edits_graph(tuned, rows(tuned, "a red star"), names(tuned))
    assert not listed_in(merged) and whole(merged)


def test_edits_that_differ_behind_the_sampler_run_alone(tuned):
    a, b = rows(tuned, "a red star", "a red heart")
    feathered = with_values(b, {place_of(tuned.graph, "feather"): 5})
    assert not shares_pass(tuned, [a, feathered]) and shares_pass(tuned, [a, b])


def test_what_else_reads_a_prompt_reads_every_edits_own():
    template = template_of(read("demo_refine"), clip_vision="clip_vision_h.safetensors")
    graphs = rows(template, "a red star", "a red heart")
    merged = edits_graph(template, graphs, names(template))
    assert shares_pass(template, graphs) and whole(merged) and len(listed_in(merged)) == 2
    metrics = next(entry for entry in merged.values() if entry["class_type"] == "VP2P_EditMetrics")["inputs"]
    prompts = [merged[node]["inputs"]["value"] for node, _ in merged[metrics["prompt"][0]]["inputs"].values()]
    assert prompts == ["a red star", "a red heart"]
    assert merged[metrics["clip_vision"][0]]["inputs"] == {"clip_name": "clip_vision_h.safetensors"}


def test_work_whose_loader_lacks_an_output_is_not_kept():
    graph = read("demo_refine")
    invert = next(node for node, entry in graph.items() if entry["class_type"] == "VP2P_DDIMInvert")
    result = next(node for node, entry in graph.items() if entry["class_type"] == "CreateVideo")
    used = with_values(graph, {(result, "audio"): [invert, 3]})
    assert invert not in template_of(used).sources
