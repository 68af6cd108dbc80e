"""Word Weights, Word Mask, Watch Words: words of any model's text, without an edit."""

from comfy.model_patcher import ModelPatcher
from comfy.sd import CLIP
from comfy_api.latest import io
from torch import Tensor

from ..videop2p_core.edit.edit_fields import parse_words
from ..videop2p_core.host.words.watched_words import WatchedWords, watch_words, watched_masks
from ..videop2p_core.host.words.weigh_words import weigh_words
from ..videop2p_core.host.words.word_masks import NOISE, word_masks
from .types import CATEGORY, Looks

MODELS = "SD 1.x to 3, Flux, Qwen-Image, Lumina 2, Z-Image, HunyuanVideo, Wan, LTX and more."


def _words() -> io.String.Input:
    return io.String.Input(
        "words",
        default="",
        placeholder="rabbit, beach",
        tooltip="Words, or several words in a row, separated by commas. Empty: all words of the text.",
    )


def _sharp() -> io.Boolean.Input:
    return io.Boolean.Input(
        "sharp",
        default=True,
        tooltip=(
            "Spreads the maps to the edges of what they look at, as the model's self-attention knows them: two more "
            "evaluations."
        ),
    )


def _frames() -> io.Image.Input:
    return io.Image.Input("images", optional=True, tooltip="The frames, to see the masks over them; of any size.")


def _masks() -> list[io.Output]:
    return [
        io.Mask.Output(
            id="masks",
            display_name="masks",
            is_output_list=True,
            tooltip="For each word its masks, one a frame: 1 where it looks most, 0 where not at all.",
        ),
        io.Image.Output(
            id="overlay",
            display_name="overlay",
            is_output_list=True,
            tooltip="For each word its heat over the frames, or over black without images.",
        ),
    ]


class WordWeights(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_WordWeights",
            display_name="Word Weights",
            category=CATEGORY,
            search_aliases=[
                "video p2p",
                "prompt weight",
                "emphasis",
                "attention weight",
                "reweight",
                "prompt to prompt",
            ],
            description=(
                "Makes words of a prompt count more or less inside the model's attention, while any sampler runs: on "
                "models whose text encoder passes (word:1.3) over as well. No video and no inversion is needed."
            ),
            inputs=[
                io.Model.Input("model", tooltip=MODELS),
                io.Clip.Input("clip", tooltip="The text encoder of the same model."),
                io.String.Input(
                    "text", multiline=True, default="", tooltip="The positive prompt that is sampled with."
                ),
                io.String.Input(
                    "weights",
                    default="",
                    placeholder="blue: 1.6, beach: 0.4",
                    tooltip=(
                        "How much more each word is looked at: 1 as ever, 0 not at all. Or over the run, 'blue: 1 @ 0, "
                        "2 @ 0.5', or in a part of it, 'blue: window 0.1 - 0.6' beside its weight."
                    ),
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="From which share of the noise levels on the weights act, as a ControlNet's start percent.",
                ),
                io.Float.Input(
                    "end",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Up to which share of them they act. Less leaves details to the prompt as it is.",
                ),
            ],
            outputs=[
                io.Model.Output(id="model", display_name="model", tooltip="The model, for any sampler."),
                io.Conditioning.Output(
                    id="conditioning",
                    display_name="conditioning",
                    tooltip="The text, encoded, for the sampler's positive. CLIP Text Encode of it does as well.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, model: ModelPatcher, clip: CLIP, text: str, weights: str, start: float, end: float
    ) -> io.NodeOutput:
        return io.NodeOutput(*weigh_words(model, clip, text, weights, start, end))


class WordMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_WordMask",
            display_name="Word Mask",
            category=CATEGORY,
            search_aliases=[
                "video p2p",
                "mask from prompt",
                "mask by text",
                "attention map",
                "daam",
                "segment by word",
            ],
            description=(
                "Finds where words look in a picture or clip and gives a mask of each, from the attention of the model "
                "that you paint with: for inpainting, VACE, detailers, or Attention Controller."
            ),
            inputs=[
                io.Model.Input("model", tooltip=MODELS),
                io.Clip.Input("clip", tooltip="The text encoder of the same model."),
                io.Latent.Input("latent", tooltip="The picture or clip, from VAE Encode; any latent that was sampled."),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="",
                    tooltip="What the picture shows, in a sentence that has the words.",
                ),
                _words(),
                io.Float.Input(
                    "noise",
                    default=NOISE,
                    min=0.01,
                    max=0.99,
                    step=0.01,
                    advanced=True,
                    tooltip="Under how much noise the picture is looked at: little finds parts, much only places.",
                ),
                io.Int.Input("seed", default=0, min=0, max=2**64 - 1, tooltip="Of that noise."),
                _sharp(),
                _frames(),
            ],
            outputs=_masks(),
        )

    @classmethod
    def execute(
        cls,
        model: ModelPatcher,
        clip: CLIP,
        latent: dict,
        text: str,
        words: str,
        noise: float,
        seed: int,
        sharp: bool,
        images: Tensor | None = None,
    ) -> io.NodeOutput:
        looks = word_masks(
            model, clip, text, parse_words(words), latent, noise=noise, seed=seed, sharp=sharp, images=images
        )
        return io.NodeOutput(list(looks.masks), looks.overlays)


