"""The long work of the pack on the demo model, small, each as a function of a World and a MODEL that gives tensors.

python tools/pack.py tests.faults.operations FOLDER     saves what each of them gives in a process of its own
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import comfy.model_management
import latent_preview
import torch
from comfy.model_patcher import ModelPatcher
from safetensors.torch import save_file
from torch import Tensor

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.diffusion.inversion import InversionSettings
from ...videop2p_core.diffusion.tuning import TuningSettings
from ...videop2p_core.host.demo_model import load_demo_model
from ...videop2p_core.host.edit import attention_maps
from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.source.inversion import invert, new_folder
from ...videop2p_core.host.source.tuning import tune

FRAMES, SIDE, STEPS = 2, 16, 4
SOURCE, TARGET = "a red rabbit on the beach", "a blue rabbit on the beach"
QUEUED = {"ancestors": "the world's own"}  # a run that comes from nowhere keeps nothing


@dataclass
class World:
    """The demo model, inflated, and a clip of noise to work on."""

    @torch.inference_mode()
    def __post_init__(self):
        image, self.clip, _ = load_demo_model()
        self.model = inflate(image, Inflation())
        generator = torch.Generator().manual_seed(0)
        self.latent = {"samples": torch.randn(FRAMES, 4, SIDE, SIDE, generator=generator)}
        self.source, self.null = (
            self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in (SOURCE, "")
        )
        self.edit = word_edit(
            self.clip, SOURCE, TARGET, cross=0.5, temporal=0.5, blend_source=("rabbit",), blend_target=("rabbit",)
        )
        self.inversion = self.inverted(self.model)
        self.kept = self.inverted(self.model, record_settings=RecordSettings(0.5, 0.5, new_folder()))

    def inverted(self, model, method="direct", **settings):
        settings = InversionSettings(method, STEPS, inner_steps=2, **settings)
        return invert(model, self.source, self.null, self.latent, settings, **QUEUED).inversion


Operation = Callable[[World, ModelPatcher], list[Tensor]]


def inversion(world: World, model: ModelPatcher, **settings) -> list[Tensor]:
    return [world.inverted(model, **settings).trajectory]


def null_text(world: World, model: ModelPatcher, **settings) -> list[Tensor]:
    return [world.inverted(model, "shared null-text", **settings).null]


def tuning(world: World, model: ModelPatcher, steps=STEPS, **settings) -> list[Tensor]:
    settings = TuningSettings(steps, learning_rate=1e-3, **settings)
    found = tune(model, world.source, world.latent, settings, **QUEUED)
    return [found.losses, *found.deltas.values(), *found.temporal.values()]


def edit(world: World, model: ModelPatcher, inversion=None, edits=1, **settings) -> list[Tensor]:
    parts = prepare_edit(model, inversion or world.inversion, [world.edit] * edits)
    done = sample(model, parts, callback=latent_preview.prepare_callback(model, STEPS), **settings)
    return [done.source, *done.targets, *done.masks]


def maps(world: World, model: ModelPatcher) -> list[Tensor]:
    parts = prepare_edit(model, world.inversion, [world.edit])
    return [attention_maps.attention_maps(model, parts, world.edit.plan, ("rabbit",), "source").masks]


OPERATIONS: dict[str, Operation] = {
    "inversion": inversion,
    "inversion that keeps": lambda world, model: inversion(world, model, record_settings=RecordSettings()),
    "null text": null_text,
    "tuning": tuning,
    "edit": edit,
    "edit, features cached": lambda world, model: edit(world, model, cache_every=2),
    "two edits of a kept source": lambda world, model: edit(world, model, world.kept, edits=2),
    "attention maps": maps,
}
SMALLER = ("tuning", "null text")  # with a smaller mode for so few frames
KEEPING = ("inversion", "null text", "tuning")  # with steps that an unfinished run keeps


def run(operation: Operation, world: World, model: ModelPatcher | None = None) -> list[Tensor]:
    """As ComfyUI runs a node; on the world's own MODEL, if on no other."""
    comfy.model_management.interrupt_current_processing(False)
    with torch.inference_mode():
        return operation(world, model or world.model)


def main(folder: str) -> None:
    torch.set_num_threads(1)
    world = World()
    for name, operation in OPERATIONS.items():
        made = {str(i): value.contiguous().clone() for i, value in enumerate(run(operation, world))}
        save_file(made, Path(folder, f"{name}.safetensors"))


if __name__ == "__main__":
    main(*sys.argv[1:])
