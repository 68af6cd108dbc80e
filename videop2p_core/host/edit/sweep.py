"""The edits of a sweep: one that was planned and encoded, in many variants for one run of the source."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from comfy.sd import CLIP

from ...edit.sweep import sweep_plans
from ..prompts.clip_tokens import read_prompt
from .edit_inputs import WordEdit


def sweep_edits(edit: WordEdit, clip: CLIP | None = None, prompts: Sequence[str] = (), **values: Any) -> list[WordEdit]:
    """Row by row as `sweep.sweep_plans`, which takes the values; prompts: further target prompts, read by the CLIP.

    Each prompt is encoded once. Raises ValueError for prompts without a CLIP.
    """
    if prompts and clip is None:
        raise ValueError("further target prompts need to be encoded: connect the CLIP that the edit was made with")
    if clip is None:
        plans, encoded = sweep_plans(edit.plan, targets=[], **values), [edit.target]
    else:
        plans = sweep_plans(edit.plan, targets=[read_prompt(clip, text) for text in prompts], **values)
        encoded = [edit.target, *(clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in prompts)]
    each = len(plans) // len(encoded)
    return [replace(edit, plan=plan, target=encoded[i // each]) for i, plan in enumerate(plans)]
