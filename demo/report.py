"""One page about one edit: what was asked, what is seen, what was measured, what it took."""

from __future__ import annotations

from html import escape

from ..tools.client import Ran
from .edits import EditedClip
from .measure import Figures

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #24323d; background: #f6f4ee; margin: 2rem auto; max-width: 1024px }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
img { width: 100%; image-rendering: auto; border: 1px solid #c9c4b6 }
table { border-collapse: collapse; width: 100% } td, th { padding: .3rem .6rem; border-bottom: 1px solid #d8d3c4;
text-align: left; vertical-align: top } td.number { text-align: right; white-space: nowrap }
"""


def verdict(measured: Figures) -> str:
    if measured.missed:
        return f"The judge does not see what the prompt says of the {', '.join(measured.missed)}."
    return "The judge sees every word of the target prompt."


def summary(clip: EditedClip, measured: Figures) -> str:
    return (
        f"'{clip.caption}' -> '{clip.target}': {verdict(measured)} The rest of the picture is kept to "
        f"{measured.background:.1f} dB; the source is reconstructed to {measured.reconstruction:.1f} dB."
    )


def rows_of(measured: Figures) -> list[tuple[str, str, str]]:
    return [
        ("Background", f"{measured.background:.2f} dB", "edited against source frames outside both objects (PSNR)"),
        (
            "Reconstruction",
            f"{measured.reconstruction:.2f} dB",
            "the source as the run kept it",
        ),
        ("Ground truth", f"{measured.truth:.2f} dB", "against the target scene as the renderer draws it"),
        ("Mask", f"{100 * measured.mask_overlap:.0f} %", "overlap with the true place of both objects (IoU)"),
    ]


def page(graph: dict, ran: Ran, clip: EditedClip, measured: Figures, stats: dict) -> str:
    """HTML beside side_by_side.gif and side_by_side.png."""
    titles = {node: entry["_meta"]["title"] for node, entry in graph.items()}
    longest = sorted(ran.seconds.items(), key=lambda item: -item[1])[:6]
    times = [(titles[node], f"{seconds:.1f} s", settings(graph[node])) for node, seconds in longest]
    times.append(("all nodes", f"{sum(ran.seconds.values()):.1f} s", ""))
    system, device = stats["system"], stats["devices"][0]
    machine = f"ComfyUI {system['comfyui_version']}, PyTorch {system['pytorch_version']}, {device['name']}"
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Video-P2P demo</title><style>{STYLE}</style>
<h1>&ldquo;{escape(clip.caption)}&rdquo; &rarr; &ldquo;{escape(clip.target)}&rdquo;</h1>
<p>{escape(verdict(measured))}</p>
<img src="side_by_side.gif" alt="source, reconstruction, edit and mask, moving">
<h2>Frames</h2>
<img src="side_by_side.png" alt="three frames of source, reconstruction, edit and mask">
<h2>Measured</h2>
{table(rows_of(measured))}
<h2>Time</h2>
{table(times)}
<p>{escape(machine)}</p>
</html>
"""


def settings(entry: dict) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in entry["inputs"].items() if not isinstance(value, list) and value
    )


def table(rows: list[tuple[str, str, str]]) -> str:
    lines = (
        f'<tr><th>{escape(name)}</th><td class="number">{escape(value)}</td><td>{escape(about)}</td></tr>'
        for name, value, about in rows
    )
    return f"<table>{''.join(lines)}</table>"
