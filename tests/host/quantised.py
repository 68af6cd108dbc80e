"""The demo model in every kind of numbers that a host or a pack loads a UNet in."""

import json

import comfy.ops
import comfy.quant_ops
import torch
from comfy import model_management, model_patcher
from comfyui_videop2p.tests.peers.standins import packed
from comfyui_videop2p.videop2p_core.host import demo_model as demo

PLAIN = {
    "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
    "float8_e4m3fn": torch.float8_e4m3fn, "float8_e5m2": torch.float8_e5m2,
}  # fmt: skip
# The host's formats, and the layout and its settings of each.
UNDER_SCALES = {
    "scaled float8_e4m3fn": ("float8_e4m3fn", "TensorCoreFP8E4M3Layout", {"scale": "recalculate"}, {}),
    "mxfp8": ("mxfp8", "TensorCoreMXFP8Layout", {}, {}),
    "nvfp4": ("nvfp4", "TensorCoreNVFP4Layout", {}, {}),
    "int8": ("int8_tensorwise", "TensorWiseINT8Layout", {}, {}),
    "rotated int8": (
        "int8_tensorwise", "TensorWiseINT8Layout", {"per_channel": True, "convrot": True, "convrot_groupsize": 64},
        {"convrot": True, "convrot_groupsize": 64},
    ),
}  # fmt: skip
GGUF = {kind.name: kind for kind in (packed.Kind.Q8_0, packed.Kind.Q4_0)}
KINDS = [*PLAIN, *UNDER_SCALES, *GGUF]
FOUR_BITS = "4 bits"  # as packs over bitsandbytes have them


def demo_in(kind, changed=None, disable_dynamic=False):
    """The demo UNet as a MODEL. changed: takes and gives its weights, as another checkpoint would have them."""
    tensors, metadata = demo.read_demo_file(demo.DEMO_FILE)
    state = {name: weight.float() for name, weight in demo.with_prefix(tensors, demo.UNET_PREFIX).items()}
    state = changed(state) if changed else state
    if kind in PLAIN:  # layers that wait for their weights take them as they come
        state = {name: weight.to(PLAIN[kind]) for name, weight in state.items()}
    config = demo.DemoSD15(json.loads(metadata["unet"]))
    device = model_management.get_torch_device()
    config.set_inference_dtype(PLAIN.get(kind, torch.float32), torch.float32, device=device)
    if kind in UNDER_SCALES:
        config.quant_config, state = {"mixed_ops": True}, under_scales(state, *UNDER_SCALES[kind])
    elif kind in GGUF:
        config.custom_operations, state = packed.Operations, packed.packed_state(state, GGUF[kind])
    elif kind == FOUR_BITS:
        config.custom_operations = packed.FourBits
    model = config.get_model({}, "", model_management.unet_offload_device())
    model.diffusion_model.load_state_dict(state)
    # Dynamic VRAM makes plain parameters of those that packs pack.
    packs_own = kind in GGUF or kind == FOUR_BITS
    kind_of = model_patcher.ModelPatcher if disable_dynamic or packs_own else model_patcher.CoreModelPatcher
    patcher = kind_of(model, device, model_management.unet_offload_device())
    if kind in GGUF:
        return packed.GGUFModelPatcher.clone(patcher)
    patcher.cached_patcher_init = (demo_in, (kind, changed))
    return patcher


def under_scales(state, name, layout, settings, told):
    """A file's tensors, with linear layers quantised and what ComfyUI has to know of them."""
    result = {}
    for key, weight in state.items():
        if not key.endswith(".weight") or weight.ndim != 2:
            result[key] = weight
            continue
        quantised = comfy.quant_ops.QuantizedTensor.from_float(weight, layout, **settings)
        result |= quantised.state_dict(key)
        conf = json.dumps({"format": name, **told}).encode()
        result[key.removesuffix("weight") + "comfy_quant"] = torch.tensor(list(conf), dtype=torch.uint8)
    return result
