"""A MODEL in which words of a text are weighed: what was typed, checked and put in place."""

from __future__ import annotations

from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy.sd import CLIP

from ...edit.attention_weighting import WHOLE, TextWeights, WeighedWord
from ...edit.edit_fields import parse_weights, parse_windows
from ..comfy.conditioning import Conditioning
from ..comfy.model_patches import WEIGHTS
from ..prompts.encoded_text import encoded_text
from .table import text_attention_of
from .word_weights import WeighedText


def weigh_words(
    model: Any, clip: CLIP, text: str, weights: str, start: float = 0.0, end: float = 1.0
) -> tuple[ModelPatcher, Conditioning]:
    """(a clone of MODEL that weighs words wherever it is sampled with this text, the text's CONDITIONING).

    weights: 'blue: 1.6, beach: 0.4', as `edit_fields` reads them; start, end: shares of the noise levels.
    Raises ValueError for a model of a family that is not known, a word that the text does not have, and bad weights.
    """
    family = text_attention_of(model)
    if not start < end:
        raise ValueError(
            f"the weights act from {start:g} to {end:g} of the run, which is no step: start before the end"
        )
    curves, windows = parse_weights(weights), parse_windows(weights)
    without = next((word for word in windows if word not in curves), None)
    if without is not None:
        raise ValueError(f"'{without}' has a window but no weight: write '{without}: 1.5' beside it")
    encoded = encoded_text(clip, text)
    words = [
        WeighedWord(word, encoded.tokens_of(word), weight, windows.get(word, WHOLE)) for word, weight in curves.items()
    ]
    heavy = tuple(word for word in words if not word.is_plain)
    if not heavy:
        return model.clone(), encoded.conditioning
    weighed = WeighedText(text, encoded.conditioning, TextWeights(encoded.tokens, heavy), (start, end), family)
    return with_weights(model, weighed), encoded.conditioning


def with_weights(model: ModelPatcher, text: WeighedText) -> ModelPatcher:
    """A clone of MODEL that weighs a text."""
    model = text.family.prepared(model)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, WEIGHTS, text.outer_sample)
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, WEIGHTS, text.calc_cond_batch)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, WEIGHTS, text.apply_model)
    return model
