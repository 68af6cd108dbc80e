/**
 * The prompt difference of the Attention Controller: what becomes of every word, shown while an artist types.
 *
 * The server knows what a word is to CLIP, so it is asked (POST /videop2p/difference,
 * videop2p_core/host/prompts/difference_route.py).
 * The widget only shows: it has no value, and neither a saved workflow nor a prompt knows of it.
 */
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"

const NODE = "VP2P_AttentionController"
const PROMPTS = ["source_prompt", "target_prompt"]
const FIELDS = [...PROMPTS, "edit", "blend_source", "blend_target", "subtract", "word_weights"]
const EVERY = 300 // milliseconds between two looks at the fields
const LATER = 5000 // ms until a server that did not answer is asked again
const SILENT = Symbol("no answer")
// Give on what they hold.
const PASSING = new Set(["PrimitiveNode", "PrimitiveString", "PrimitiveStringMultiline", "VP2P_LoadDemoClip"])
const PLACED = [200, 1000, 3000] // ms until the host has made an animation's element, at rest or at work
const TALLEST = 240 // pixels of it on a canvas; more is scrolled to
const KINDS = { replace: "word by word, each onto its counterpart", refine: "shared words stay, new ones join" }
const MEANINGS = {
  kept: "as in the source", swapped: "takes over", added: "new", dropped: "left out", blended: "its place may change",
}
const UNCHANGED = "Both prompts say the same, so that nothing will change."
const STYLE = `
.vp2p-difference { overflow-y: auto; font: 12px/1.35 Inter, Arial, sans-serif; color: var(--input-text, #ddd); }
.vp2p-difference > div { display: grid; grid-template-columns: auto 1fr; gap: 6px 8px; padding: 2px 0; }
.vp2p-label { color: var(--descrip-text, #999); line-height: 20px; }
.vp2p-words { display: flex; flex-wrap: wrap; gap: 4px; min-width: 0; }
.vp2p-note, .vp2p-fault { grid-column: 1 / -1; overflow-wrap: anywhere; }
.vp2p-note { color: var(--descrip-text, #999); }
.vp2p-fault { color: color-mix(in srgb, var(--error-text, #ff4444) 80%, var(--input-text, #ddd)); }
.vp2p-word { --hue: #8888; padding: 1px 6px; border-radius: 4px; overflow-wrap: anywhere;
  border: 1px solid color-mix(in srgb, var(--hue) 55%, transparent);
  background: color-mix(in srgb, var(--hue) 22%, transparent); }
.vp2p-word small { opacity: 0.75; margin-left: 4px; }
.vp2p-curve, .vp2p-window { display: inline-block; width: 36px; height: 10px; margin-left: 4px; opacity: 0.75; }
.vp2p-curve { background: currentColor; }
.vp2p-window { position: relative; height: 4px; vertical-align: middle; background: #8888; }
.vp2p-window span { position: absolute; height: 100%; background: currentColor; }
.vp2p-swapped { --hue: #f5a524; }
.vp2p-added { --hue: #3fbf6b; }
.vp2p-dropped { --hue: #f05252; text-decoration: line-through; }`

app.registerExtension({
  name: "videop2p.difference",
  setup() {
    document.head.append(made("style", "", STYLE))
    // An animation lies over the whole canvas until that is painted again, as by the next move of the mouse.
    const repaint = () => app.canvas?.setDirty(true, true)
    api.addEventListener("executed", () => PLACED.forEach((wait) => setTimeout(repaint, wait)))
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE && node.addDOMWidget) addDifference(node)
  },
})

