"""What the stations of the path work on: models, a clip, inversions and edits, on whatever device there is."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import comfy.model_management
import folder_paths
import torch
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.tests.host import calls
from comfyui_videop2p.tests.host.models import demo_control_net
from comfyui_videop2p.videop2p_core.host.demo_model import load_demo_model
from torch import Tensor

import nodes as stock

FRAMES = 3
SCENE = scenes.Scene(1_000_000, "rabbit", "red", "plain", "beach")
SOURCE, OTHER, LONGER = "a red rabbit on the beach", "a blue rabbit on the beach", "a red striped rabbit on the beach"
BLENDED = {"blend_source": "rabbit", "blend_target": "rabbit", "cross_window": 0.7, "blend_start": 0.0}
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
        targets, source, masks, *places = self.node(
            "DecoupledSample", model=[model or self.model], inversion=[inversion], edit=list(edits), **settings
        )
        results = {f"target {index}": latent["samples"] for index, latent in enumerate(targets)}
        return (
            results
            | {"source": source["samples"]}
            | {f"mask {i}": mask for i, mask in enumerate(masks)}
            | {
                f"{name} place {i}": mask
                for name, group in zip(("old", "new"), places, strict=True)
                for i, mask in enumerate(group)
            }
        )

    @cached_property
    def decoded(self) -> Tensor:
        """The frames of an edit."""
        with torch.inference_mode():
            latent = {"samples": self.edited(self.inversion)["target 0"]}
            return stock.VAEDecode().decode(self.demo[2], latent)[0]


def use_models(folder: Path) -> None:
    """Files are saved to and loaded from a folder."""
    places = {"videop2p_inversions": "inversions", "videop2p_tunings": "tunings", "loras": "loras"}
    for kind, name in places.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        folder_paths.folder_names_and_paths[kind] = ([str(folder / name)], {".safetensors"})
    folder_paths.filename_list_cache.clear()
