"""What came of a demo workflow: its edited clips, and what the ground truth says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..tools.client import Ran, node_titled, shown_frames
from ..videop2p_core.images.comparison import resized
from . import videos
from .measure import Figures, figures

# Titles of the nodes that show frames.
EDITED, RECONSTRUCTION, MASK = "Edited frames", "Reconstruction", "Where the edit was let through"


@dataclass(frozen=True)
class EditedClip:
    """Clips are [frames, height, width, 3] in 0..1; None for what the workflow does not show."""

    caption: str
    target: str
    source: np.ndarray
    edited: np.ndarray
    reconstruction: np.ndarray | None
    mask: np.ndarray | None

    def figures(self) -> Figures:
        scene = videos.scene_of(self.caption)
        return figures(scene, self.target, self.source, self.edited, self.reconstruction, self.mask)


def edited_clips(url: str, graph: dict, ran: Ran) -> list[EditedClip]:
    """The edits of a workflow that ran, in order; none where it shows none."""

    def shown(title):
        titled = [node for node, entry in graph.items() if entry["_meta"]["title"] == title]
        return shown_frames(url, ran.outputs[titled[0]]) if titled else None

    edited, masks, reconstruction = shown(EDITED), shown(MASK), shown(RECONSTRUCTION)
    if edited is None:
        return []
    caption = caption_of(graph)
    source = videos.read(videos.file_of(caption))
    clips = []
    for i, target in enumerate(targets(graph)):
        frames = slice(i * len(source), (i + 1) * len(source))
        mask = None if masks is None else masks[frames]
        clips.append(EditedClip(caption, target, source, at_size_of(source, edited[frames]), reconstruction, mask))
    return clips


def with_frames_shown(graph: dict) -> dict:
    """The graph, which shows the frames of its Composite Edit to a program too where it compares them for the eye."""
    kinds = {entry["class_type"]: node for node, entry in graph.items()}
    if any(entry["_meta"]["title"] == EDITED for entry in graph.values()) or "VP2P_CompareVideos" not in kinds:
        return graph
    images = graph[kinds["VP2P_CompareVideos"]]["inputs"]["after"]
    return graph | {EDITED: {"class_type": "PreviewImage", "inputs": {"images": images}, "_meta": {"title": EDITED}}}


def caption_of(graph: dict) -> str:
    """The source prompt, from the node of that title, or as the demo clip has it."""
    for entry in graph.values():
        if entry["_meta"]["title"] == "Source prompt":
            return entry["inputs"]["value"]
    return next(entry["inputs"]["clip"] for entry in graph.values() if entry["class_type"] == "VP2P_LoadDemoClip")


def at_size_of(source: np.ndarray, edited: np.ndarray) -> np.ndarray:
    """Edited frames of a larger copy of the clip, beside the clip itself."""
    return resized(torch.from_numpy(edited), source.shape[1:3]).numpy()


def targets(graph: dict) -> list[str]:
    """The target prompts, from the controllers or, without any, from the node of that title. A controller that takes
    the source prompt for its target looks for a word alone."""
    prompts = [
        entry["inputs"]["target_prompt"]
        for entry in graph.values()
        if entry["class_type"] == "VP2P_AttentionController" and isinstance(entry["inputs"]["target_prompt"], str)
    ]
    return prompts or [graph[node_titled(graph, "Target prompt")]["inputs"]["text"]]
