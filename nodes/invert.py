"""DDIM Invert, and keeping an inversion for later sessions."""

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io, ui
from comfy_execution.graph_utils import ExecutionBlocker
from torch import Tensor

from ..videop2p_core.diffusion.attention_records import RecordSettings
from ..videop2p_core.diffusion.inversion import DIRECT_EXACT, METHODS, InversionSettings
from ..videop2p_core.diffusion.inversion import Inversion as InversionData
from ..videop2p_core.host.comfy.conditioning import Conditioning
from ..videop2p_core.host.comfy.latents import with_sound
from ..videop2p_core.host.cost.origins import origins_of
from ..videop2p_core.host.source.graph_signature import ancestors_of
from ..videop2p_core.host.source.inversion import invert, new_folder
from ..videop2p_core.host.source.reconstruction import SourceFrames
from ..videop2p_core.host.storage import files, saved_names
from .inputs import filename_prefix
from .types import CATEGORY, KEEPING, MEMORY, Inversion

QUICK_STEPS = 20  # of a fresh node; the paper's are InversionSettings.steps
# What stands behind these outputs stops with this sentence.
UNCHECKED = ExecutionBlocker("DDIM Invert checked no reconstruction: connect its vae and images inputs")


class DDIMInvert(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_DDIMInvert",
            display_name="DDIM Invert with Shared Null-Text",
            category=CATEGORY,
            search_aliases=[
                "p2p",
                "video p2p",
                "null text",
                "null-text inversion",
                "ddim inversion",
                "unsample",
                "direct inversion",
            ],
            description=(
                "Finds the noise that a clip comes from and what keeps the source on its path while it is edited. It "
                "depends on the clip and its own prompt alone: changing the target prompt does not run it again."
            ),
            inputs=[
                io.Model.Input("model", tooltip="The inflated, best also tuned, model that will edit the clip."),
                io.Conditioning.Input("source", tooltip="What the clip shows, from a CLIP Text Encode of its own."),
                io.Conditioning.Input("null", tooltip="The null text to guide with: a CLIP Text Encode, often empty."),
                io.Latent.Input("latent", tooltip="The clip, one frame a batch item, from VAE Encode."),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=DIRECT_EXACT,
                    tooltip=(
                        "What brings the source back under guidance. 'direct-exact': exactly and in few steps, for "
                        "Composite Edit. 'virtual' inverts nothing: for exchanging things. 'shared null-text' is the "
                        "paper's, one optimised embedding for all frames, and slow. 'direct', 'negative-prompt' and "
                        "'proximal' need no optimisation; 'proximal' edits more gently."
                    ),
                ),
                io.Int.Input(
                    "steps",
                    default=QUICK_STEPS,
                    min=1,
                    max=500,
                    tooltip=(
                        "DDIM steps up to the noise. Editing takes as many steps down again. 'direct-exact' and "
                        "'virtual' do with 8 to 20, the paper's 'shared null-text' takes 50."
                    ),
                ),
                io.Float.Input(
                    "cfg",
                    default=InversionSettings.cfg,
                    min=1.0,
                    max=30.0,
                    step=0.1,
                    tooltip="Guidance of the source reconstruction and, later, of the edit.",
                ),
                io.Int.Input(
                    "rounds",
                    default=InversionSettings.rounds,
                    min=0,
                    max=10,
                    advanced=True,
                    tooltip=(
                        "Fixed-point rounds: each repeats a step of the inversion at its own estimate, which makes the "
                        "path more exact and costs one more prediction a step. 0 is plain DDIM."
                    ),
                ),
                io.Int.Input(
                    "inner_steps",
                    default=InversionSettings.inner_steps,
                    min=1,
                    max=100,
                    advanced=True,
                    tooltip="Null-text methods: at most so many updates of the embedding in each step.",
                ),
                io.Float.Input(
                    "epsilon",
                    default=InversionSettings.epsilon,
                    min=0.0,
                    max=1.0,
                    step=1e-6,
                    round=False,
                    advanced=True,
                    tooltip="Null-text methods: updates of a step end once its loss is below this (plus 2e-5 a step).",
                ),
                io.Combo.Input(
                    "memory",
                    options=list(MEMORY),
                    default=MEMORY[0],
                    advanced=True,
                    tooltip=(
                        "Null-text methods: 'save memory' computes activations a second time instead of keeping them, "
                        "for about a third more time and the same numbers."
                    ),
                ),
                io.Combo.Input(
                    "keep_source",
                    options=list(KEEPING),
                    default=KEEPING[0],
                    advanced=True,
                    tooltip=(
                        "Keeps what the source's attention saw, so that no edit of this inversion runs the source "
                        "again: a third faster. Exact for 'direct-exact' and 'virtual', but for its half precision; an "
                        "approximation for 'direct', which fixed-point rounds bring nearer. Not saved by Save "
                        "Inversion."
                    ),
                ),
                io.Float.Input(
                    "kept_cross_window",
                    default=RecordSettings.cross,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="With keep_source: the largest cross window that an edit will have.",
                ),
                io.Float.Input(
                    "kept_temporal_window",
                    default=RecordSettings.temporal,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="With keep_source: the largest temporal window that an edit will have.",
                ),
                io.Vae.Input(
                    "vae",
                    optional=True,
                    tooltip="With images: checks how much of them a replay from the noise brings back.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The frames that were encoded. The check costs 'direct' one more prediction a step.",
                ),
                io.Int.Input(
                    "noise_seed",
                    optional=True,
                    default=InversionSettings.seed,
                    min=0,
                    max=2**64 - 1,
                    control_after_generate=False,
                    advanced=True,
                    tooltip="Of the noise that is drawn for virtual, and for fresh noise: another draws the edit anew.",
                ),
                io.Float.Input(
                    "kept_structure_window",
                    optional=True,
                    default=RecordSettings.structure,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "With keep_source: the largest structure window that an edit will have without running the "
                        "source again; 1 for new colours and patterns. Several times the memory of the rest."
                    ),
                ),
            ],
            outputs=[
                Inversion.Output(display_name="inversion", tooltip="Everything that an edit needs of the source."),
                io.Latent.Output(
                    id="noise",
                    display_name="noise",
                    tooltip=(
                        "The noise that the clip was inverted to. A stock sampler goes on from it with DisableNoise "
                        "and the sigmas of this node."
                    ),
                ),
                io.Latent.Output(
                    id="reconstruction",
                    display_name="reconstruction",
                    tooltip="The clip run down again without an edit: as good as any edit of it can keep the rest.",
                ),
                io.String.Output(display_name="report", tooltip="Settings and reconstruction error, in words."),
                io.Float.Output(
                    display_name="psnr",
                    tooltip="With vae and images: dB of a replay from the noise, the mean of all frames.",
                ),
                io.Image.Output(
                    id="plot",
                    display_name="plot",
                    tooltip="With vae and images: dB of every frame, beside those of the VAE alone, the upper bound.",
                ),
                io.Sigmas.Output(
                    id="sigmas",
                    display_name="sigmas",
                    tooltip="The noise levels of the inversion, noisiest first: for a sampler that goes on from noise.",
                ),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        source: Conditioning,
        null: Conditioning,
        latent: dict[str, Any],
        method: str,
        steps: int,
        cfg: float,
        rounds: int,
        inner_steps: int,
        epsilon: float,
        memory: str,
        keep_source: str,
        kept_cross_window: float,
        kept_temporal_window: float,
        vae: Any = None,
        images: Tensor | None = None,
        noise_seed: int = InversionSettings.seed,
        kept_structure_window: float = RecordSettings.structure,
    ) -> io.NodeOutput:
        folder = new_folder() if keep_source == "on disk" else None
        windows = kept_cross_window, kept_temporal_window
        recorded = RecordSettings(*windows, folder, structure=kept_structure_window)
        settings = InversionSettings(
            method,
            steps,
            rounds,
            cfg,
            inner_steps,
            epsilon,
            checkpointing=memory == MEMORY[1],
            record_settings=None if keep_source == "off" else recorded,
            seed=noise_seed,
        )
        done = invert(
            model, source, null, latent, settings, SourceFrames.of(vae, images), ancestors=ancestors_of(cls.hidden),
            origins=origins_of(cls.hidden),
        )  # fmt: skip
        sound = done.inversion.sound
        latents = with_sound(done.noise, sound, noisy=True), with_sound(done.reconstruction, sound)
        checked = (done.check.mean, done.check.plot()) if done.check else (UNCHECKED, UNCHECKED)
        return io.NodeOutput(done.inversion, *latents, done.report, *checked, done.inversion.sigmas)


class SaveInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_SaveInversion",
            display_name="Save Inversion",
            category=CATEGORY,
            search_aliases=["video p2p", "save null-text", "export inversion"],
            description="Keeps an inversion in models/videop2p/inversions, so that later edits need not invert again.",
            inputs=[
                Inversion.Input("inversion", tooltip="The inversion to keep."),
                filename_prefix("inversion"),
            ],
            outputs=[],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, inversion: InversionData, filename_prefix: str) -> io.NodeOutput:
        left = "\nwithout the kept source: edits of it run the source again" * (inversion.records is not None)
        return io.NodeOutput(ui=ui.PreviewText(files.save(saved_names.INVERSIONS, inversion, filename_prefix) + left))


class LoadInversion(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_LoadInversion",
            display_name="Load Inversion",
            category=CATEGORY,
            search_aliases=["video p2p", "load null-text", "import inversion"],
            description="An inversion that Save Inversion kept. Use it with the model that it was made with.",
            inputs=[
                io.Combo.Input(
                    "inversion_name",
                    options=saved_names.saved_names(saved_names.INVERSIONS),
                    tooltip="A file in models/videop2p/inversions.",
                )
            ],
            outputs=[Inversion.Output(display_name="inversion", tooltip="Ready for Decoupled Sample.")],
        )

    @classmethod
    def validate_inputs(cls, inversion_name: str | None) -> bool | str:
        return saved_names.validated(saved_names.INVERSIONS, inversion_name)

    @classmethod
    def fingerprint_inputs(cls, inversion_name: str) -> str:
        return saved_names.changed(saved_names.INVERSIONS, inversion_name)

    @classmethod
    def execute(cls, inversion_name: str) -> io.NodeOutput:
        return io.NodeOutput(files.load_inversion(inversion_name))


NODES = [DDIMInvert, SaveInversion, LoadInversion]
