"""The stations of the path, in the order of a graph: what each gives, as tensors by their names."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host import calls, wan
from comfyui_videop2p.videop2p_core.diffusion.inversion import METHODS, NULL_TEXT_METHODS

import nodes as stock

from .world import BLENDED, LONGER, OTHER, SOURCE, Results, World, use_models

WAN_SOURCE, WAN_OTHER = "a red rabbit on sand", "a blue rabbit on sand"


def loading(world: World) -> Results:
    return {"latent": world.latent["samples"], "text": world.encoded(SOURCE)[0][0]}


def inflating(world: World) -> Results:
    return {"prediction": calls.predict(world.model, world.demo[1], world.latent)}


def tuning(world: World) -> Results:
    learnt = world.tuned[1]
    return {"losses": learnt.losses, **dict(learnt.deltas), **dict(learnt.temporal)}


def tuning_that_saves_memory(world: World) -> Results:
    learnt = world.tune(world.model, memory="save memory", patience=10, preview_every=1)[1]
    return {"losses": learnt.losses, **dict(learnt.deltas), **dict(learnt.temporal)}


def tuning_in_passes(world: World) -> Results:
    model = world.node("InflateUNet", model=world.demo[0], frames_per_pass=2, pass_overlap=0)[0]
    learnt = world.tune(model)[1]
    return {"losses": learnt.losses, **dict(learnt.deltas), **dict(learnt.temporal)}


def inverting(world: World) -> Iterator[tuple[str, Results]]:
    for method in METHODS:
        inversion, noise, reconstruction, _, psnr, *_ = world.inverted(
            method=method, vae=world.demo[2], images=world.frames
        )
        results = {"trajectory": inversion.trajectory, "noise": noise["samples"], "psnr": torch.tensor(psnr)}
        if method in NULL_TEXT_METHODS:
            results["null"] = inversion.null
        yield f"inversion, {method}", results | {"reconstruction": reconstruction["samples"]}
        yield f"edit, {method}", world.edited(inversion)


def inverting_with_less_memory(world: World) -> Results:
    inversion = world.inverted(method="shared null-text", memory="save memory")[0]
    return {"null": inversion.null}


def keeping_the_source(world: World) -> Iterator[tuple[str, Results]]:
    for place in ("in memory", "on disk"):
        kept = world.inverted(keep_source=place, kept_cross_window=0.7)[0]
        yield f"edit, source kept {place}", world.edited(kept)


def editing(world: World) -> Iterator[tuple[str, Results]]:
    square = torch.zeros(1, 32, 32)
    square[:, 8:24, 8:24] = 1
    edits = {
        "replace": world.edit(cross_window=0.5),
        "refine": world.edit(LONGER, blend_source="rabbit", blend_target="striped, rabbit", cross_window=0.8),
        "re-weight": world.edit(SOURCE, word_weights="red: 2, rabbit: 0.5", cross_window=0.8),
        "mask": world.edit(mask=square),
        "blend frozen": world.edit(**BLENDED, blend_freeze=0.5),
    }
    for name, edit in edits.items():
        yield f"edit, {name}", world.edited(world.inversion, edit)
    exact = world.inverted(method="direct-exact")[0]
    yield "edit, structure", world.edited(exact, world.edit(**BLENDED, structure_window=1.0))
    yield "edit, fresh noise", world.edited(exact, world.edit(fresh_noise=0.5))
    yield "edit, begun later", world.edited(exact, world.edit(strength=0.6))
    yield "edit, further", world.edited(exact, world.edit(emphasis=0.5))
    yield "edit, several", world.edited(world.inversion, *edits.values())
    yield "edit, coupled", world.edited(world.inversion, guidance=["coupled"])
    yield "edit, cached", world.edited(world.inversion, cache_every=[2])
    yield "edit, tuned", world.edited(world.tuned_inversion, model=world.tuned[0])


def reading_frames(world: World) -> Iterator[tuple[str, Results]]:
    for settings in ({"frames_read": "first", "norm_over_frames": True}, {"frames_read": "all"}):
        model = world.node("InflateUNet", model=world.demo[0], **settings)[0]
        yield f"edit, frames reading {settings['frames_read']}", world.edited(world.inverted(model)[0], model=model)


def in_passes(world: World) -> Iterator[tuple[str, Results]]:
    model = world.node("InflateUNet", model=world.demo[0], frames_per_pass=2, pass_overlap=0)[0]
    for method in ("direct", "shared null-text"):
        inversion = world.inverted(model, method)[0]
        nulls = {} if inversion.null is None else {"null": inversion.null}
        yield f"inversion in passes, {method}", {"trajectory": inversion.trajectory, **nulls}
        yield f"edit in passes, {method}", world.edited(inversion, model=model)


def with_custom_sampler(world: World) -> Results:
    guider, sigmas, latent = world.node(
        "DecoupledGuider", model=world.model, inversion=world.inversion, edit=world.edit(**BLENDED)
    )
    (sampler,) = world.node("DecoupledSampler")
    with torch.inference_mode():
        (latent,) = stock.SetLatentNoiseMask().set_mask(latent, torch.ones(1, 64, 64))
        edited, _ = SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, sampler, sigmas, latent).result
    return {"target": edited["samples"]}


def with_control_nets(world: World) -> Iterator[tuple[str, Results]]:
    source, null = world.controlled(world.encoded(SOURCE), world.encoded(""))
    inversion = world.inverted(source=source, null=null)[0]
    yield "inversion, ControlNet", {"trajectory": inversion.trajectory}
    texts = world.inverted(method="shared null-text", source=source, null=null)[0]
    yield "null text, ControlNet", {"null": texts.null}
    learnt = world.tune(world.model, positive=source)[1]
    yield "tuning, ControlNet", {"losses": learnt.losses, **dict(learnt.deltas)}
    again = world.inverted(source=source, null=null)[0]
    yield "inversion, ControlNet again", {"trajectory": again.trajectory}


def looking(world: World) -> Iterator[tuple[str, Results]]:
    edit = world.edit(**BLENDED)
    for branch in ("source", "target"):
        _, masks, _ = world.node(
            "AttentionMaps", model=world.model, inversion=world.inversion, edit=edit, words="rabbit, beach",
            branch=branch, images=world.frames,
        )  # fmt: skip
        yield f"attention maps, {branch}", {"masks": torch.stack(list(masks))}
    region, *_ = world.node("EditRegion", masks=masks[0], images=world.frames)
    yield "region", {"mask": region}


def comparing(world: World) -> Iterator[tuple[str, Results]]:
    edited = world.decoded
    yield "decoded", {"frames": edited}
    yield "compare", {"frames": world.node("CompareVideos", before=world.frames, after=edited)[0]}
    yield "metrics", {"table": world.node("EditMetrics", source=world.frames, edited=edited, prompt=OTHER)[0]}
    edits, labels, columns = world.node("SweepEdits", edit=world.edit(), cross_windows="0.2, 0.8")
    results = world.edited(world.inversion, *edits)
    yield "sweep", results
    with torch.inference_mode():
        images = [
            stock.VAEDecode().decode(world.demo[2], {"samples": results[f"target {index}"]})[0]
            for index in range(len(edits))
        ]
    sheet = world.node("ContactSheet", images=images, labels=labels, columns=[columns], frame=[0], fps=[8.0])[0]
    yield "contact sheet", {"sheet": sheet}


def saving(world: World) -> Iterator[tuple[str, Results]]:
    world.node("SaveInversion", inversion=world.tuned_inversion, filename_prefix="inversion")
    world.node("SaveTuning", tuning=world.tuned[1], filename_prefix="tuning")
    yield "edit, saved and loaded", from_files(world)


def from_files(world: World) -> Results:
    (inversion,) = world.node("LoadInversion", inversion_name="inversion_00001_.safetensors")
    model, _ = world.node("LoadTuning", model=world.model, tuning_name="tuning_00001_.safetensors")
    return world.edited(inversion, model=model)


def from_theirs(world: World) -> Results:
    """From the files of the other device."""
    if world.theirs is None:
        return {}
    use_models(world.theirs)
    return from_files(world)


def exporting(world: World) -> Iterator[tuple[str, Results]]:
    world.node("ExportTuning", model=world.tuned[0], layout="LoRA", rank=64, filename_prefix="exported")
    with torch.inference_mode():
        model, _ = stock.LoraLoader().load_lora(world.demo[0], world.demo[1], "exported_00001_.safetensors", 1.0, 1.0)
    model = world.node("InflateUNet", model=model)[0]
    inversion = world.inverted(model)[0]
    yield "edit, LoRA", world.edited(inversion, model=model)
    learnt = world.tune(model)[1]
    yield "tuning, LoRA", {"losses": learnt.losses, **dict(learnt.deltas)}
    yield "null text, LoRA", {"null": world.inverted(model, "shared null-text")[0].null}


def on_wan(world: World) -> Iterator[tuple[str, Results]]:
    with torch.inference_mode():
        model, clip = wan.tiny_wan(), wan.tiny_text()
        latent = {"samples": torch.randn(1, 16, 3, 6, 4, generator=torch.Generator().manual_seed(0))}
    inversion = world.node(
        "DDIMInvert", model=model, source=calls.encode(clip, WAN_SOURCE), null=calls.encode(clip, ""), latent=latent,
        method="direct", steps=world.steps,
    )[0]  # fmt: skip
    yield "Wan, inversion", {"trajectory": inversion.trajectory}
    edit = world.node("AttentionController", clip=clip, source_prompt=WAN_SOURCE, target_prompt=WAN_OTHER, **BLENDED)[0]
    yield "Wan, edit", world.edited(inversion, edit, model=model)


STATIONS = (
    loading, inflating, tuning, tuning_that_saves_memory, tuning_in_passes, inverting, inverting_with_less_memory,
    keeping_the_source, editing, reading_frames, in_passes, with_custom_sampler, with_control_nets, looking, comparing,
    saving, exporting, on_wan, from_theirs,
)  # fmt: skip
