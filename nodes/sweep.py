"""A sweep over the settings of an edit, and the sheet on which its clips are compared."""

from comfy.sd import CLIP
from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.edit.sweep import label, parse_sweep
from ..videop2p_core.host.edit.edit_inputs import WordEdit
from ..videop2p_core.host.edit.sweep import sweep_edits
from ..videop2p_core.host.images.contact_sheet import contact_sheet
from ..videop2p_core.host.images.preview import checked_fps
from .inputs import fps
from .types import CATEGORY, Edit, animated


class SweepEdits(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_SweepEdits",
            display_name="Sweep Edits",
            category=CATEGORY,
            search_aliases=["video p2p", "xy plot", "grid search", "try settings", "parameter sweep", "prompt list"],
            description=(
                "Makes one edit into many that differ in cross window, weight of a word or target prompt. Decoupled "
                "Sample runs them all from one inversion and one pass of the source, Contact Sheet shows them together."
            ),
            inputs=[
                Edit.Input("edit", tooltip="From Attention Controller: what is not tried here stays as it says."),
                io.String.Input(
                    "cross_windows",
                    default="0.2, 0.5, 0.8",
                    placeholder="0.2, 0.5, 0.8",
                    tooltip=(
                        "Cross windows to try, 0 to 1, separated by commas: a column each. Empty: the edit's own."
                    ),
                ),
                io.String.Input(
                    "word",
                    default="",
                    placeholder="origami",
                    tooltip="A word of the target prompt, of all of them, to try weights on. Empty: none.",
                ),
                io.String.Input(
                    "word_weights",
                    default="0.5, 1, 2",
                    placeholder="0.5, 1, 2",
                    tooltip=(
                        "Weights to try on that word, separated by commas: a row each. A weight acts only inside the "
                        "cross window, so that it shows little where that is short."
                    ),
                ),
                io.String.Input(
                    "target_prompts",
                    default="",
                    multiline=True,
                    placeholder="a gorilla drives a motorbike",
                    tooltip=(
                        "Further target prompts, one a line, each in all variants; they need the clip. A blend word of "
                        "the target that such a prompt does not have is left out for it. Empty: the edit's own alone."
                    ),
                ),
                io.Clip.Input(
                    "clip", optional=True, tooltip="The CLIP of the Attention Controller, for further target prompts."
                ),
            ],
            outputs=[
                Edit.Output(
                    id="edits",
                    display_name="edits",
                    is_output_list=True,
                    tooltip="For Decoupled Sample, row by row; 64 at most.",
                ),
                io.String.Output(
                    id="labels",
                    display_name="labels",
                    is_output_list=True,
                    tooltip="What sets each edit apart, for Contact Sheet.",
                ),
                io.Int.Output(id="columns", display_name="columns", tooltip="How many edits make a row of the grid."),
            ],
        )

    @classmethod
    def execute(
        cls,
        edit: WordEdit,
        cross_windows: str,
        word: str,
        word_weights: str,
        target_prompts: str,
        clip: CLIP | None = None,
    ) -> io.NodeOutput:
        sweep = parse_sweep(cross_windows, word, word_weights, target_prompts)
        edits = sweep_edits(edit, clip, sweep.prompts, word=sweep.word, weights=sweep.weights, windows=sweep.windows)
        labels = [label(swept.plan, sweep.word, prompt=bool(sweep.prompts)) for swept in edits]
        return io.NodeOutput(edits, labels, max(len(sweep.windows), 1))


class ContactSheet(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_ContactSheet",
            display_name="Contact Sheet",
            category=CATEGORY,
            search_aliases=["video p2p", "image grid", "xy plot", "compare clips", "side by side", "montage"],
            description="Many clips in one picture or one animation, each under its label, row by row.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Image.Input(
                    "images", tooltip="A list of clips, each of as many frames; all are shown in the size of the first."
                ),
                io.String.Input(
                    "labels", default="", force_input=True, tooltip="A label for each clip: from Sweep Edits."
                ),
                io.Int.Input("columns", default=3, min=1, max=64, tooltip="How many clips stand in a row."),
                io.Int.Input(
                    "frame",
                    default=0,
                    min=0,
                    max=10000,
                    tooltip="Which frame is shown, 1 is the first. 0: all of them, as an animation.",
                ),
                fps(),
            ],
            outputs=[
                io.Image.Output(
                    id="sheet",
                    display_name="sheet",
                    tooltip=(
                        "The sheet, a picture for each frame shown, for Create Video or Save Image. Clips are made "
                        "smaller where it would be larger than about 2048 pixels."
                    ),
                ),
            ],
        )

    @classmethod
    def execute(
        cls, images: list[Tensor], labels: list[str], columns: list[int], frame: list[int], fps: list[float]
    ) -> io.NodeOutput:
        rate = checked_fps(fps[0])
        sheet = contact_sheet(images, labels, columns[0], frame[0])
        return io.NodeOutput(sheet, ui=animated(sheet, rate))


NODES = [SweepEdits, ContactSheet]