class WatchWords(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_WatchWords",
            display_name="Watch Words",
            category=CATEGORY,
            search_aliases=["video p2p", "daam", "attention map", "mask from prompt", "cross attention", "heat map"],
            description=(
                "Records where words of the prompt look while any sampler runs, at no further evaluation. Watched Word "
                "Mask makes masks of it."
            ),
            inputs=[
                io.Model.Input("model", tooltip=MODELS),
                io.Clip.Input("clip", tooltip="The text encoder of the same model."),
                io.String.Input(
                    "text", multiline=True, default="", tooltip="The positive prompt that is sampled with."
                ),
                _words(),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="From which share of the steps on the words are watched.",
                ),
                io.Float.Input(
                    "end",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="Up to which share of the steps they are watched.",
                ),
            ],
            outputs=[
                io.Model.Output(id="model", display_name="model", tooltip="The model, for any sampler."),
                io.Conditioning.Output(
                    id="conditioning",
                    display_name="conditioning",
                    tooltip="The text, encoded, for the sampler's positive. CLIP Text Encode of it does as well.",
                ),
                Looks.Output(
                    id="looks", display_name="looks", tooltip="Where the words looked, for Watched Word Mask."
                ),
            ],
        )

    @classmethod
    def execute(cls, model: ModelPatcher, clip: CLIP, text: str, words: str, start: float, end: float) -> io.NodeOutput:
        return io.NodeOutput(*watch_words(model, clip, text, parse_words(words), start, end))


class WatchedWordMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="VP2P_WatchedWordMask",
            display_name="Watched Word Mask",
            category=CATEGORY,
            search_aliases=["video p2p", "daam", "attention map", "mask from prompt", "mask by text"],
            description=(
                "Gives a mask of each word that Watch Words watched while this latent was sampled: for detailers, "
                "inpainting, or a second sampler."
            ),
            inputs=[
                Looks.Input("looks", tooltip="From Watch Words."),
                io.Latent.Input("latent", tooltip="The output of the sampler that ran on the watched model."),
                _sharp(),
                _frames(),
            ],
            outputs=_masks(),
        )

    @classmethod
    def execute(cls, looks: WatchedWords, latent: dict, sharp: bool, images: Tensor | None = None) -> io.NodeOutput:
        masks = watched_masks(looks, latent, sharp=sharp, images=images)
        return io.NodeOutput(list(masks.masks), masks.overlays)


NODES = [WordWeights, WordMask, WatchWords, WatchedWordMask]
