/**
 * The graph on the canvas, followed backwards from a node as a prompt would be made of it: through reroutes, bypassed
 * nodes and boxes (subgraphs), in and out.
 *
 * A place is {node, boxes}: a node, and the boxes that it is in, from the outermost on.
 */
import { app } from "../../scripts/app.js"

const ENTRANCE = -10 // the origin of links that come from outside of a box, as a number or a text
const [BYPASSED, MUTED] = [4, 2]
// Give on what they hold.
const PASSING = new Set(["PrimitiveNode", "PrimitiveString", "PrimitiveStringMultiline", "VP2P_LoadDemoClip"])

/** The place of a node, within the only box that holds its graph where it is in one. */
export function placeOf(node) {
  const boxes = []
  for (let graph = node.graph; graph && graph !== app.graph; graph = boxes[0].graph) {
    const holders = everyGraph().flatMap((one) => one.nodes ?? []).filter((one) => one.subgraph === graph)
    if (holders.length !== 1) break
    boxes.unshift(holders[0])
  }
  return { node, boxes }
}

const everyGraph = () => [app.graph, ...(app.graph.subgraphs?.values() ?? [])]

/** The names of the inputs that links come in by. */
export const linkedInputs = ({ node }) =>
  (node.inputs ?? []).filter((_, slot) => node.isInputConnected(slot)).map((input) => input.name)

/** Where an input's link begins: {place, type, listed: whether a list comes of it}, or {value} of a box's own widget;
 * null where nothing is known of it. */
export function originOf({ node, boxes }, name) {
  // A box's own getInputLink is of what lies inside of it.
  const id = node.inputs?.find((input) => input.name === name)?.link
  const link = id == null ? null : node.graph.getLink(id)
  return link ? followed(link, node.graph, boxes) : null
}

function followed(link, graph, boxes) {
  if (Number(link.origin_id) === ENTRANCE) {
    const box = boxes.at(-1)
    const input = box?.inputs[link.origin_slot]
    if (!input) return null
    const outside = { node: box, boxes: boxes.slice(0, -1) }
    if (box.isInputConnected(link.origin_slot)) return originOf(outside, input.name)
    const widget = box.widgets?.find((one) => one.name === input.name)
    return widget ? { value: widget.value } : null
  }
  const node = graph.getNodeById(link.origin_id)
  if (!node || node.mode === MUTED) return null
  if (node.type === "Reroute") return originOf({ node, boxes }, node.inputs[0].name)
  if (node.mode === BYPASSED) {
    const same = node.inputs.find((input) => input.type === node.outputs[link.origin_slot].type)
    return same ? originOf({ node, boxes }, same.name) : null
  }
  if (node.subgraph) {
    const [id] = node.subgraph.outputs[link.origin_slot].linkIds
    const inner = node.subgraph.getLink(id)
    return inner ? followed(inner, node.subgraph, [...boxes, node]) : null
  }
  const output = node.outputs[link.origin_slot]
  return { place: { node, boxes }, type: output?.type, listed: output?.shape === window.LiteGraph.GRID_SHAPE }
}

/** The value of a field, its own or that of a node of a single widget linked to it; undefined before the graph runs. */
export function valueOf(place, name) {
  if (!linkedInputs(place).includes(name)) return place.node.widgets?.find((widget) => widget.name === name)?.value
  const origin = originOf(place, name)
  if (!origin?.place) return origin?.value
  const { type, widgets } = origin.place.node
  return PASSING.has(type) && widgets?.length === 1 ? valueOf(origin.place, widgets[0].name) : undefined
}

/** The values of all fields of a node that are known, by their names. */
export function valuesOf(place) {
  const names = (place.node.widgets ?? []).filter((widget) => !widget.hidden).map((widget) => widget.name)
  const known = names.map((name) => [name, valueOf(place, name)])
  return Object.fromEntries(known.filter(([, value]) => ["string", "number", "boolean"].includes(typeof value)))
}
