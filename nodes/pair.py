"""Model Pair: the two experts of Wan 2.2 14B as one model."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io

from ..videop2p_core.host.model.pair_experts import pair_experts
from .types import CATEGORY

BOUNDARY = 0.875  # of Wan 2.2 text to video


class ModelPair(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_ModelPair",
            display_name="Model Pair",
            category=CATEGORY,
            search_aliases=["video p2p", "wan 2.2 14b", "high noise", "low noise", "experts", "two models", "moe"],
            description=(
                "Makes the high-noise and the low-noise model of Wan 2.2 14B one model, for DDIM Invert, an edit or "
                "any sampler: each step is drawn by the one that its noise level belongs to."
            ),
            inputs=[
                io.Model.Input(
                    "high_noise",
                    tooltip="The high-noise model, with its own LoRAs and ModelSamplingSD3 before this node.",
                ),
                io.Model.Input("low_noise", tooltip="The low-noise model, with its own, and the same shift."),
                io.Float.Input(
                    "boundary",
                    default=BOUNDARY,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    tooltip=(
                        "The noise level below which the low-noise model draws: 0.875 for Wan 2.2 text to video, 0.9 "
                        "for image to video. Graphs that switch after half of the steps, at shift 8, do so at 0.889."
                    ),
                ),
            ],
            outputs=[io.Model.Output(tooltip="Both, as one model. Put nodes for guidance behind it.")],
        )

    @classmethod
    def execute(cls, high_noise: ModelPatcher, low_noise: ModelPatcher, boundary: float) -> io.NodeOutput:
        return io.NodeOutput(pair_experts(high_noise, low_noise, boundary))


NODES = [ModelPair]
