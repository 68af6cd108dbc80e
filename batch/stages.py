"""The graphs of one job: for each kept work the graph that makes it, and the graph of the edits that loads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .graph import Graph, added, ancestors, in_place, is_link, links, pruned, signatures, with_values
from .template import ARTEFACT_NODES, Template

EDITS, AT = "Batch: every edit's", "@"  # AT stands between a node's id and the number of its row
MOST = 10  # edits that share a pass, as Create List takes so many
SAVE = "Batch: save"
UNKEPT = {"keep_source": "off"}  # what no file keeps
SAME = UNKEPT | {"memory": "fast"}  # what gives the same numbers


def keys(template: Template, graph: Graph) -> dict[str, str]:
    """Of each source the name that its work is kept under, by content."""
    sources = [node for node in template.sources if node in graph]
    alone = _with_inputs(graph, sources, SAME)
    return dict(zip(sources, signatures(alone, sources), strict=True))


def source_graph(graph: Graph, node: str, names: Mapping[str, str], prefix: str) -> Graph:
    """Makes and saves the work of one source; names: the files of those before it."""
    artefact = ARTEFACT_NODES[graph[node]["class_type"]]
    graph = _with_inputs(loading(graph, names), [node], UNKEPT)
    inputs = {artefact.value: [node, artefact.output], "filename_prefix": prefix}
    save = {"class_type": artefact.save, "inputs": inputs, "_meta": {"title": f"{graph[node]['_meta']['title']}: save"}}
    return pruned(graph | {SAVE: save}, [SAVE])


def loading(graph: Graph, names: Mapping[str, str]) -> Graph:
    """The graph with a loader of its file in the place of each source."""
    for node, name in names.items():
        artefact, inputs = ARTEFACT_NODES[graph[node]["class_type"]], graph[node]["inputs"]
        graph = in_place(
            graph, node, artefact.load, {artefact.name: name} | {name: inputs[name] for name in artefact.passed}
        )
    return graph


def edits_graph(template: Template, graphs: Sequence[Graph], names: Mapping[str, str]) -> Graph:
    """One graph for all edits, whose outputs come as lists in their order. Several share the source's pass: of what the
    sampler's edit is computed from each has its own, see `shares_pass`."""
    loaded = [pruned(loading(graph, names), template.outputs) for graph in graphs]
    merged = loaded[0]
    if len(loaded) == 1 or template.sampler is None:
        return merged
    dependent = _dependent(merged, merged[template.sampler]["inputs"]["edit"][0], _varying(loaded))
    leaving = [
        (place, source) for place, source in links(merged) if source[0] in dependent and place[0] not in dependent
    ]
    for number, graph in enumerate(loaded):
        merged = merged | {_of_row(node, number): _renamed(graph[node], dependent, number) for node in dependent}
    for node, output in dict.fromkeys(source for _, source in leaving):
        rows = {f"inputs.input{number}": [_of_row(node, number), output] for number in range(len(loaded))}
        merged = added(merged, _list(node, output), "CreateList", rows)
    merged = with_values(merged, {place: [_list(*source), 0] for place, source in leaving})
    return pruned(merged, template.outputs)


def shares_pass(template: Template, graphs: Sequence[Graph]) -> bool:
    """Whether all that sets the edits apart goes into the sampler's edit."""
    if template.sampler is None or not is_link(edit := graphs[0][template.sampler]["inputs"].get("edit")):
        return False
    return _varying(graphs) <= ancestors(graphs[0], [edit[0]])


def row_of(node: str | None) -> int | None:
    """The number of the edit that a node of `edits_graph` belongs to alone."""
    number = (node or "").rpartition(AT)[2] if AT in (node or "") else ""
    return int(number) if number.isdigit() else None


def _with_inputs(graph: Graph, nodes: Sequence[str], values: Mapping[str, str]) -> Graph:
    """Those of the values that the nodes have inputs for."""
    named = {(node, name): value for node in nodes for name, value in values.items() if name in graph[node]["inputs"]}
    return with_values(graph, named)


def _varying(graphs: Sequence[Graph]) -> set[str]:
    first, *others = graphs
    return {node for node in first for graph in others if graph[node]["inputs"] != first[node]["inputs"]}


def _dependent(graph: Graph, edit: str, varying: set[str]) -> set[str]:
    """The nodes that an edit is computed from, of which each row has its own."""
    return {node for node in ancestors(graph, [edit]) if varying & ancestors(graph, [node])}


def _list(node: str, output: int) -> str:
    return f"{EDITS} {node}.{output}"


def _of_row(node: str, number: int) -> str:
    return f"{node}{AT}{number}"


def _renamed(entry: dict, dependent: set[str], number: int) -> dict:
    inputs = {
        name: [_of_row(value[0], number), value[1]] if is_link(value) and value[0] in dependent else value
        for name, value in entry["inputs"].items()
    }
    return entry | {"inputs": inputs}
