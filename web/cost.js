/**
 * What a long node will take, said on it before it runs: steps, forwards of the clip, and time and memory by the last
 * run of this machine on the same model and clip.
 *
 * The server counts and remembers (POST /videop2p/cost, videop2p_core/host/cost/cost_route.py).
 */
import { api } from "../../scripts/api.js"
import { addShown, made, SILENT } from "./elements.js"
import { linkedInputs, originOf, placeOf, valuesOf } from "./graph.js"
import { texts } from "./texts.js"

export const LONG = new Set(["VP2P_TuneOnVideo", "VP2P_DDIMInvert", "VP2P_DecoupledSample", "VP2P_AttentionMaps"])
const [CONTROLLER, SWEEP, LIST] = ["VP2P_AttentionController", "VP2P_SweepEdits", "CreateList"]
const WORDS = new Set(["CLIP", "STRING", "VP2P_EDIT"]) // links that cost nothing
const CHECKED = ["vae", "images"] // with these DDIM Invert compares

let runs = 0 // that ended while the page was open: each may have taught the server something
api.addEventListener("execution_success", () => (runs += 1))

export function addCost(node) {
  const state = () => ({ ...question(placeOf(node)), runs })
  addShown(node, { name: "cost", className: "vp2p-cost", lines: 1, state, shown: cost, silence: () => [] })
}

function question(place) {
  const linked = linkedInputs(place)
  const values = valuesOf(place)
  if (CHECKED.every((name) => linked.includes(name))) values.checked = true
  return { node: place.node.type, values, edits: editsOf(place, "edit"), origins: ancestors(place).map(
    ({ node, boxes }) => [node.type, valuesOf({ node, boxes })],
  ) }
}

/** [values of a controller, those of what sweeps it or null] of each edit that comes in; null where a run alone knows. */
function editsOf(place, input) {
  const origin = originOf(place, input)?.place
  const inputs = origin ? linkedInputs(origin) : []
  const listed = inputs.some((name) => name !== "edit" && originOf(origin, name)?.listed)
  switch (origin?.node.type) {
    case CONTROLLER:
      return listed ? null : [[valuesOf(origin), null]]
    case SWEEP: {
      const edits = listed ? null : editsOf(origin, "edit")
      return edits?.every(([, sweep]) => !sweep) ? edits.map(([values]) => [values, valuesOf(origin)]) : null
    }
    case LIST: {
      const parts = inputs.map((name) => editsOf(origin, name))
      return parts.includes(null) ? null : parts.flat()
    }
    default:
      return null
  }
}

/** The places that the links of a node come from, but for those of words; as videop2p_core/host/cost/origins.py. */
function ancestors(place) {
  const order = [place]
  for (const one of order) {
    for (const name of linkedInputs(one)) {
      const origin = originOf(one, name)
      const known = order.some(({ node, boxes }) => node === origin?.place?.node && sameBoxes(boxes, origin.place.boxes))
      if (origin?.place && !known && !WORDS.has(origin.type)) order.push(origin.place)
    }
  }
  return order.slice(1)
}

const sameBoxes = (some, others) => some.length === others.length && some.every((box, i) => box === others[i])

async function cost({ runs, ...asked }) {
  try {
    const headers = { "Content-Type": "application/json" }
    const answer = await api.fetchApi("/videop2p/cost", { method: "POST", headers, body: JSON.stringify(asked) })
    if (!answer.ok) return null
    const told = await answer.json()
    return told.steps === null ? null : [made("div", "", sentence(told))]
  } catch {
    return SILENT
  }
}

function sentence({ steps, forwards, at_most, seconds, bytes }) {
  const { cost } = texts()
  const parts = [cost.steps(steps)]
  if (forwards !== null) parts.push(at_most ? cost.atMost(forwards) : cost.forwards(forwards))
  if (seconds !== null) parts.push(cost.seconds(duration(seconds, cost)), `${(bytes / 2 ** 30).toPrecision(2)} GiB`)
  return parts.join(cost.comma) + (seconds === null ? "" : cost.lastRun)
}

function duration(seconds, { units: [s, min, h] }) {
  if (seconds < 90) return `${seconds < 9.5 ? Number(seconds.toPrecision(1)) : Math.round(seconds)} ${s}`
  return seconds < 5400 ? `${Math.round(seconds / 60)} ${min}` : `${Number((seconds / 3600).toPrecision(2))} ${h}`
}
