"""A user's graph as a batch runs it: which node takes the clip, which are its results, which hold the shared work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .columns import clip_place
from .faults import BatchError
from .graph import Graph, Place, added, in_place, is_link, links, pruned, with_values

RESULTS = {"SaveVideo": "video", "VHS_VideoCombine": "images"}  # nodes that save a clip, and the input that brings it
RESULT = "Result"  # the title of the one that counts where a graph saves several
FIGURES, COMPARISON = "Batch: figures", "Batch: before and after"
VISION, TARGET = "Batch: vision model", "Target prompt"
SAMPLER, INVERT = "VP2P_DecoupledSample", "VP2P_DDIMInvert"
MASK_OF_COMPOSITE, MASK_OF_SAMPLER, REPORT_OF_METRICS = 1, 2, 1  # outputs


@dataclass(frozen=True)
class ArtefactNodes:
    """A node whose work is kept in a file, and those that save and load it.

    kind: the folder below models/videop2p; output: what is saved; loaded: the outputs that the loader has, each at the
    same place; passed: inputs that the loader takes over
    """

    kind: str
    save: str
    load: str
    value: str
    output: int
    loaded: tuple[int, ...]
    passed: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The loader's input that names the file."""
        return f"{self.value}_name"


ARTEFACT_NODES: Mapping[str, ArtefactNodes] = {
    "VP2P_TuneOnVideo": ArtefactNodes("tunings", "VP2P_SaveTuning", "VP2P_LoadTuning", "tuning", 1, (0, 1), ("model",)),
    INVERT: ArtefactNodes("inversions", "VP2P_SaveInversion", "VP2P_LoadInversion", "inversion", 0, (0,)),
}


@dataclass(frozen=True)
class Template:
    """graph: all that the results are computed from; clip: the input that names it; result: the node that saves the
    edited clip; shown: nodes that show its figures and it beside the source, where there are any; sources: nodes whose
    work is kept, each behind those that it is computed from; sampler: the node that takes a list of edits"""

    graph: Graph
    clip: Place
    result: str
    figures: str | None
    comparison: str | None
    sources: tuple[str, ...]
    sampler: str | None

    @property
    def outputs(self) -> list[str]:
        return [node for node in (self.result, self.figures, self.comparison) if node is not None]


def template_of(graph: Graph, clip_vision: str | None = None) -> Template:
    """clip_vision: the file of a vision model, for the figures that need one. Raises BatchError where the graph takes
    no clip or saves none."""
    graph = _with_clips_from_files(graph)
    clip, result = clip_place(graph), _result(graph)
    graph, figures = _with_figures(graph, result)
    if clip_vision is not None:
        graph = _with_clip_vision(graph, clip_vision)
    graph, comparison = _with_comparison(graph, result)
    graph = pruned(graph, [node for node in (result, figures, comparison) if node is not None])
    if clip[0] not in graph:
        raise BatchError("what the graph saves is not computed from its clip: connect the two")
    samplers = [node for node, entry in graph.items() if entry["class_type"] == SAMPLER]
    sampler = samplers[0] if len(samplers) == 1 else None
    return Template(graph, clip, result, figures, comparison, _sources(graph), sampler)


def _with_clips_from_files(graph: Graph) -> Graph:
    """The demo's clips come from a list of its own; a video loader takes that node's place."""
    for node, entry in graph.items():
        if entry["class_type"] == "VP2P_LoadDemoClip":
            outputs = {source[1] for _, source in links(graph) if source[0] == node}
            if outputs <= {0}:
                graph = in_place(graph, node, "LoadVideo", {"file": f"{entry['inputs']['clip']}.mp4"})
    return graph


def _result(graph: Graph) -> str:
    saving = [node for node, entry in graph.items() if entry["class_type"] in RESULTS]
    titled = [node for node in saving if graph[node]["_meta"]["title"] == RESULT]
    if len(titled or saving) != 1:
        raise BatchError(
            f"the graph has {len(saving)} nodes that save a video ({', '.join(RESULTS)}): give it one, or the title "
            f"'{RESULT}' to the one that counts"
        )
    return (titled or saving)[0]


def _sources(graph: Graph) -> tuple[str, ...]:
    """Nodes whose work can be kept: a loader has all of theirs that is used."""
    order = [node for node, entry in graph.items() if entry["class_type"] in ARTEFACT_NODES]
    used = {node: {output for _, (other, output) in links(graph) if other == node} for node in order}
    sources = [node for node in order if used[node] <= set(ARTEFACT_NODES[graph[node]["class_type"]].loaded)]
    return tuple(sorted(sources, key=lambda node: len(pruned(graph, [node]))))


