"""The shipped blueprints: the whole edit as one box, and its steps as five that follow each other.

Of the five each has among its outputs, by name, what the later ones have among their inputs.
"""

from __future__ import annotations

from typing import Any

from .blueprint import Blueprint, entrance
from .courses import AT_THE_END, QUICK, RIDER, ROBOT
from .graph import Graph
from .studio import Studio
from .worlds import SD15, WORLDS

SD15_HOME = WORLDS[SD15]
# Which frames of the video are edited, and how large.
CLIP_CHOICE = {
    "start": ("INT", 0), "every_nth": ("INT", 2), "frames": ("INT", SD15_HOME.frames), "side": ("INT", SD15_HOME.side)
}  # fmt: skip


def boxes(info: dict[str, Any]) -> list[Blueprint]:
    return [edit(info), *steps(info)]


def steps(info: dict[str, Any]) -> list[Blueprint]:
    return [step(info) for step in (clip_step, tune_step, invert_step, edit_step, result_step)]


def edit(info: dict[str, Any]) -> Blueprint:
    """A clip and two prompts, and the edited clip."""
    graph = Graph(info)
    inlets = entrance(
        model="MODEL", clip="CLIP", vae="VAE", video="VIDEO", source_prompt=("STRING", RIDER),
        target_prompt=("STRING", ROBOT), blend_source=("STRING", "auto"), blend_target=("STRING", "auto"),
        **CLIP_CHOICE, steps=("INT", SD15_HOME.virtual_steps),
    )  # fmt: skip
    studio = Studio(graph, SD15, inlets["model"], inlets["clip"], inlets["vae"], prompt=inlets["source_prompt"])
    graph.column("1 Clip")
    studio.choose(inlets["video"], **{name: inlets[name] for name in CLIP_CHOICE})
    studio.encode()
    graph.column("2 What the clip shows")
    studio.encode_prompts()
    graph.column("3 Invert")
    studio.inflate(temporal_layers=False)
    studio.invert(**QUICK | {"steps": inlets["steps"]})
    graph.column("4 Edit")
    controller = studio.control(
        inlets["target_prompt"], blend_source=inlets["blend_source"], blend_target=inlets["blend_target"], **AT_THE_END
    )
    sampled = studio.sample(controller["edit"])
    graph.column("5 Result")
    composite = studio.set_in(sampled, exchanged=True)
    video = graph.add("CreateVideo", images=composite["images"], fps=studio.fps, audio=studio.audio)
    return Blueprint(
        "Video-P2P edit",
        "Edits a clip by changing words of its caption: a checkpoint, a video and two prompts in, a video out. Nothing "
        "is tuned or inverted; the blend words say what is cut out of the edit and set into the clip's own frames.",
        graph,
        inlets,
        {"video": video["VIDEO"], "mask": composite["matte"], "frames": composite["images"]},
    )


def clip_step(info: dict[str, Any]) -> Blueprint:
    graph = Graph(info)
    inlets = entrance(vae="VAE", video="VIDEO", **CLIP_CHOICE)
    studio = Studio(graph, SD15, vae=inlets["vae"])
    graph.column("1 Clip")
    studio.choose(inlets["video"], **{name: inlets[name] for name in CLIP_CHOICE})
    studio.encode()
    return Blueprint(
        "Video-P2P 1 Clip",
        "The frames of a video to edit, in the size that the checkpoint is at home in, and as latents.",
        graph,
        inlets,
        {"frames": studio.frames, "latent": studio.latent, "fps": studio.fps, "audio": studio.audio},
    )


def tune_step(info: dict[str, Any]) -> Blueprint:
    graph = Graph(info)
    inlets = entrance(
        model="MODEL", clip="CLIP", latent="LATENT", source_prompt=("STRING", RIDER), steps=("INT", 150),
        learning_rate=("FLOAT", 3e-5),
    )  # fmt: skip
    studio = Studio(graph, SD15, inlets["model"], inlets["clip"], latent=inlets["latent"])
    graph.column("2 What the clip shows")
    # An input of a box cannot be an output as well, but through a node.
    (studio.prompt,) = graph.add("PrimitiveStringMultiline", "Source prompt", value=inlets["source_prompt"])
    studio.encode_prompts()
    graph.column("2 Tune")
    studio.inflate()
    studio.tune(shown=False, steps=inlets["steps"], learning_rate=inlets["learning_rate"])
    return Blueprint(
        "Video-P2P 2 Tune",
        "Says what the clip shows, makes the checkpoint read clips and tunes it on this one. Once for each clip.",
        graph,
        inlets,
        {"model": studio.model, "source_prompt": studio.prompt, "source": studio.source, "null": studio.null},
    )


def invert_step(info: dict[str, Any]) -> Blueprint:
    graph = Graph(info)
    inlets = entrance(model="MODEL", source="CONDITIONING", null="CONDITIONING", latent="LATENT", steps=("INT", 20))
    studio = Studio(graph, SD15, inlets["model"], latent=inlets["latent"], source=inlets["source"], null=inlets["null"])
    graph.column("3 Invert")
    studio.invert(steps=inlets["steps"])
    return Blueprint(
        "Video-P2P 3 Invert",
        "The clip's way back to noise. Once for each clip: changing the target prompt does not run it again.",
        graph,
        inlets,
        {"inversion": studio.inversion},
    )


def edit_step(info: dict[str, Any]) -> Blueprint:
    graph = Graph(info)
    inlets = entrance(
        model="MODEL", clip="CLIP", inversion="VP2P_INVERSION", source_prompt=("STRING", RIDER),
        target_prompt=("STRING", ROBOT), blend_source=("STRING", "auto"), blend_target=("STRING", "auto"),
        cross_window=("FLOAT", 0.2),
    )  # fmt: skip
    studio = Studio(
        graph, SD15, inlets["model"], inlets["clip"], prompt=inlets["source_prompt"], inversion=inlets["inversion"]
    )
    graph.column("4 Edit")
    words = ("blend_source", "blend_target", "cross_window")
    controller = studio.control(inlets["target_prompt"], **{name: inlets[name] for name in words}, **AT_THE_END)
    sampled = studio.sample(controller["edit"])
    return Blueprint(
        "Video-P2P 4 Edit",
        "The edit in words, the edited clip as latents, and the places of the old and the new thing, which the blend "
        "words say.",
        graph,
        inlets,
        {"edited": sampled["edited"], "old_place": sampled["old place"], "new_place": sampled["new place"]},
    )


def result_step(info: dict[str, Any]) -> Blueprint:
    graph = Graph(info)
    inlets = entrance(
        vae="VAE", edited="LATENT", old_place="MASK", new_place="MASK", frames="IMAGE", fps=("FLOAT", 24.0),
        audio="AUDIO",
    )  # fmt: skip
    studio = Studio(graph, SD15, vae=inlets["vae"], frames=inlets["frames"], fps=inlets["fps"])
    graph.column("5 Result")
    composite = studio.set_in(
        {name: inlets[name.replace(" ", "_")] for name in ("edited", "old place", "new place")}, exchanged=True
    )
    video = graph.add("CreateVideo", images=composite["images"], fps=studio.fps, audio=inlets["audio"])
    compared = graph.add("VP2P_CompareVideos", before=studio.frames, after=composite["images"], fps=studio.fps)
    return Blueprint(
        "Video-P2P 5 Result",
        "The edited thing in the clip's own frames: as a video, and beside its source.",
        graph,
        inlets,
        {
            "video": video["VIDEO"],
            "edited_frames": composite["images"],
            "matte": composite["matte"],
            "comparison": compared["frames"],
        },
    )
