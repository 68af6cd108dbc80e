"""Whether the prompts of an edit are those that its clip was inverted with, and which of them another node encoded."""

from collections.abc import Mapping

from torch import Tensor

from ...diffusion.inversion import Inversion
from ...edit.prompt import START, Prompt
from ...log import LOG
from ..comfy.conditioning import Conditioning, embedding_of, same_embedding, sizes_of

ROUNDED = 0.01  # of an embedding: half precision moves it by less, another text encoder by more


def check_source(prompt: Prompt, encoded: Conditioning, wired: Conditioning | None, inverted: Tensor) -> None:
    """The source prompt of an edit, as its controller encoded it, against that of the inversion [1, tokens, channels].

    wired: in its place, from another node; whether that is the inversion's is looked at where all of it is at hand.
    Raises ValueError, in a sentence, for another prompt than the inversion's.
    """
    if wired:
        _check_tokens("source", prompt.text, encoded, wired)
    elif not same_embedding(encoded, inverted):
        raise ValueError(_why_another(prompt, encoded, inverted))


def check_target(prompt: Prompt, encoded: Conditioning, source: Conditioning, wired: Conditioning) -> None:
    """The prompts of an edit, as its controller encoded them, and what stands in the place of the target."""
    _check_tokens("target", prompt.text, encoded, wired)
    if same_embedding(wired, source[0][0]) and not same_embedding(encoded, source[0][0]):
        raise ValueError(
            f"the target conditioning is that of the source prompt: connect the one of '{prompt.text}', the target "
            "output of its Attention Controller"
        )


def check_sizes(source: Conditioning | None, inversion: Inversion) -> None:
    """What a wired source tells the model in numbers beside its text, against what the inversion's source did. A target
    may tell others: that is part of an edit."""
    told = sizes_of(source) if source else inversion.sizes
    if told != inversion.sizes:
        raise ValueError(
            f"the source conditioning tells the model {_named(told)}, the one that the clip was inverted with told "
            f"{_named(inversion.sizes)}: connect the one that went into DDIM Invert"
        )


def _named(sizes: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in sizes.items()) or "no sizes"


def _why_another(prompt: Prompt, used: Conditioning, inverted: Tensor) -> str:
    text, encoded = prompt.text, used[0][0].float().cpu()
    if encoded.shape[1] != inverted.shape[1]:
        return (
            f"the clip was inverted with a prompt of {inverted.shape[1]} tokens, '{text}' has {encoded.shape[1]}: use "
            "one source prompt, encoded in one way, for the inversion and for every Attention Controller"
        )
    # What CLIP makes of its start token, which sees no other, depends on the encoder alone.
    start, encoded_start = (one[0, 0].float().cpu() for one in (inverted, encoded))
    if prompt.pieces[0].kind == START and (start - encoded_start).norm() > ROUNDED * start.norm():
        return (
            f"the clip was inverted with a prompt of another CLIP than that of '{text}': connect the same to both (a "
            "LoRA, a clip skip or a node with an encoding of its own makes it another), or the inversion's own source "
            "conditioning to the source input here"
        )
    return (
        f"the clip was inverted with another prompt than '{text}': use one source prompt for the inversion and for "
        "every Attention Controller"
    )


def _check_tokens(name: str, text: str, encoded: Conditioning, wired: Conditioning) -> None:
    tokens, wired_tokens = (embedding_of(conditioning, name).shape[1] for conditioning in (encoded, wired))
    counts = f"the {name} conditioning has {wired_tokens} tokens where '{text}' has {tokens}"
    if wired_tokens == 2 * tokens:
        raise ValueError(
            f"{counts}, as of two prompts joined or of NegPip, so that its words stand elsewhere: connect one of a "
            "single prompt, encoded without"
        )
    if wired_tokens != tokens:
        raise ValueError(f"{counts}: connect that of the same text")
    if not same_embedding(wired, encoded[0][0]):
        LOG.info(f"The {name} conditioning was encoded elsewhere; its words are taken to stand as in '{text}'")
