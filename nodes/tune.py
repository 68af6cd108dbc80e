"""Tune on Video, and keeping a tuning for later sessions."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui

from ..videop2p_core.diffusion.tuning import Tuning as Tuned
from ..videop2p_core.diffusion.tuning import TuningSettings
from ..videop2p_core.host.comfy.conditioning import Conditioning
from ..videop2p_core.host.cost.origins import origins_of
from ..videop2p_core.host.images.plots import loss_plot
from ..videop2p_core.host.source.graph_signature import ancestors_of
from ..videop2p_core.host.source.tuning import tune, tuned
from ..videop2p_core.host.storage import files, saved_names
from .inputs import filename_prefix
from .types import CATEGORY, MEMORY, Tuning

QUICK_STEPS, PATIENCE = 150, 50  # of a fresh node; the paper's are in TuningSettings


class TuneOnVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_TuneOnVideo",
            display_name="Tune on Video",
            category=CATEGORY,
            search_aliases=["video p2p", "one-shot tuning", "tune-a-video", "finetune", "train"],
            description=(
                "Trains the attention of an inflated model on the clip itself, so that frames hold together. Once for "
                "each clip: the tuning serves every edit of it."
            ),
            inputs=[
                io.Model.Input("model", tooltip="From Inflate UNet. It is left as it is."),
                io.Conditioning.Input("positive", tooltip="What the clip shows, from a CLIP Text Encode of its own."),
                io.Latent.Input("latent", tooltip="The clip, one frame a batch item, from VAE Encode."),
                io.Int.Input(
                    "steps",
                    default=QUICK_STEPS,
                    min=1,
                    max=10000,
                    tooltip="Training steps. The paper takes 500; 100 to 300 often do.",
                ),
                io.Float.Input(
                    "learning_rate",
                    default=TuningSettings.learning_rate,
                    min=1e-7,
                    max=1e-2,
                    step=1e-6,
                    round=False,
                    tooltip="How far each step goes. Higher learns faster and forgets more of the model.",
                ),
                io.Int.Input(
                    "seed",
                    default=TuningSettings.seed,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=io.ControlAfterGenerate.fixed,
                    tooltip="Draws the noise of every training step; the same seed gives the same tuning.",
                ),
                io.Combo.Input(
                    "memory",
                    options=list(MEMORY),
                    default=MEMORY[0],
                    advanced=True,
                    tooltip=(
                        "'save memory' computes activations a second time instead of keeping them, for about a third "
                        "more time and the same numbers."
                    ),
                ),
                io.Int.Input(
                    "patience",
                    optional=True,
                    default=PATIENCE,
                    min=0,
                    max=10000,
                    advanced=True,
                    tooltip=(
                        "Stops early once the loss, probed at four fixed noise levels, has not fallen by 1 % for so "
                        "many steps; 50 to 100 do. The probe costs 4 predictions every 10 steps. 0 takes all steps."
                    ),
                ),
                io.Int.Input(
                    "preview_every",
                    optional=True,
                    default=0,
                    min=0,
                    max=10000,
                    advanced=True,
                    tooltip=(
                        "Every so many steps the clip is shown on the node as the model sees it through noise, at the "
                        "cost of one more prediction. 0 shows the loss curve alone."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="A clone of the model with the tuning in it."),
                Tuning.Output(display_name="tuning", tooltip="What was learnt, for Save Tuning."),
                io.Image.Output(display_name="loss", tooltip="The loss of every step, and its running mean."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        positive: Conditioning,
        latent: dict[str, Any],
        steps: int,
        learning_rate: float,
        seed: int,
        memory: str,
        patience: int = 0,
        preview_every: int = 0,
    ) -> io.NodeOutput:
        settings = TuningSettings(
            steps=steps, learning_rate=learning_rate, seed=seed, patience=patience, checkpointing=memory == MEMORY[1]
        )
        tuning = tune(
            model, positive, latent, settings, show_every=preview_every, ancestors=ancestors_of(cls.hidden),
            origins=origins_of(cls.hidden),
        )  # fmt: skip
        return io.NodeOutput(tuned(model, tuning), tuning, loss_plot(tuning.losses))


class SaveTuning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_SaveTuning",
            display_name="Save Tuning",
            category=CATEGORY,
            search_aliases=["video p2p", "export tuning", "save delta"],
            description="Keeps a tuning in models/videop2p/tunings.",
            inputs=[
                Tuning.Input("tuning", tooltip="The tuning to keep."),
                filename_prefix("tuning"),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, tuning: Tuned, filename_prefix: str) -> io.NodeOutput:
        return io.NodeOutput(ui=ui.PreviewText(files.save(saved_names.TUNINGS, tuning, filename_prefix)))


class LoadTuning(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_LoadTuning",
            display_name="Load Tuning",
            category=CATEGORY,
            search_aliases=["video p2p", "import tuning", "load delta", "tune-a-video checkpoint", "load diffusers"],
            description=(
                "Puts a tuning that was kept into an inflated model, instead of tuning again: one of Save Tuning, the "
                "temporal part of Export Tuning, or a checkpoint of the official Video-P2P or Tune-A-Video."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The same checkpoint, inflated as it was for the tuning."),
                io.Combo.Input(
                    "tuning_name",
                    options=saved_names.saved_names(saved_names.TUNINGS),
                    tooltip=(
                        "A file in models/videop2p/tunings, or a diffusers folder there: of a whole pipeline or of its "
                        "UNet."
                    ),
                ),
            ],
            outputs=[
                io.Model.Output(tooltip="A clone of the model with the tuning in it."),
                Tuning.Output(display_name="tuning", tooltip="The tuning itself."),
            ],
        )

    @classmethod
    def validate_inputs(cls, tuning_name: str | None) -> bool | str:
        return saved_names.validated(saved_names.TUNINGS, tuning_name)

    @classmethod
    def fingerprint_inputs(cls, tuning_name: str, **_inputs: Any) -> str:
        return saved_names.changed(saved_names.TUNINGS, tuning_name)

    @classmethod
    def execute(cls, model: ModelPatcher, tuning_name: str) -> io.NodeOutput:
        tuning = files.load_tuning(tuning_name, model)
        return io.NodeOutput(tuned(model, tuning), tuning)


NODES = [TuneOnVideo, SaveTuning, LoadTuning]
