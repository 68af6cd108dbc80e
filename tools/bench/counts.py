"""Forwards of a clip, counted: a whole inversion and edit of the demo model, which asks as often as any other."""

from __future__ import annotations

from dataclasses import replace

import torch
from comfy.patcher_extension import WrappersMP

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.diffusion.inversion import DIRECT, InversionSettings
from ...videop2p_core.host.demo_model import load_demo_model
from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.source import inversion
from .meter import Meter

STEPS, FRAMES = 50, 2
SOURCE, TARGET = "a red rabbit on the beach", "a blue rabbit on the beach"


@torch.inference_mode()  # as nodes run
def counts() -> dict[str, float]:
    """Direct inversion, an edit with the default windows and without blend words."""
    model, clip, _ = load_demo_model()
    model, meter = inflate(model, Inflation("first")), Meter(FRAMES)
    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
    source, null = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (SOURCE, ""))
    latent = torch.randn(FRAMES, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    inverted = inversion.invert_latent(
        model, source, null, latent, InversionSettings(DIRECT, STEPS, record_settings=RecordSettings())
    )
    of_inversion = meter.forwards()

    def of_edit(inverted):
        sample(model, prepare_edit(model, inverted, [word_edit(clip, SOURCE, TARGET)]))
        return meter.forwards()

    exact, with_records = of_edit(replace(inverted, records=None)), of_edit(inverted)
    return {
        "inversion_forwards": of_inversion,
        "edit_forwards": exact,
        "stage_2_forwards": of_inversion + exact,
        "edit_forwards_kept": with_records,
        "stage_2_forwards_kept": of_inversion + with_records,
    }
