"""`python dev.py demo`: a video edited by a word, by a real ComfyUI, and what was measured of it.

Starts ComfyUI with this pack, queues workflows/api/demo_word_swap.json and writes into output/.
"""

from __future__ import annotations

import json
import sys
import tempfile

from tqdm import tqdm

from ..tools.client import GraphError, node_titled, run_graph, shown_files
from ..tools.environment import ROOT
from ..tools.host import Host, HostError
from ..tools.pack import host_path
from . import report, videos
from .edits import edited_clips
from .side_by_side import contact_sheet, save_animation, side_by_side

WORKFLOW = ROOT / "workflows" / "api" / "demo_word_swap.json"
OUTPUT = ROOT / "output"
SHOWN = (0, 3, 7)  # frames of the picture


class Bars:
    """A progress bar for every node that counts steps, under its title."""

    def __init__(self, graph):
        self.titles = {node: entry["_meta"]["title"] for node, entry in graph.items()}
        self.width = max(map(len, self.titles.values()))
        self.node = self.bar = None

    def __call__(self, node, step, steps):
        if node != self.node:
            self.close()
            seconds = 0.1 if sys.stderr.isatty() else 10  # a log file need not keep every step
            title = f"{self.titles[node]:{self.width}}"
            self.node, self.bar = node, tqdm(total=steps, desc=title, ncols=100, mininterval=seconds)
        self.bar.update(step - self.bar.n)

    def close(self):
        if self.bar:
            self.bar.close()


def main() -> None:
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    OUTPUT.mkdir(exist_ok=True)
    print("Starting ComfyUI ...", flush=True)
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder) as host:
        bars = Bars(graph)
        ran = run_graph(host.url, graph, bars)
        bars.close()
        (clip,) = edited_clips(host.url, graph, ran)
        (video,) = shown_files(host.url, ran.outputs[node_titled(graph, "Save the edited clip")])
        stats = host.get("/system_stats")

    (OUTPUT / "edited.mp4").write_bytes(video)
    rows = side_by_side(
        {"source": clip.source, "reconstruction": clip.reconstruction, "edit": clip.edited, "mask": clip.mask}
    )
    contact_sheet(rows, SHOWN).save(OUTPUT / "side_by_side.png")
    save_animation(rows, OUTPUT / "side_by_side.gif", videos.FRAMES_PER_SECOND)
    measured = clip.figures()
    page = report.page(graph, ran, clip, measured, stats)
    (OUTPUT / "report.html").write_text(page, encoding="utf-8")
    print(report.summary(clip, measured))
    print(f"Look at {OUTPUT / 'report.html'}; the edited clip is {OUTPUT / 'edited.mp4'}.")


if __name__ == "__main__":
    try:
        main()
    except (GraphError, HostError) as error:
        sys.exit(f"dev.py demo: {error}")
