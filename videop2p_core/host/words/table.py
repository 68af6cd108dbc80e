"""The families whose words can be weighed and looked for: to add one is an entry in its file."""

from typing import Any

from comfy.model_patcher import ModelPatcher

from .joint_text import JOINT
from .separate_text import SEPARATE
from .text_attention import SlotText, TextAttention

TEXT_ATTENTIONS: dict[str, TextAttention] = {"Stable Diffusion 1.x, 2.x, XL": SlotText()} | SEPARATE | JOINT


def text_attention_of(model: Any) -> TextAttention:
    """Of a MODEL. Raises ValueError, naming it, where it is not known how it looks at a text."""
    if not isinstance(model, ModelPatcher):
        raise ValueError("there is no model: this checkpoint holds none, connect a model loader")
    network = model.get_model_object("diffusion_model")
    family = next((family for family in TEXT_ATTENTIONS.values() if family.has(network)), None)
    if family is None:
        raise ValueError(
            f"it is not known where a {type(model.model).__name__} model looks at its text: connect one of "
            f"{', '.join(TEXT_ATTENTIONS)}"
        )
    return family
