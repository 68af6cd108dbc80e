"""The families whose words can be weighed and looked for: to add one is an entry in its file."""

from typing import Any

from comfy.model_patcher import ModelPatcher

from .joint_text import JOINT
from .separate_text import SEPARATE
from .text_attention import SlotText, TextAttention

FAMILIES: tuple[TextAttention, ...] = (SlotText(), *SEPARATE, *JOINT)
KNOWN = (
    "Stable Diffusion 1.x, 2.x, XL and 3, Flux, Chroma, Qwen-Image, Lumina 2, Z-Image, Cosmos-Predict2, Kandinsky 5, "
    "HunyuanVideo, Wan 2.x, LTX-Video or LTX-2"
)


def text_attention_of(model: Any) -> TextAttention:
    """Of a MODEL. Raises ValueError, naming it, where it is not known how it looks at a text."""
    if not isinstance(model, ModelPatcher):
        raise ValueError("there is no model: this checkpoint holds none, connect a model loader")
    network = model.get_model_object("diffusion_model")
    family = next((family for family in FAMILIES if family.has(network)), None)
    if family is None:
        raise ValueError(
            f"it is not known where a {type(model.model).__name__} model looks at its text: connect one of {KNOWN}"
        )
    return family
