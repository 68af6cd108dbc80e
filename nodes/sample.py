"""Decoupled Sample: the edit itself, as one node or as a guider and a sampler for SamplerCustomAdvanced."""

from collections.abc import Sequence
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..videop2p_core.diffusion.inversion import Inversion as InversionData
from ..videop2p_core.host.comfy.conditioning import Conditioning
from ..videop2p_core.host.comfy.latents import latent_out, with_sound
from ..videop2p_core.host.comfy.progress import edit_progress
from ..videop2p_core.host.cost.origins import origins_of
from ..videop2p_core.host.edit.decoupled_guider import DecoupledGuider, DecoupledSampler
from ..videop2p_core.host.edit.edit_inputs import WordEdit, pixel_mask, pixel_places, prepare_edit, sample
from .inputs import an_edit, replacements
from .types import CATEGORY

GUIDANCES = ("decoupled", "coupled")


def guidance() -> io.Combo.Input:
    return io.Combo.Input(
        "guidance",
        options=list(GUIDANCES),
        default=GUIDANCES[0],
        advanced=True,
        tooltip=(
            "'decoupled' guides the target by the plain null text, as the paper does. 'coupled' guides it by what "
            "guides the source: the paper's ablation, which reconstructs but hardly edits."
        ),
    )


def cache_every() -> io.Int.Input:
    return io.Int.Input(
        "cache_every",
        default=1,
        min=1,
        max=10,
        advanced=True,
        tooltip=(
            "Faster at some loss: only every n-th step evaluates the whole UNet, the others its full resolution alone "
            "and take the rest from the last whole one. 1 evaluates all; the larger, the further from that edit."
        ),
    )


class DecoupledSample(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_DecoupledSample",
            display_name="Decoupled Sample",
            category=CATEGORY,
            search_aliases=["p2p", "video p2p", "prompt to prompt", "edit video", "decoupled guidance", "ksampler"],
            description=(
                "Edits an inverted clip. Several edits (a list of them, from Create List) share one run of the source "
                "and come back as a list in the same order."
            ),
            is_input_list=True,
            inputs=[
                *an_edit("From Attention Controller, or a list from several of them."),
                guidance(),
                *replacements(),
                cache_every(),
            ],
            outputs=[
                io.Latent.Output(
                    id="edited", display_name="edited", is_output_list=True, tooltip="The edited clip, for each edit."
                ),
                io.Latent.Output(
                    id="reconstruction",
                    display_name="reconstruction",
                    tooltip="The source as this run kept it: if it is off, the inversion is at fault, not the edit.",
                ),
                io.Mask.Output(
                    display_name="mask",
                    is_output_list=True,
                    tooltip="Where the edit was let through, one mask a frame; white all over without a blend or mask.",
                ),
                io.Mask.Output(
                    id="old_place",
                    display_name="old place",
                    is_output_list=True,
                    tooltip=(
                        "Where the source's blend words are, for Composite Edit: after an exact inversion, else white."
                    ),
                ),
                io.Mask.Output(
                    id="new_place",
                    display_name="new place",
                    is_output_list=True,
                    tooltip=(
                        "Where the target's blend words are, for Composite Edit: after an exact inversion, else white."
                    ),
                ),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: list[ModelPatcher],
        inversion: list[InversionData],
        edit: list[WordEdit],
        guidance: list[str],
        cache_every: list[int],
        source: list[Conditioning] | None = None,
        target: Sequence[Conditioning] = (),
        null: list[Conditioning] | None = None,
    ) -> io.NodeOutput:
        model, inversion, guidance, cache_every, source, null = map(
            one, (model, inversion, guidance, cache_every, source, null)
        )
        prepared = prepare_edit(model, inversion, edit, source, target, null, cache_every=cache_every)
        edited = sample(
            model, prepared, coupled=guidance == "coupled", cache_every=cache_every,
            callback=edit_progress(model, inversion.steps, "Decoupled Sample"), origins=origins_of(cls.hidden),
        )  # fmt: skip
        return io.NodeOutput(
            [with_sound(latent, inversion.sound) for latent in edited.targets],
            with_sound(edited.source, inversion.sound),
            [pixel_mask(model, *pair) for pair in zip(edited.masks, edited.targets, strict=True)],
            *pixel_places(model, edited),
        )


def one(values: list | None) -> Any:
    """The only item of a list input; what is not connected stays None."""
    if values is not None and len(values) != 1:
        raise ValueError(
            f"Decoupled Sample takes lists of edits and targets, but one model, inversion, source and null; it was "
            f"given {len(values)} of one of these: connect a single one"
        )
    return values and values[0]


class DecoupledGuiderNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_DecoupledGuider",
            display_name="Decoupled Guider",
            category=CATEGORY,
            search_aliases=["video p2p", "guider", "samplercustomadvanced", "prompt to prompt"],
            description="The edit as a guider: for SamplerCustomAdvanced, together with Decoupled Sampler.",
            inputs=[
                *an_edit("From Attention Controller."),
                *replacements(),
                cache_every(),
            ],
            outputs=[
                io.Guider.Output(tooltip="For the guider input of SamplerCustomAdvanced."),
                io.Sigmas.Output(tooltip="The inversion's noise levels, for the sigmas input."),
                io.Latent.Output(tooltip="The inverted clip, for the latent input; a noise mask may be set on it."),
            ],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        inversion: InversionData,
        edit: WordEdit,
        cache_every: int,
        source: Conditioning | None = None,
        target: Conditioning | None = None,
        null: Conditioning | None = None,
    ) -> io.NodeOutput:
        prepared = prepare_edit(model, inversion, [edit], source, [target], null, cache_every=cache_every)
        latent = latent_out(model.model, inversion.trajectory[0])
        return io.NodeOutput(DecoupledGuider(model, prepared, cache_every), inversion.sigmas, {"samples": latent})


class DecoupledSamplerNode(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_DecoupledSampler",
            display_name="Decoupled Sampler",
            category=CATEGORY,
            search_aliases=["video p2p", "sampler", "samplercustomadvanced", "prompt to prompt"],
            description=(
                "The editing loop as a sampler: for SamplerCustomAdvanced, together with Decoupled Guider. It starts "
                "from the inversion's noise, so the noise input may be any."
            ),
            inputs=[guidance()],
            outputs=[io.Sampler.Output(tooltip="For the sampler input of SamplerCustomAdvanced.")],
        )

    @classmethod
    def execute(cls, guidance: str) -> io.NodeOutput:
        return io.NodeOutput(DecoupledSampler(coupled=guidance == "coupled"))


NODES = [DecoupledSample, DecoupledGuiderNode, DecoupledSamplerNode]