function addDifference(node) {
  const content = made("div")
  const frame = made("div", "vp2p-difference", content)
  let height = 60 // of the content, which has none while it is out of sight
  let grown = 0 // by how much it made the node taller, to be given back
  const inNode = () => Math.min(height, TALLEST) + 2 * (widget.margin ?? 10)
  const widget = node.addDOMWidget("difference", "vp2p_difference", frame, {
    serialize: false, getMinHeight: inNode, getMaxHeight: inNode,
  })
  widget.serialize = false
  frame.addEventListener("wheel", (event) => {
    if (onCanvas() && frame.scrollHeight <= frame.clientHeight) app.canvas.processMouseWheel(event)
  })

  let asked, asking, timer
  async function look() {
    fit()
    const fields = Object.fromEntries(FIELDS.map((name) => [name, textOf(node, name)]))
    const signature = JSON.stringify(FIELDS.map((name) => fields[name] ?? null))
    if (asking || signature === asked) return
    asked = signature
    asking = true
    const shown = await difference(fields)
    asking = false
    hide(!shown)
    if (!shown) return
    if (shown === SILENT) setTimeout(() => (asked = undefined), LATER)
    content.replaceChildren(...(shown === SILENT ? [made("div", "vp2p-fault", "ComfyUI does not answer.")] : shown))
    fit()
  }
  function fit() {
    if (!content.offsetHeight || content.offsetHeight === height) return
    const before = inNode()
    height = content.offsetHeight
    if (onCanvas()) resize(inNode() - before)
    node.setDirtyCanvas(true, true)
  }
  function resize(change) {
    const [width, was] = node.size
    const less = Math.min(grown, -change)
    if (change > 0) node.expandToFitContent?.()
    else node.setSize([width, Math.max(was - less, node.computeSize()[1])])
    grown = Math.max(grown + node.size[1] - was, 0)
  }
  function hide(hidden) {
    if (hidden === !!widget.hidden) return
    widget.hidden = widget.options.hidden = hidden
    node.setDirtyCanvas(true, true)
  }

  // A node that never enters a graph is never removed from one either.
  const { onAdded, onRemoved } = node
  node.onAdded = function (...args) {
    onAdded?.apply(this, args)
    clearInterval(timer)
    timer = setInterval(look, EVERY)
  }
  node.onRemoved = function (...args) {
    clearInterval(timer)
    onRemoved?.apply(this, args)
  }
}

/** Whether nodes are painted; those of the newer kind, made of elements, size and zoom themselves. */
const onCanvas = () => !window.LiteGraph?.vueNodesMode

/** What to show for the fields, in elements; nothing if the server has no such route now. */
async function difference(fields) {
  const unknown = FIELDS.filter((name) => fields[name] === undefined)
  const notes = unknown.length ? [made("div", "vp2p-note", `Known only when the graph runs: ${unknown.join(", ")}.`)] : []
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
    return [...(said ? [said] : rows(told)), ...notes]
  } catch {
    return SILENT
  }
}

function rows({ difference: { kind, source, target }, weights, windows, blended, faults }) {
  const before = source.map(({ text, change }) => word(text, change))
  const after = target.map(({ text, change, partners }, i) => {
    const from = change === "swapped" ? [made("small", "", `← ${partners.map((j) => source[j].text).join(" ")}`)] : []
    const window = windows[i] ? [made("small", "", `${windows[i][0]} – ${windows[i][1]}`), span(windows[i])] : []
    return word(text, change, ...from, ...weight(weights[i]), ...window)
  })
  return [
    ...row("source", before),
    ...row("target", after),
    ...row(kind, [made("span", "vp2p-label", KINDS[kind])]),
    ...(blended.some((words) => words.length) ? row("blend", blended.flat().map((text) => word(text, "blended"))) : []),
    ...(nothingChanges(source, target, weights) ? [made("div", "vp2p-note", UNCHANGED)] : []),
    ...Object.entries(faults).flatMap(([field, messages]) =>
      messages.map((message) => made("div", "vp2p-fault", `${field.replaceAll("_", " ")}: ${message}`)),
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
  const shown = words.length ? words : [made("span", "vp2p-label", "no words yet")]
  return [made("span", "vp2p-label", label), made("div", "vp2p-words", ...shown)]
}

function word(text, change, ...more) {
  const chip = made("span", `vp2p-word vp2p-${change}`, text, ...more)
  chip.title = MEANINGS[change]
  return chip
}

/** An element; texts among its children stay texts, whatever they spell. */
function made(tag, className = "", ...children) {
  const element = document.createElement(tag)
  element.className = className
  element.append(...children)
  return element
}

/** The text of a field, its own or that of a node of a single widget linked to it; undefined before the graph runs. */
function textOf(node, name) {
  const slot = node.inputs?.findIndex((input) => input.name === name) ?? -1
  if (slot >= 0 && node.isInputConnected(slot)) return textFrom(node.getInputNode(slot))
  const value = node.widgets?.find((widget) => widget.name === name)?.value
  return typeof value === "string" ? value : undefined
}

function textFrom(origin) {
  if (origin?.type === "Reroute") return textFrom(origin.getInputNode(0))
  return PASSING.has(origin?.type) && origin.widgets?.length === 1 ? textOf(origin, origin.widgets[0].name) : undefined
}
