"""The long work of the pack on the demo model, small, each as a function of the MODEL that gives tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import comfy.model_management
import latent_preview
import torch
from torch import Tensor

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.diffusion.inversion import InversionSettings
from ...videop2p_core.diffusion.tuning import TuningSettings
from ...videop2p_core.host.demo_model import load_demo_model
from ...videop2p_core.host.edit.attention_maps import attention_maps
from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.source.inversion import invert, new_folder
from ...videop2p_core.host.source.tuning import tune

FRAMES, SIDE, STEPS = 2, 16, 4
SOURCE, TARGET = "a red ball on the beach", "a blue ball on the beach"

SMALLER = ("tuning", "null text")  # with a smaller mode for so few frames
KEEPING = ("inversion", "null text", "tuning")  # with steps that an unfinished run keeps

Operation = Callable[[object], list[Tensor]]


@dataclass
class World:
    """The demo model, inflated, and a clip of noise to work on."""

    def __post_init__(self):
        image, self.clip, _ = load_demo_model()
        self.model = inflate(image, Inflation())
        generator = torch.Generator().manual_seed(0)
        self.latent = {"samples": torch.randn(FRAMES, 4, SIDE, SIDE, generator=generator)}
        self.source, self.null = (
            self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text)) for text in (SOURCE, "")
        )
        self.edit = word_edit(
            self.clip, SOURCE, TARGET, cross=0.5, temporal=0.5, blend_source=("ball",), blend_target=("ball",)
        )
        self.inversion = self.inverted(self.model, "direct").inversion
        self.kept = self.inverted(self.model, "direct", kept=RecordSettings(0.5, 0.5, new_folder())).inversion

    def inverted(self, model, method, **settings):
        settings = InversionSettings(method, STEPS, inner_steps=2, **settings)
        return invert(model, self.source, self.null, self.latent, settings)

    def operations(self) -> dict[str, Operation]:
        def edited(model, inversion=self.inversion, edits=1, **settings):
            callback = latent_preview.prepare_callback(model, STEPS)
            done = sample(model, prepare_edit(model, inversion, [self.edit] * edits), callback=callback, **settings)
            return [done.source, *done.targets, *done.masks]

        def tuned(model):
            found = tune(model, self.source, self.latent, TuningSettings(STEPS, learning_rate=1e-3))
            return [found.losses, *found.deltas.values(), *found.temporal.values()]

        def mapped(model):
            parts = prepare_edit(model, self.inversion, [self.edit])
            return [attention_maps(model, parts, self.edit.plan, ("ball",), "source").masks]

        return {
            "inversion": lambda model: [self.inverted(model, "direct").inversion.trajectory],
            "inversion that keeps": lambda model: [
                self.inverted(model, "direct", kept=RecordSettings()).inversion.trajectory
            ],
            "null text": lambda model: [self.inverted(model, "shared null-text").inversion.null],
            "tuning": tuned,
            "edit": edited,
            "edit, features cached": lambda model: edited(model, cache_every=2),
            "two edits of a kept source": lambda model: edited(model, self.kept, edits=2),
            "attention maps": mapped,
        }


def run(operation: Operation, model) -> list[Tensor]:
    """As ComfyUI runs a node."""
    comfy.model_management.interrupt_current_processing(False)
    with torch.inference_mode():
        return operation(model)
