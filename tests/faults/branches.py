"""Branches of one graph, as they stand beside each other on an artist's canvas: ours, stock ones, and of both.

A branch is a generator over what its graph passes on: it yields after every node, and returns the tensors that came out
at its end.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import cached_property

import comfy.controlnet
import comfy.model_management
import comfy.ops
import comfy.sample
import comfy.sd
import torch
from comfy.cldm.cldm import ControlNet
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from torch import Tensor

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.diffusion.inversion import InversionSettings
from ...videop2p_core.diffusion.tuning import TuningSettings
from ...videop2p_core.host.demo_model import UNET, load_text_encoder, load_unet
from ...videop2p_core.host.edit import attention_maps as maps
from ...videop2p_core.host.edit.decoupled_guider import DecoupledGuider, DecoupledSampler
from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ...videop2p_core.host.model.frame_attention import Inflation
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.source.inversion import invert
from ...videop2p_core.host.source.tuning import tune, tuned
from .operations import SOURCE, TARGET

import nodes as stock  # ComfyUI's own  # isort: skip

FRAMES, SIDE, STEPS = 3, 16, 2
LORA = {
    "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q": 64,
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v": 128,
}  # square layers, by their width
EDIT = {"cross": 0.5, "temporal": 0.5, "blend_source": ("rabbit",), "blend_target": ("rabbit",)}
ANOTHER = {"cross": 0.75, "temporal": 0.25, "weights": {"star": 2.0}, "blend_source": ("rabbit",), "threshold": 0.1}

Branch = Callable[["Wires"], Generator[None, None, list[Tensor]]]


class Wires:
    """What the nodes of one graph pass on: each made once, for the first branch that asks, as the host does."""

    @cached_property
    def image(self):
        return load_unet()

    @cached_property
    def clip(self):
        return load_text_encoder()

    @cached_property
    def model(self):
        return inflate(self.image, Inflation())

    @cached_property
    def tuned(self):
        learnt = tune(self.model, self.source, self.latent, TuningSettings(steps=2, learning_rate=1e-2))
        return tuned(self.model, learnt)

    @cached_property
    def styled(self):
        """Under a LoRA."""
        return comfy.sd.load_lora_for_models(self.image, None, lora(), 1.0, 0.0)[0]

    @cached_property
    def in_passes(self):
        inflation = Inflation(frames_read="first", temporal_layers=False, frames_per_pass=2, overlap=0)
        return inflate(self.image, inflation)

    @cached_property
    def latent(self):
        return {"samples": 2 * torch.randn(FRAMES, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(0))}

    @cached_property
    def source(self):
        return self.encoded(SOURCE)

    @cached_property
    def null(self):
        return self.encoded("")

    @cached_property
    def edit(self):
        return word_edit(self.clip, SOURCE, TARGET, **EDIT)

    @cached_property
    def another(self):
        return word_edit(self.clip, SOURCE, "a striped red star on the beach", **ANOTHER)

    @cached_property
    def inversion(self):
        return self.inverted(self.model)

    @cached_property
    def control_net(self):
        return random_control_net()

    def encoded(self, text):
        return self.clip.encode_from_tokens_scheduled(self.clip.tokenize(text))

    def inverted(self, model, method="direct", source=None, **settings):
        settings = InversionSettings(**{"method": method, "steps": STEPS, "inner_steps": 2} | settings)
        return invert(model, source or self.source, self.null, self.latent, settings).inversion

    def controlled(self, conditioning):
        hints = torch.rand(FRAMES, 8 * SIDE, 8 * SIDE, 3, generator=torch.Generator().manual_seed(1))
        return stock.ControlNetApply().apply_controlnet(conditioning, self.control_net, hints, 1.0)[0]

    def drawn(self, model, positive=None):
        """What a stock KSampler makes of the clip on a MODEL."""
        noise, given = comfy.sample.prepare_noise(self.latent["samples"], seed=0), (2, 4.0, "euler", "normal")
        conditionings = positive or self.source, self.null
        return [comfy.sample.sample(model, noise, *given, *conditionings, self.latent["samples"], disable_pbar=True)]


def edited(model, inversion, *edits, conditionings=(), **settings) -> list[Tensor]:
    """The source, the targets and where each was edited, as Decoupled Sample has them."""
    done = sample(model, prepare_edit(model, inversion, edits, *conditionings), **settings)
    return [done.source, *done.targets, *(mask for mask in done.masks if mask is not None)]


def lora() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return {
        f"{layer}.lora_{half}.weight": torch.randn(shape, generator=generator) / 4
        for layer, width in LORA.items()
        for half, shape in (("up", (width, 4)), ("down", (4, width)))
    }


def random_control_net():
    """A ControlNet of the demo UNet's architecture, of random weights, as Load ControlNet gives one."""
    settings = {key: value for key, value in UNET.items() if key != "out_channels"}
    network, generator = (
        ControlNet(**settings, hint_channels=3, operations=comfy.ops.manual_cast),
        torch.Generator().manual_seed(3),
    )
    for weight in network.parameters():
        weight.copy_(torch.randn(weight.shape, generator=generator) / max(weight[0].numel(), 16) ** 0.5)
    return comfy.controlnet.ControlNet(network, load_device=comfy.model_management.get_torch_device())


