"""Attention Maps: where words look, frame by frame."""

from comfy.model_patcher import ModelPatcher
from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.diffusion.inversion import Inversion as InversionData
from ..videop2p_core.edit.edit_fields import parse_words
from ..videop2p_core.host.comfy.conditioning import Conditioning
from ..videop2p_core.host.cost.origins import origins_of
from ..videop2p_core.host.edit.attention_maps import BRANCHES, attention_maps
from ..videop2p_core.host.edit.edit_inputs import WordEdit, prepare_edit
from .inputs import an_edit, replacements
from .types import CATEGORY


class AttentionMaps(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_AttentionMaps",
            display_name="Attention Maps",
            category=CATEGORY,
            search_aliases=["video p2p", "cross attention", "heat map", "daam", "word mask", "prompt to prompt"],
            description=(
                "Shows where words look: for each word a heat map over every frame. Tells which words to blend by and "
                "at what threshold; as masks the maps serve any other node."
            ),
            inputs=[
                *an_edit("From Attention Controller: its two prompts hold the words."),
                io.String.Input(
                    "words",
                    default="",
                    placeholder="red rabbit, beach",
                    tooltip=(
                        "Words, or several words in a row, separated by commas. Empty: the blend words of the prompt, "
                        "or all of its words where it has none."
                    ),
                ),
                io.Combo.Input(
                    "branch",
                    options=list(BRANCHES),
                    default=BRANCHES[0],
                    tooltip=(
                        "'source': words of the source prompt in the clip as it is, one prediction a step. 'target': "
                        "words of the target prompt while the clip is edited, at the cost of the whole edit."
                    ),
                ),
                io.Int.Input(
                    "step",
                    default=0,
                    min=0,
                    max=500,
                    advanced=True,
                    tooltip="0 is the mean of all steps, 1 the noisiest step alone, 2 the next.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="The frames that were inverted, to see the maps over them; of any size.",
                ),
                *replacements(),
                io.Boolean.Input(
                    "sharp",
                    optional=True,
                    default=False,
                    tooltip=(
                        "Spreads the maps to the edges of what they look at, as the model's self-attention knows them: "
                        "masks as sharp as the thing. On an image model; of the target after direct-exact, "
                        "direct-residual or virtual alone."
                    ),
                ),
            ],
            outputs=[
                io.Image.Output(
                    id="overlay",
                    display_name="overlay",
                    is_output_list=True,
                    tooltip="For each word its heat over the frames, or over black without images.",
                ),
                io.Mask.Output(
                    display_name="masks",
                    is_output_list=True,
                    tooltip="For each word its map, one a frame: 1 where it looks most, 0 where not at all.",
                ),
                io.Image.Output(id="grid", display_name="grid", tooltip="All in one picture: a row a word, by frame."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        inversion: InversionData,
        edit: WordEdit,
        words: str,
        branch: str,
        step: int,
        images: Tensor | None = None,
        source: Conditioning | None = None,
        target: Conditioning | None = None,
        null: Conditioning | None = None,
        sharp: bool = False,
    ) -> io.NodeOutput:
        prepared = prepare_edit(model, inversion, [edit], source, [target], null)
        maps = attention_maps(
            model, prepared, edit.plan, parse_words(words), branch, step, images, sharp, origins_of(cls.hidden)
        )
        return io.NodeOutput(maps.overlays, list(maps.masks), maps.grid)


NODES = [AttentionMaps]
