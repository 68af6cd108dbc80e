/**
 * The word view of the Attention Controller: what becomes of every word, shown while an artist types.
 *
 * The server knows what a word is to CLIP, so it is asked (POST /videop2p/difference,
 * videop2p_core/host/prompts/difference_route.py).
 */
import { api } from "../../scripts/api.js"
import { addShown, made, SILENT } from "./elements.js"
import { linkedInputs, originOf, placeOf, valueOf } from "./graph.js"
import { texts } from "./texts.js"

const CONTROLLER = "VP2P_AttentionController"
const PROMPTS = ["source_prompt", "target_prompt"]
const FIELDS = [...PROMPTS, "edit", "blend_source", "blend_target", "subtract", "word_weights"]

/** The controller that a node is, or that the box it is holds, as its only one; undefined for any other node. */
export function controllerOf(node) {
  const inside = (node.subgraph?.nodes ?? []).filter((one) => one.type === CONTROLLER)
  if (inside.length === 1) return inside[0]
  return node.comfyClass === CONTROLLER ? node : undefined // its type it gets later
}

export function addWordView(node) {
  const state = () => {
    const controller = controllerOf(node) ?? node
    const place = placeOf(node)
    if (controller !== node) Object.assign(place, { node: controller, boxes: [...place.boxes, node] })
    const known = FIELDS.map((name) => [name, valueOf(place, name)]).filter(([, value]) => typeof value === "string")
    return { ...Object.fromEntries(known), clip: clipOf(place) }
  }
  const silence = () => [made("div", "vp2p-fault", texts().silent)]
  const shown = (fields) => difference(fields, (name) => labelOf(controllerOf(node) ?? node, name))
  addShown(node, { name: "difference", className: "vp2p-difference", lines: 4, state, shown, silence })
}

/** What a field is called on the page, in its language. */
function labelOf(controller, name) {
  return (controller.widgets?.find((widget) => widget.name === name)?.label ?? name).replaceAll("_", " ")
}

/** The class of the node that the CLIP comes from, through those that patch one; "" where none is seen. */
function clipOf(place) {
  const origin = originOf(place, "clip")?.place
  if (!origin) return ""
  return linkedInputs(origin).includes("clip") ? clipOf(origin) : origin.node.type
}

/** What to show for the fields, in elements; null if the server has no such route now. */
async function difference(fields, called) {
  const unknown = FIELDS.filter((name) => fields[name] === undefined)
  const notes = unknown.length ? [made("div", "vp2p-note", texts().unknown(unknown.map(called).join(", ")))] : []
  if (PROMPTS.some((name) => unknown.includes(name))) return notes
  try {
    const body = JSON.stringify(fields)
    const headers = { "Content-Type": "application/json" }
    const answer = await api.fetchApi("/videop2p/difference", { method: "POST", headers, body })
    if (answer.status === 404) return null
    if (answer.status === 503) return SILENT // too many ask at once
    const told = await answer.json()
    // 413: too long to be followed here, which is no fault of the edit.
    const said = told.error && made("div", answer.status === 413 ? "vp2p-note" : "vp2p-fault", told.error)
    return [...(said ? [said] : rows(told, called)), ...notes]
  } catch {
    return SILENT
  }
}

function rows({ difference: { kind, source, target }, weights, windows, blended, faults }, called) {
  const before = source.map(({ text, change }) => word(text, change))
  const after = target.map(({ text, change, partners }, i) => {
    const from = change === "swapped" ? [made("small", "", `← ${partners.map((j) => source[j].text).join(" ")}`)] : []
    const window = windows[i] ? [made("small", "", `${windows[i][0]} – ${windows[i][1]}`), span(windows[i])] : []
    return word(text, change, ...from, ...weight(weights[i]), ...window)
  })
  const { labels, kinds, unchanged } = texts()
  return [
    ...row(labels.source, before),
    ...row(labels.target, after),
    ...row(labels[kind], [made("span", "vp2p-label", kinds[kind])]),
    ...(blended.some((words) => words.length)
      ? row(labels.blend, blended.flat().map((text) => word(text, "blended")))
      : []),
    ...(nothingChanges(source, target, weights) ? [made("div", "vp2p-note", unchanged)] : []),
    ...Object.entries(faults).flatMap(([field, messages]) =>
      messages.map((message) => made("div", "vp2p-fault", `${called(field)}: ${message}`)),
    ),
  ]
}

function nothingChanges(source, target, weights) {
  const kept = [...source, ...target].every(({ change }) => change === "kept")
  return source.length > 0 && kept && weights.flat().every((value) => value === 1)
}

/** The weight of a word, as a number or as a curve over the steps: the area below it. */
function weight(value) {
  if (!Array.isArray(value)) return value === 1 ? [] : [made("small", "", `× ${value}`)]
  const low = Math.min(0, ...value)
  const height = Math.max(1, ...value) - low
  const curve = made("span", "vp2p-curve")
  const points = value.map((one, i) => `${(100 * i) / (value.length - 1)}% ${100 * (1 - (one - low) / height)}%`)
  curve.style.clipPath = `polygon(${points.join(", ")}, 100% 100%, 0% 100%)`
  return [made("small", "", `× ${short(value[0])} … ${short(value.at(-1))}`), curve]
}

const short = (number) => Number(number.toPrecision(3))

/** A window within the run: a bar from its start to its end. */
function span([start, end]) {
  const bar = made("span", "vp2p-window", made("span"))
  Object.assign(bar.firstChild.style, { left: `${100 * start}%`, width: `${100 * (end - start)}%` })
  return bar
}

function row(label, words) {
  const shown = words.length ? words : [made("span", "vp2p-label", texts().noWords)]
  return [made("span", "vp2p-label", label), made("div", "vp2p-words", ...shown)]
}

function word(text, change, ...more) {
  const chip = made("span", `vp2p-word vp2p-${change}`, text, ...more)
  chip.title = texts().meanings[change]
  return chip
}
