"""The whole path of the pack, node by node, on whatever device there is: what it gives, as tensors on the CPU.

    python tools/pack.py tests.gpu.path OUT [--between unload|free] [--theirs FOLDER] [--only STATION] [--small]

OUT becomes a folder: results.safetensors, failures.json, notes.json of what the pretend device noticed, and in models/
what was saved. `--theirs` names another such folder, of another device, whose saved inversion and tuning are edited
from. `--small`: a clip of half the height and width, and a step less.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import torch
from comfyui_videop2p.tools.pack import use_host
from safetensors.torch import save_file
from torch import Tensor

use_host()

import comfy.model_management  # noqa: E402
import folder_paths  # noqa: E402
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced  # noqa: E402
from comfyui_videop2p.demo import scenes  # noqa: E402
from comfyui_videop2p.tests.host import calls, wan  # noqa: E402
from comfyui_videop2p.tests.host.models import demo_control_net  # noqa: E402
from comfyui_videop2p.videop2p_core.diffusion.inversion import METHODS, NULL_TEXT_METHODS  # noqa: E402
from comfyui_videop2p.videop2p_core.host.demo_model import load_demo_model  # noqa: E402

import nodes as stock  # noqa: E402

FRAMES = 3
SCENE = scenes.Scene(1_000_000, "ball", "red", "plain", "beach")
SOURCE, OTHER, LONGER = "a red ball on the beach", "a blue ball on the beach", "a striped red ball on the beach"
WAN_SOURCE, WAN_OTHER = "a red ball on sand", "a blue ball on sand"
BLENDED = {"blend_source": "ball", "blend_target": "ball", "cross_window": 0.7, "blend_start": 0.0}
Results = dict[str, Tensor]


class World:
    """What the stations work on, each made by a node when it is first asked for. between: see tools/gpu/modes.py."""

    def __init__(self, between: str = "", theirs: Path | None = None, small: bool = False):
        self.between, self.theirs = between, theirs
        self.steps, self.inner_steps, self.apart = (2, 1, 2) if small else (3, 2, 1)  # every which row is taken

    def node(self, name: str, **inputs):
        """The outputs of a node of the pack."""
        outputs = calls.run(name, **inputs)
        if self.between == "unload":
            with torch.inference_mode():
                comfy.model_management.unload_all_models()
        return outputs

    def encoded(self, text: str) -> list:
        return calls.encode(self.demo[1], text)

    # --- what is loaded and encoded -----------------------------------------------------------------------------------

    @cached_property
    def demo(self):
        with torch.inference_mode():
            return load_demo_model()

    @cached_property
    def frames(self) -> Tensor:
        """[frames, height, width, 3]"""
        drawn = [torch.from_numpy(frame.image).float() for frame in scenes.clip(SCENE, FRAMES)]
        return torch.stack(drawn)[:, :: self.apart, :: self.apart]

    @cached_property
    def latent(self) -> dict:
        with torch.inference_mode():
            return stock.VAEEncode().encode(self.demo[2], self.frames)[0]

    @cached_property
    def control_net(self):
        return demo_control_net()

    @cached_property
    def control_hints(self) -> Tensor:
        return torch.rand(FRAMES, 128, 128, 3, generator=torch.Generator().manual_seed(1))

    def controlled(self, *conditionings) -> list:
        with torch.inference_mode():
            applied = stock.ControlNetApplyAdvanced().apply_controlnet(
                *conditionings, self.control_net, self.control_hints, 0.5, 0.0, 1.0
            )
        return list(applied)

    # --- what the pack makes of it ------------------------------------------------------------------------------------

    @cached_property
    def model(self):
        return self.node("InflateUNet", model=self.demo[0])[0]

    @cached_property
    def tuned(self):
        """(MODEL, tuning, plot)"""
        return self.tune(self.model)

    def tune(self, model, positive=None, **settings):
        settings = {"steps": 3, "learning_rate": 1e-3, "seed": 1, **settings}
        return self.node(
            "TuneOnVideo", model=model, positive=positive or self.encoded(SOURCE), latent=self.latent, **settings
        )

    def inverted(self, model=None, method="direct", source=None, null=None, **settings):
        return self.node(
            "DDIMInvert", model=model or self.model, source=source or self.encoded(SOURCE),
            null=null or self.encoded(""), latent=self.latent, method=method, steps=self.steps,
            inner_steps=self.inner_steps, **settings,
        )  # fmt: skip

    @cached_property
    def inversion(self):
        return self.inverted()[0]

    @cached_property
    def tuned_inversion(self):
        return self.inverted(self.tuned[0])[0]

    def edit(self, target=OTHER, **settings):
        return self.node(
            "AttentionController", clip=self.demo[1], source_prompt=SOURCE, target_prompt=target, **settings
        )[0]

    def edited(self, inversion, *edits, model=None, **settings) -> Results:
        edits = edits or (self.edit(**BLENDED),)
        targets, source, masks = self.node(
            "DecoupledSample", model=[model or self.model], inversion=[inversion], edit=list(edits), **settings
        )
        results = {f"target {index}": latent["samples"] for index, latent in enumerate(targets)}
        return results | {"source": source["samples"]} | {f"mask {i}": mask for i, mask in enumerate(masks)}

    @cached_property
    def decoded(self) -> Tensor:
        """The frames of an edit."""
        with torch.inference_mode():
            latent = {"samples": self.edited(self.inversion)["target 0"]}
            return stock.VAEDecode().decode(self.demo[2], latent)[0]


# --- the stations, in the order of a graph ----------------------------------------------------------------------------


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
        inversion, noise, reconstruction, _, psnr, _ = world.inverted(
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
        "refine": world.edit(LONGER, blend_source="ball", blend_target="striped, ball", cross_window=0.8),
        "re-weight": world.edit(SOURCE, word_weights="red: 2, ball: 0.5", cross_window=0.8),
        "mask": world.edit(mask=square),
        "blend frozen": world.edit(**BLENDED, blend_freeze=0.5),
    }
    for name, edit in edits.items():
        yield f"edit, {name}", world.edited(world.inversion, edit)
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
            "AttentionMaps", model=world.model, inversion=world.inversion, edit=edit, words="ball, beach",
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


def walk(world: World, only: str | None) -> tuple[Results, dict[str, str]]:
    """(results, failures) of all stations: {"what: tensor": tensor}, {station: traceback}."""
    results, failures = {}, {}
    for station in STATIONS:
        name = station.__name__.replace("_", " ")
        if only not in (None, name):
            continue
        try:
            made = station(world)
            for what, tensors in [(name, made)] if isinstance(made, dict) else made:
                results |= {f"{what}: {key}": on_cpu(tensor) for key, tensor in tensors.items()}
        except Exception:  # whatever it is, the other stations are walked
            failures[name] = traceback.format_exc()
        if world.between == "free":  # as the server does, which is in no inference mode
            comfy.model_management.unload_all_models()
            comfy.model_management.soft_empty_cache()
    return results, failures


def on_cpu(tensor: Tensor) -> Tensor:
    with torch.inference_mode():
        return tensor.detach().float().cpu().contiguous().clone()


def use_models(folder: Path) -> None:
    """Files are saved to and loaded from a folder."""
    places = {"videop2p_inversions": "inversions", "videop2p_tunings": "tunings", "loras": "loras"}
    for kind, name in places.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        folder_paths.folder_names_and_paths[kind] = ([str(folder / name)], {".safetensors"})
    folder_paths.filename_list_cache.clear()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--between", default="")
    parser.add_argument("--theirs", type=Path)
    parser.add_argument("--only")
    parser.add_argument("--small", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True)
    folder_paths.set_user_directory(str(asked.out / "user"))
    folder_paths.set_temp_directory(str(asked.out / "temp"))
    folder_paths.set_output_directory(str(asked.out / "output"))
    use_models(asked.out / "models")
    results, failures = walk(World(asked.between, asked.theirs and asked.theirs / "models", asked.small), asked.only)
    save_file(results, asked.out / "results.safetensors")
    (asked.out / "failures.json").write_text(json.dumps(failures, indent=1))
    notes = sys.modules["pretend_cuda"].notes() if "pretend_cuda" in sys.modules else {}
    (asked.out / "notes.json").write_text(json.dumps(notes, indent=1))


if __name__ == "__main__":
    main()
