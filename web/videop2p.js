/** What the pack adds to the page: the word view of the Attention Controller, and what long nodes will take. */
import { app } from "../../scripts/app.js"
import { api } from "../../scripts/api.js"
import { addCost, LONG } from "./cost.js"
import { made } from "./elements.js"
import { addWordView, controllerOf } from "./word_view.js"

const PLACED = [200, 1000, 3000] // ms until the host has made an animation's element, at rest or at work
const STYLE = `
.vp2p-difference { overflow-y: auto; font: 12px/1.35 Inter, Arial, sans-serif; color: var(--input-text, #ddd); }
[data-testid=node-widgets] > .vp2p-difference { grid-column: 1 / -1; margin: 0 8px; }
.vp2p-difference > div { display: grid; grid-template-columns: auto 1fr; gap: 6px 8px; padding: 2px 0; }
.vp2p-cost { overflow: hidden; font: 12px/1.35 Inter, Arial, sans-serif; color: var(--descrip-text, #999); }
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
  name: "videop2p",
  setup() {
    document.head.append(made("style", "", STYLE))
    // An animation lies over the whole canvas until that is painted again, as by the next move of the mouse.
    const repaint = () => app.canvas?.setDirty(true, true)
    api.addEventListener("executed", () => PLACED.forEach((wait) => setTimeout(repaint, wait)))
  },
  nodeCreated(node) {
    if (!node.addDOMWidget) return
    if (controllerOf(node)) addWordView(node)
    if (LONG.has(node.comfyClass)) addCost(node)
  },
})
