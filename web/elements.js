/** Elements of the page, and the widget of a node that only shows. */
import { app } from "../../scripts/app.js"

const EVERY = 300 // milliseconds between two looks at the fields
const LATER = 5000 // ms until a server that did not answer is asked again
const TALLEST = 240 // pixels of it on a canvas; more is scrolled to
export const SILENT = Symbol("no answer")

/** An element; texts among its children stay texts, whatever they spell. */
export function made(tag, className = "", ...children) {
  const element = document.createElement(tag)
  element.className = className
  element.append(...children)
  return element
}

/** Whether nodes are painted; those of the newer kind, made of elements, size and zoom themselves. */
export const onCanvas = () => !window.LiteGraph?.vueNodesMode

/**
 * A widget that shows what `shown(state)` makes of `state()`, anew whenever that is another: elements, null for nothing
 * at all, or SILENT where the server did not answer, for which `silence` stands.
 * It has no value, and neither a saved workflow nor a prompt knows of it.
 */
export function addShown(node, { name, className, lines, state, shown, silence }) {
  const content = made("div")
  const frame = made("div", className, content)
  let height = 16 * lines + 4 // of the content, which has none while it is out of sight
  let grown = 0 // by how much it made the node taller, to be given back
  const inNode = () => Math.min(height, TALLEST) + 2 * (widget.margin ?? 10)
  const widget = node.addDOMWidget(name, `vp2p_${name}`, frame, {
    serialize: false, getMinHeight: inNode, getMaxHeight: inNode,
  })
  widget.serialize = false
  putAmong(node, widget)
  frame.addEventListener("wheel", (event) => {
    if (onCanvas() && frame.scrollHeight <= frame.clientHeight) app.canvas.processMouseWheel(event)
  })

  let asked, asking, timer
  async function look() {
    join()
    fit()
    const signature = JSON.stringify(state())
    if (asking || signature === asked) return
    asked = signature
    asking = true
    const answer = await shown(JSON.parse(signature))
    asking = false
    hide(!answer)
    if (!answer) return
    if (answer === SILENT) setTimeout(() => (asked = undefined), LATER)
    content.replaceChildren(...(answer === SILENT ? silence() : answer))
    fit()
  }
  /** Older frontends make elements of those widgets of a box alone that it has by its inputs. */
  function join() {
    if (onCanvas() || !node.subgraph || frame.isConnected || node.graph !== app.canvas.graph) return
    document.querySelector(`[data-node-id="${node.id}"] [data-testid=node-widgets]`)?.append(frame)
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
    widget.hidden = widget.options.hidden = frame.hidden = hidden
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

/** A box makes its widgets from its inputs; older frontends know no others of it. */
function putAmong(node, widget) {
  if (node.widgets.includes(widget)) return
  const { get, set } = Object.getOwnPropertyDescriptor(node, "widgets")
  const widgets = () => [...get.call(node), widget]
  Object.defineProperty(node, "widgets", { get: widgets, set, configurable: true, enumerable: true })
}