# --- branches ---------------------------------------------------------------------------------------------------------


def stock_sampler(wires):
    model = wires.image
    yield
    return wires.drawn(model)


def stock_sampler_on_clips(wires):
    model = wires.model
    yield
    return wires.drawn(model)


def stock_sampler_under_lora(wires):
    model = wires.styled
    yield
    return wires.drawn(model)


def stock_sampler_under_control_net(wires):
    model, positive = wires.image, wires.controlled(wires.source)
    yield
    return wires.drawn(model, positive)


def controllers(wires):
    first = wires.edit
    yield
    second = wires.another
    yield
    return [conditioning[0][0] for edit in (first, second) for conditioning in (edit.source, edit.target)]


def edit(wires):
    model, asked = wires.model, wires.edit
    yield
    inversion = wires.inversion
    yield
    return edited(model, inversion, asked)


def another_edit(wires):
    model, asked = wires.model, wires.another
    yield
    inversion = wires.inversion
    yield
    return edited(model, inversion, asked, coupled=True)


def edit_with_features_cached(wires):
    model, asked = wires.model, wires.edit
    yield
    inversion = wires.inversion
    yield
    return edited(model, inversion, asked, cache_every=2)


def custom_sampler(wires):
    model, asked = wires.model, wires.edit
    yield
    inversion = wires.inversion
    yield
    guider = DecoupledGuider(model, prepare_edit(model, inversion, [asked]))
    yield
    given = Noise_EmptyNoise(), guider, DecoupledSampler(), inversion.sigmas, wires.latent
    return [SamplerCustomAdvanced.execute(*given).result[0]["samples"]]


def attention_maps(wires):
    model, asked = wires.model, wires.edit
    yield
    parts = prepare_edit(model, wires.inversion, [asked])
    yield
    return [maps.attention_maps(model, parts, asked.plan, ("rabbit",), branch).masks for branch in ("source", "target")]


def kept_edit(wires):
    model, asked = wires.model, wires.edit
    yield
    inversion = wires.inverted(model, record_settings=RecordSettings(cross=0.5))
    yield
    return edited(model, inversion, asked)


def null_text_edit(wires):
    model, asked = wires.model, wires.edit
    yield
    inversion = wires.inverted(model, "shared null-text", inner_steps=1)
    yield
    return [inversion.null, *edited(model, inversion, asked)]


def tuned_edit(wires):
    model = wires.tuned
    yield
    inversion = wires.inverted(model)
    yield
    return edited(model, inversion, wires.edit)


def edit_under_lora(wires):
    model = inflate(wires.styled, Inflation())
    yield
    inversion = wires.inverted(model)
    yield
    return edited(model, inversion, wires.edit)


def edit_under_control_net(wires):
    model, asked = wires.model, wires.edit
    yield
    source, target = wires.controlled(asked.source), wires.controlled(asked.target)
    yield
    inversion = wires.inverted(model, source=source)
    yield
    return edited(model, inversion, asked, conditionings=(source, [target]))


def edit_in_passes(wires):
    model = wires.in_passes
    yield
    inversion = wires.inverted(model)
    yield
    return edited(model, inversion, wires.edit)


BRANCHES: Mapping[str, Branch] = {
    made.__name__.replace("_", " "): made
    for made in (
        stock_sampler, stock_sampler_on_clips, stock_sampler_under_lora, stock_sampler_under_control_net, controllers,
        edit, another_edit, edit_with_features_cached, custom_sampler, attention_maps, kept_edit, null_text_edit,
        tuned_edit, edit_under_lora, edit_under_control_net, edit_in_passes,
    )
}  # fmt: skip
