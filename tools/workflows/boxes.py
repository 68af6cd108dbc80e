"""The shipped blueprints."""

from __future__ import annotations

from typing import Any

from .blueprint import Blueprint, entrance
from .graph import Graph
from .recipes import RIDER, ROBOT
from .studio import SD15, Studio


def boxes(info: dict[str, Any]) -> list[Blueprint]:
    return [edit(info)]


def edit(info: dict[str, Any]) -> Blueprint:
    """A clip and two prompts, and the edited clip."""
    graph = Graph(info)
    given = entrance(
        model="MODEL", clip="CLIP", vae="VAE", video="VIDEO", source_prompt=("STRING", RIDER),
        target_prompt=("STRING", ROBOT), blend_source=("STRING", "man"), blend_target=("STRING", "robot"),
        tuning_steps=("INT", 300),
    )  # fmt: skip
    studio = Studio(graph, SD15, given["model"], given["clip"], given["vae"], prompt=given["source_prompt"])
    graph.column("1 Clip")
    parts = graph.add("GetVideoComponents", video=given["video"])
    studio.frames, studio.fps = parts["images"], parts["fps"]
    studio.encode()
    graph.column("2 What the clip shows")
    studio.encode_prompts()
    graph.column("3 Tune and invert")
    studio.inflate()
    studio.tune(shown=False, steps=given["tuning_steps"])
    studio.invert("direct")
    graph.column("4 Edit")
    controller = studio.control(
        given["target_prompt"], blend_source=given["blend_source"], blend_target=given["blend_target"]
    )
    sampled = studio.sample(controller["edit"])
    graph.column("5 Result")
    frames = graph.add("VAEDecode", "Decode the edit", samples=sampled["edited"], vae=studio.vae)
    video = graph.add("CreateVideo", images=frames, fps=studio.fps)
    return Blueprint(
        "Video-P2P edit",
        "Edits a clip by changing words of its caption: a checkpoint, a video and two prompts in, a video out. Tunes "
        "on the clip first; the blend words keep the edit where the thing is.",
        graph,
        given,
        {"video": video["VIDEO"], "mask": sampled["mask"], "frames": frames["IMAGE"]},
    )
