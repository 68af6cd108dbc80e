"""Words that count more or less wherever a picture looks at its text, while any sampler runs.

Normalised (diffusion/weighted_attention.py): a weight is a bias of its logarithm on the logits of the word's keys. Only
the picture's queries are weighed, so that in a joint attention the text reads itself as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import torch
from comfy.samplers import CFGGuider
from torch import Tensor

from ...diffusion.weighted_attention import weighted_attention
from ...edit.attention_weighting import TextWeights
from ..comfy.conditioning import Conditioning
from ..comfy.denoiser import Algorithm
from ..comfy.model_patches import WEIGHTS, context_of, options_of, with_options
from .picture_call import PictureCall
from .text_attention import Evaluation, TextAttention, network_of
from .text_in_use import SAME, check_in_use, entries_of, step_of

Halves = frozenset[tuple[UUID, int]]  # entries of conditionings, and the host's index of the conditioning of each


@dataclass(frozen=True, eq=False)
class WeighedText:
    """What a MODEL does to a text wherever it is in use. Its methods wrap the host's calls of the same names.

    text: as it was typed; encoded: its CONDITIONING; weights: of its tokens
    window: the share of the noise levels (0 the noisiest, 1 the cleanest) in which they act, as ControlNets count it
    family: of the MODEL
    """

    text: str
    encoded: Conditioning
    weights: TextWeights
    window: tuple[float, float]
    family: TextAttention

    def outer_sample(self, executor: Any, *args: Any, **kwargs: Any) -> Any:
        """Before anything is sampled: is the text in use?"""
        guider, (_, _, sampler, *_) = executor.class_obj, args
        mine = entries_of(guider, self.encoded)
        if not isinstance(sampler, Algorithm):  # of a node of this pack, which may look for another text
            check_in_use(mine, self.text, "weighed", "Word Weights")
        sampling = guider.model_patcher.get_model_object("model_sampling")
        noisiest, cleanest = (float(sampling.percent_to_sigma(share)) for share in self.window)
        options = guider.model_options["transformer_options"]
        names = {entry["uuid"]: name for name, conditioning in guider.conds.items() for entry in conditioning}
        entries = {entry["uuid"]: names[entry["uuid"]] for entry in mine}
        options[WEIGHTS] = (*options.get(WEIGHTS, ()), TextInUse(self, guider, entries, noisiest, cleanest))
        return executor(*args, **kwargs)

    def calc_cond_batch(
        self,
        executor: Any,
        model: Any,
        conds: Sequence[Any],
        x: Tensor,
        timestep: Tensor,
        model_options: dict[str, Any],
    ) -> Any:
        """Before a step's calls of the network: in which half is it?"""
        options = model_options["transformer_options"]
        uses = [replace(use, halves=use.found_in(conds)) if use.text is self else use for use in options[WEIGHTS]]
        options = {**options, WEIGHTS: tuple(uses)}
        return executor(model, conds, x, timestep, {**model_options, "transformer_options": options})

    def apply_model(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Around one call of the network: the first of several texts weighs for all."""
        options, context = options_of(args, kwargs), context_of(args, kwargs)
        first, *_ = options[WEIGHTS]
        noise_level = args[1].max().item()
        weights = weights_now(options, noise_level) if first.text is self else {}
        if not weights:
            return executor(*args, **kwargs)
        evaluation = Evaluation(network_of(executor.class_obj), args[0], context.shape[1], kwargs)
        keys = {
            part: self.family.over_keys(token_weights, evaluation.tokens, 1.0).to(args[0].device)
            for part, token_weights in weights.items()
        }
        weigher = Weigher(keys, len(options["uuids"]))
        args, kwargs = with_options(args, kwargs, self.family.acting(weigher, evaluation, options))
        denoised = executor(*args, **kwargs)
        entries = {options["uuids"][part] for part in weights}
        first.weighed.update(entries if weigher.acted else ())
        if not entries <= first.weighed:  # a later call may be one that a cache leaves out
            raise ValueError(
                "another node computes how this model looks at its text, so that no word can be weighed: remove that "
                "node (normalised attention guidance, for instance)"
            )
        return denoised


@dataclass(frozen=True)
class TextInUse:
    """A weighed text in one run: the conditioning entries that hold it, the noise levels that it is weighed between.

    guider: whose run it is; entries: by their names of its conditionings
    weighed: the entries, of whatever text, whose words it has weighed so far
    """

    text: WeighedText
    guider: CFGGuider
    entries: dict[UUID, str]
    noisiest: float
    cleanest: float
    halves: Halves = frozenset()
    weighed: set[UUID] = field(default_factory=set)

    def found_in(self, conds: Sequence[Any]) -> Halves:
        """Where its text is read: for an area of one conditioning the host gives the others a copy of that entry, uuid
        and all, with the text of one of theirs."""
        prepared = ((name, entry) for name, entries in self.guider.conds.items() for entry in entries)
        texts = [_text_of(entry) for name, entry in prepared if self.entries.get(entry["uuid"]) == name]
        pairs = ((half, entry) for half, entries in enumerate(conds) for entry in entries or ())
        return frozenset(
            (entry["uuid"], half) for half, entry in pairs if any(_text_of(entry) is text for text in texts)
        )

    def weights_now(self, options: dict[str, Any], sigma: float) -> Tensor | None:
        """[tokens] at the noise level of a call; None where no word is weighed."""
        levels = options["sample_sigmas"][:-1]
        if not self.cleanest * (1 - SAME) <= sigma <= self.noisiest * (1 + SAME):
            return None
        return self.text.weights.at(step_of(levels, sigma), len(levels))


def _text_of(entry: dict[str, Any]) -> Any:
    """As the host prepared it for the model."""
    return entry["model_conds"].get("c_crossattn")


def weights_now(options: dict[str, Any], sigma: float) -> dict[int, Tensor]:
    """The weights of the tokens [tokens] of the texts in use at a noise level, by the number of the part of a call's
    rows that reads each; no part whose words all weigh 1."""
    weights: dict[int, Tensor] = {}
    for use in options[WEIGHTS]:
        token_weights = use.weights_now(options, sigma)
        for part, entry in enumerate(zip(options["uuids"], options["cond_or_uncond"], strict=True)):
            if token_weights is not None and entry in use.halves:
                weights[part] = weights[part] * token_weights if part in weights else token_weights
    return weights


@dataclass
class Weigher:
    """An Act: weights [keys of the text] in some of the equal parts of the rows, of so many; acted: whether it came to
    that."""

    weights: dict[int, Tensor]
    parts: int
    acted: bool = False

    def __call__(self, call: PictureCall) -> Tensor:
        self.acted = True
        share = len(call.q) // self.parts
        out = []
        for part in range(self.parts):
            part_call = call.of_rows(slice(part * share, (part + 1) * share))
            out.append(weighed(part_call, self.weights[part]) if part in self.weights else part_call.attended())
        return torch.cat(out)


def weighed(call: PictureCall, weights: Tensor) -> Tensor:
    """The output of a call whose picture sees its text by weights [keys of the text]."""
    keys = weights.new_ones(call.k.shape[-2])
    keys[call.text] = weights
    picture = call.of_queries(call.picture)
    out = weighted_attention(picture.seeing, call.v, keys)
    if call.occupant is not None:  # such as one that adds a picture's own attention to the text's
        out = call.attended() + (out - picture.seeing(call.v))
    if not call.picture.start:
        return out
    text = call.of_queries(slice(0, call.picture.start))
    return torch.cat([text.attended(), out], dim=-2)
