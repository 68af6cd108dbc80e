"""What a control and the layers that it acts on agree on."""

from functools import partial
from typing import Any

import comfy.model_management
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key

from ...diffusion.attention import Attend

CONTROL = "videop2p_control"  # where transformer_options carry an edit's control


def host_attention(options: dict[str, Any]) -> Attend:
    """attend(q, k, v, heads) as the host itself would in this call."""
    return partial(optimized_attention, attn_precision=options.get("attn_precision"), transformer_options=options)


def may_lock_pages() -> bool:
    """Whether the host itself takes page-locked memory, which some systems have none of and users can turn off."""
    return comfy.model_management.MAX_PINNED_MEMORY > 0


def install(control: Any, model_options: dict[str, Any]) -> None:
    """An AttentionControl, or an AttentionRecorder, into the options of one sampling call, which must be its own."""
    transformer_options = model_options.setdefault("transformer_options", {})
    transformer_options[CONTROL] = control
    add_wrapper_with_key(WrappersMP.APPLY_MODEL, CONTROL, control, model_options, is_model_options=True)