# --- what is shown of a result ----------------------------------------------------------------------------------------


def _with_figures(graph: Graph, result: str) -> tuple[Graph, str | None]:
    metrics = [node for node, entry in graph.items() if entry["class_type"] == "VP2P_EditMetrics"]
    if not metrics:
        source, edited, mask = _source(graph), _frames(graph, result), _mask(graph)
        if source is None or edited is None:
            return graph, None
        inputs = {"source": source, "edited": edited, "prompt": ""} | ({"mask": mask} if mask else {})
        graph, metrics = added(graph, "Batch: Edit Metrics", "VP2P_EditMetrics", inputs), ["Batch: Edit Metrics"]
    return added(graph, FIGURES, "PreviewAny", {"source": [metrics[0], REPORT_OF_METRICS]}), FIGURES


def _with_clip_vision(graph: Graph, file: str) -> Graph:
    """The metrics of the graph see with this model, and read the target prompt of the controller, by its CLIP."""
    metrics = [node for node, entry in graph.items() if entry["class_type"] == "VP2P_EditMetrics"]
    controllers = [node for node, entry in graph.items() if entry["class_type"] == "VP2P_AttentionController"]
    if len(metrics) != 1 or len(controllers) != 1:
        raise BatchError("figures with a vision model want one Edit Metrics and one Attention Controller: name none")
    inputs = graph[controllers[0]]["inputs"]
    if not is_link(inputs["target_prompt"]):
        graph = added(graph, TARGET, "PrimitiveStringMultiline", {"value": inputs["target_prompt"]})
        graph = with_values(graph, {(controllers[0], "target_prompt"): [TARGET, 0]})
    prompt = graph[controllers[0]]["inputs"]["target_prompt"]
    graph = added(graph, VISION, "CLIPVisionLoader", {"clip_name": file})
    read = {"clip_vision": [VISION, 0], "clip": inputs["clip"], "prompt": prompt}
    return with_values(graph, {(metrics[0], name): value for name, value in read.items()})


def _with_comparison(graph: Graph, result: str) -> tuple[Graph, str | None]:
    compared = [node for node, entry in graph.items() if entry["class_type"] == "VP2P_CompareVideos"]
    if compared:
        return graph, compared[0]
    before, after = _source(graph), _frames(graph, result)
    if before is None or after is None:
        return graph, None
    inputs = {
        "before": before, "after": after, "mode": "side by side", "position": 0.5, "gain": 4.0, "before_label": "",
        "after_label": "", "fps": _speed(graph, result),
    }  # fmt: skip
    return added(graph, COMPARISON, "VP2P_CompareVideos", inputs), COMPARISON


def _frames(graph: Graph, result: str) -> list | None:
    """The link to the IMAGEs that the result is made of."""
    entry = graph[result]
    value = entry["inputs"].get(RESULTS[entry["class_type"]])
    if is_link(value) and graph[value[0]]["class_type"] == "CreateVideo":
        value = graph[value[0]]["inputs"]["images"]
    return value if is_link(value) else None


def _speed(graph: Graph, result: str) -> float | list:
    inputs = graph[result]["inputs"]
    if is_link(inputs.get("video")):
        inputs = graph[inputs["video"][0]]["inputs"]
    return inputs.get("fps", inputs.get("frame_rate", 8.0))


def _source(graph: Graph) -> list | None:
    """The link to the source's frames: as they are set in again, or as they were inverted."""
    composites = [entry["inputs"]["source"] for entry in graph.values() if entry["class_type"] == "VP2P_CompositeEdit"]
    if composites:
        return composites[0]
    for entry in graph.values():
        latent = entry["inputs"].get("latent") if entry["class_type"] == INVERT else None
        if is_link(latent) and is_link(graph[latent[0]]["inputs"].get("pixels")):
            return graph[latent[0]]["inputs"]["pixels"]
    return None


def _mask(graph: Graph) -> list | None:
    for kind, output in (("VP2P_CompositeEdit", MASK_OF_COMPOSITE), (SAMPLER, MASK_OF_SAMPLER)):
        nodes = [node for node, entry in graph.items() if entry["class_type"] == kind]
        if nodes:
            return [nodes[0], output]
    return None
