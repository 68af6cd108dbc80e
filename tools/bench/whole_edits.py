"""Whole edits, inversion included, by each way of making them: forwards of the clip, counted, and seconds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.diffusion.inversion import DIRECT, DIRECT_EXACT, VIRTUAL, InversionSettings
from ...videop2p_core.edit.curves import CROSS_WINDOW, cross_grain, steps_before
from ...videop2p_core.edit.matrices import Edit, no_edit
from ...videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from ...videop2p_core.host.edit.target import PreparedEdit, Target
from ...videop2p_core.host.source.inversion import invert_latent
from .meter import Meter
from .model import TOKENS, Work
from .timing import now

OFFICIAL = {"official, fast": 250.0, "official, null text": 1900.0}  # forwards, counted from its code


@dataclass(frozen=True)
class WholeEdit:
    """guided: the share of the steps that are; structure: whether the source's own attention is taken over."""

    method: str
    steps: int
    guided: float = 1.0
    structure: bool = False

    def edit(self) -> Edit:
        """Half of either map in the cross window."""
        inside = torch.arange(self.steps) < steps_before(CROSS_WINDOW, cross_grain(self.steps))
        source, target = no_edit(TOKENS, TOKENS)
        source = torch.where(inside[:, None, None], torch.eye(TOKENS) / 2, source)
        target = torch.where(inside[:, None], 0.5, target)
        whole = torch.full((self.steps,), self.structure)
        scales = tuple(2.5 if step < self.guided * self.steps else 1.0 for step in range(self.steps))
        return Edit(source, target, torch.zeros(self.steps, dtype=torch.bool), whole, guidance=scales)


WHOLE_EDITS = {
    "published, direct, 50 steps": WholeEdit(DIRECT, 50),
    "direct-exact, 20 steps": WholeEdit(DIRECT_EXACT, 20, structure=True),
    "direct-exact, 8 steps": WholeEdit(DIRECT_EXACT, 8, structure=True),
    "virtual, 8 steps": WholeEdit(VIRTUAL, 8),
    "direct-exact, 6 steps, half of them guided": WholeEdit(DIRECT_EXACT, 6, 0.5, structure=True),
    "virtual, 4 steps, not guided": WholeEdit(VIRTUAL, 4, 0.0),
}


def whole_edits(work: Work) -> Iterator[tuple[str, float, float]]:
    """(name, forwards, seconds) of each, as soon as it is known. What is kept of a source lies in memory."""
    meter = Meter(len(work.latent))
    model = work.inflated.clone()
    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
    for name, way in WHOLE_EDITS.items():
        began = now()
        run_whole(model, work, way)
        yield name, meter.forwards(), now() - began


@torch.inference_mode()  # as nodes run
def run_whole(model: ModelPatcher, work: Work, way: WholeEdit) -> None:
    keeps = way.method != VIRTUAL
    records = RecordSettings(temporal=0.0, structure=float(way.structure)) if keeps else None
    settings = InversionSettings(way.method, way.steps, record_settings=records)
    inverted = invert_latent(model, work.source, work.null, work.latent, settings)
    decoupled_sample(model, PreparedEdit(inverted, work.source, work.null, [Target(work.target, way.edit())]))
