"""Tunings for other software: as a LoRA, or as a whole UNet in the layout of the official code."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui

from ..videop2p_core.host.storage.export_tuning import as_lora, as_unet
from .types import CATEGORY

LORA, DIFFUSERS = "LoRA", "diffusers"


class ExportTuning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_ExportTuning",
            display_name="Export Tuning",
            category=CATEGORY,
            search_aliases=["video p2p", "save lora", "extract lora", "tune-a-video checkpoint", "save diffusers"],
            description=(
                "Writes the tuning of a model for other software: as an ordinary LoRA, with its temporal part in a "
                "second file for Load Tuning, or as a whole UNet in the layout of the official Video-P2P and "
                "Tune-A-Video."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The tuned model, from Tune on Video or Load Tuning."),
                io.Combo.Input(
                    "layout",
                    options=[LORA, DIFFUSERS],
                    default=LORA,
                    tooltip=(
                        "LoRA: a file in models/loras for any LoRA loader, and the temporal part in "
                        "models/videop2p/tunings. diffusers: a folder in models/videop2p/tunings with the whole UNet, "
                        "LoRAs before it merged in, in 32 bits (4 GB for Stable Diffusion 1.5)."
                    ),
                ),
                io.Int.Input(
                    "rank",
                    default=64,
                    min=1,
                    max=2048,
                    tooltip=(
                        "Of the LoRA: higher loses less and makes a larger file. What is lost is told on the node. At "
                        "the width of the layers, 320 to 1280 in Stable Diffusion 1.5, it is nothing."
                    ),
                ),
                io.String.Input(
                    "filename_prefix",
                    default="tuning",
                    tooltip="The beginning of the names; a number is added, so nothing is overwritten.",
                ),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: ModelPatcher, layout: str, rank: int, filename_prefix: str) -> io.NodeOutput:
        written = as_lora(model, rank, filename_prefix) if layout == LORA else as_unet(model, filename_prefix)
        return io.NodeOutput(ui=ui.PreviewText(written))


NODES = [ExportTuning]
