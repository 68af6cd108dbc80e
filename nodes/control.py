"""Attention Controller: what an edit asks for, in words."""

from comfy.sd import CLIP
from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.edit.alignment import KINDS
from ..videop2p_core.edit.edit_fields import AUTO, parse_guidance, parse_weights, parse_windows, parse_words
from ..videop2p_core.edit.edit_plan import MOST_EMPHASIS, EditPlan
from ..videop2p_core.edit.local_blend import checked_mask
from ..videop2p_core.host.edit.edit_inputs import word_edit
from .types import CATEGORY, Edit

MASK_MODES = ("limit", "replace")
BY_WORDS = -1.0  # the blend words decide


def share_or_auto(name: str, tooltip: str) -> io.Float.Input:
    return io.Float.Input(
        name, optional=True, default=0.0, min=BY_WORDS, max=1.0, step=0.05, advanced=True, tooltip=tooltip
    )


class AttentionController(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_AttentionController",
            display_name="Attention Controller",
            category=CATEGORY,
            search_aliases=[
                "p2p",
                "video p2p",
                "prompt to prompt",
                "prompt2prompt",
                "word swap",
                "cross attention control",
                "localblend",
            ],
            description=(
                "An edit by words: swap one ('a man drives', 'a robot drives'), add some ('an origami rabbit'), or "
                "give words more or less weight. Fits any inversion of the source prompt, whatever its number of steps."
            ),
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP that the source prompt of the inversion was encoded with."),
                io.String.Input(
                    "source_prompt",
                    default="",
                    multiline=True,
                    placeholder="source prompt: a man drives a motorbike",
                    tooltip="What the clip shows: the very prompt that it was inverted with.",
                ),
                io.String.Input(
                    "target_prompt",
                    default="",
                    multiline=True,
                    placeholder="target prompt: a robot drives a motorbike",
                    tooltip="What it is to show. Change as few words as you can.",
                ),
                io.Combo.Input(
                    "edit",
                    options=list(KINDS),
                    default=EditPlan.kind,
                    tooltip=(
                        "'replace' pairs the words of both prompts one to one, 'refine' keeps the words they share and "
                        "leaves new ones to the target. 'auto' replaces where the words pair up, else refines."
                    ),
                ),
                io.Float.Input(
                    "cross_window",
                    default=EditPlan.cross,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "For this share of the steps the target looks where the source's words looked. More keeps "
                        "shapes and layout; 0.8 suits a change of style."
                    ),
                ),
                io.Float.Input(
                    "temporal_window",
                    default=EditPlan.temporal,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip=(
                        "For this share of the steps the target moves as the source does: its attention over time is "
                        "the source's. Needs temporal layers, or a video model."
                    ),
                ),
                io.String.Input(
                    "blend_source",
                    default=AUTO,
                    placeholder="man",
                    tooltip=(
                        "Words of the source prompt whose place may change, separated by commas: the rest of the "
                        "picture is kept. 'auto': those that are swapped. Leave both blend fields empty to change all "
                        "of it, as for a style."
                    ),
                ),
                io.String.Input(
                    "blend_target",
                    default=AUTO,
                    placeholder="robot",
                    tooltip=(
                        "Words of the target prompt whose place may change, beside those of the source. 'auto': those "
                        "that are swapped in."
                    ),
                ),
                io.String.Input(
                    "word_weights",
                    default="",
                    multiline=True,
                    placeholder="word weights: origami: 2",
                    tooltip=(
                        "How strongly words of the target prompt show, one a line or separated by commas: 'origami: 2, "
                        "red: 0.5'. 1 is as it is, 0 takes a word out. Over the steps (0 the first, 1 the last): "
                        "'origami: 1 @ 0, 2.5 @ 0.5'. Acts inside the cross window, or in the word's own: 'robot: "
                        "window 0.1 - 0.6'."
                    ),
                ),
                io.String.Input(
                    "subtract",
                    default="",
                    advanced=True,
                    placeholder="motorbike",
                    tooltip="Words, of either prompt, whose place is kept even where a blend word looks too.",
                ),
                io.Float.Input(
                    "threshold",
                    default=EditPlan.threshold,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="How large the blend words' place is: less makes it larger.",
                ),
                io.Float.Input(
                    "blend_start",
                    default=EditPlan.start,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "From this share of the steps on the rest of the picture is kept while the edit is made. 1: "
                        "never, as Composite Edit keeps it afterwards. The paper takes 0.2."
                    ),
                ),
                io.Combo.Input(
                    "mask_mode",
                    options=list(MASK_MODES),
                    default=MASK_MODES[0],
                    advanced=True,
                    tooltip="'limit': the mask narrows the blend words' place. 'replace': it takes that place itself.",
                ),
                io.Float.Input(
                    "blend_freeze",
                    default=EditPlan.freeze,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "From this share of the steps on the blend words' place stays as it is. With the direct "
                        "inversion the source then costs nothing more: 0.5 makes a blended edit a sixth cheaper."
                    ),
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where the edit may act at all, for all frames or one mask a frame, of any size.",
                ),
                io.String.Input(
                    "blend_blocks",
                    optional=True,
                    default="",
                    advanced=True,
                    placeholder="8-20, 24",
                    tooltip=(
                        "On a video model (Wan), the blocks that find the blend words' place, counted from 0. Empty: "
                        "the middle half of them. An image model's are given by its resolution."
                    ),
                ),
                share_or_auto(
                    "structure_window",
                    (
                        "For this share of the steps each frame is built as the source's is, so that outlines stay: "
                        "for colours, materials and styles. -1: 1 where the blend words are the same in both "
                        "prompts, else 0."
                    ),
                ),
                io.String.Input(
                    "guidance",
                    optional=True,
                    default="",
                    advanced=True,
                    placeholder="5 @ 0, 2.5 @ 0.3",
                    tooltip=(
                        "How strongly the target prompt guides, after a direct-exact inversion best: a number, or "
                        "several over the steps. Empty: what suits the model, else the cfg of DDIM Invert."
                    ),
                ),
                share_or_auto(
                    "fresh_noise",
                    (
                        "After an exact inversion: how much of the noise is drawn anew, once for all frames, so that "
                        "the new thing is steady and not built from parts of the old. -1: all where the blend words "
                        "differ, else none."
                    ),
                ),
                io.Float.Input(
                    "emphasis",
                    optional=True,
                    default=EditPlan.emphasis,
                    min=0.0,
                    max=MOST_EMPHASIS,
                    step=0.1,
                    advanced=True,
                    tooltip=(
                        "For an edit that comes out too weak: how far it goes beyond what the target prompt makes by "
                        "itself, away from what the source prompt would. Costs one guided prediction more a step; 0 is "
                        "off."
                    ),
                ),
                io.Float.Input(
                    "strength",
                    optional=True,
                    default=EditPlan.strength,
                    min=0.05,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip=(
                        "The share of the inversion's steps that the edit takes: 0.8 begins a fifth later, which costs "
                        "a fifth less and keeps more of the layout and of the motion. 1 changes the most."
                    ),
                ),
            ],
            outputs=[
                Edit.Output(display_name="edit", tooltip="For Decoupled Sample; several make a list of edits."),
                io.Conditioning.Output(
                    id="source", display_name="source", tooltip="The source prompt encoded, to apply a ControlNet to."
                ),
                io.Conditioning.Output(
                    id="target", display_name="target", tooltip="The target prompt encoded, to apply a ControlNet to."
                ),
                io.Image.Output(
                    display_name="alignment", tooltip="Which words of the source each word of the target takes after."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        clip: CLIP,
        source_prompt: str,
        target_prompt: str,
        edit: str,
        cross_window: float,
        temporal_window: float,
        blend_source: str,
        blend_target: str,
        word_weights: str,
        subtract: str,
        threshold: float,
        blend_start: float,
        mask_mode: str,
        blend_freeze: float,
        mask: Tensor | None = None,
        blend_blocks: str = "",
        structure_window: float = 0.0,
        guidance: str = "",
        fresh_noise: float = 0.0,
        emphasis: float = EditPlan.emphasis,
        strength: float = EditPlan.strength,
    ) -> io.NodeOutput:
        mask = None if mask is None else checked_mask(mask)
        planned = word_edit(
            clip, source_prompt, target_prompt, mask, mask_mode == "replace", blend_blocks, kind=edit,
            cross=cross_window, temporal=temporal_window, blend_source=parse_words(blend_source),
            blend_target=parse_words(blend_target), weights=parse_weights(word_weights),
            windows=parse_windows(word_weights),
            subtracted=parse_words(subtract), threshold=threshold, start=blend_start, freeze=blend_freeze,
            structure=None if structure_window == BY_WORDS else structure_window, guidance=parse_guidance(guidance),
            fresh=None if fresh_noise == BY_WORDS else fresh_noise, emphasis=emphasis,
            strength=strength,
        )  # fmt: skip
        return io.NodeOutput(planned, planned.source, planned.target, planned.picture())


NODES = [AttentionController]
