"""The host's modules that the pack needs, by their names. Written by `python dev.py seam`."""

from types import ModuleType


def host_module(name: str) -> ModuleType:
    """A module of the host, by its name; raises what its import raises."""
    match name:
        case "comfy.clip_model":
            import comfy.clip_model as module
        case "comfy.clip_vision":
            import comfy.clip_vision as module
        case "comfy.conds":
            import comfy.conds as module
        case "comfy.context_windows":
            import comfy.context_windows as module
        case "comfy.controlnet":
            import comfy.controlnet as module
        case "comfy.hooks":
            import comfy.hooks as module
        case "comfy.latent_formats":
            import comfy.latent_formats as module
        case "comfy.ldm.chroma.model":
            import comfy.ldm.chroma.model as module
        case "comfy.ldm.cosmos.predict2":
            import comfy.ldm.cosmos.predict2 as module
        case "comfy.ldm.flux.model":
            import comfy.ldm.flux.model as module
        case "comfy.ldm.hunyuan_video.model":
            import comfy.ldm.hunyuan_video.model as module
        case "comfy.ldm.kandinsky5.model":
            import comfy.ldm.kandinsky5.model as module
        case "comfy.ldm.lightricks.av_model":
            import comfy.ldm.lightricks.av_model as module
        case "comfy.ldm.lightricks.model":
            import comfy.ldm.lightricks.model as module
        case "comfy.ldm.lumina.model":
            import comfy.ldm.lumina.model as module
        case "comfy.ldm.modules.attention":
            import comfy.ldm.modules.attention as module
        case "comfy.ldm.modules.diffusionmodules.mmdit":
            import comfy.ldm.modules.diffusionmodules.mmdit as module
        case "comfy.ldm.modules.diffusionmodules.openaimodel":
            import comfy.ldm.modules.diffusionmodules.openaimodel as module
        case "comfy.ldm.qwen_image.model":
            import comfy.ldm.qwen_image.model as module
        case "comfy.ldm.wan.ar_model":
            import comfy.ldm.wan.ar_model as module
        case "comfy.ldm.wan.model":
            import comfy.ldm.wan.model as module
        case "comfy.ldm.wan.model_animate":
            import comfy.ldm.wan.model_animate as module
        case "comfy.ldm.wan.model_wandancer":
            import comfy.ldm.wan.model_wandancer as module
        case "comfy.lora":
            import comfy.lora as module
        case "comfy.model_base":
            import comfy.model_base as module
        case "comfy.model_management":
            import comfy.model_management as module
        case "comfy.model_patcher":
            import comfy.model_patcher as module
        case "comfy.model_sampling":
            import comfy.model_sampling as module
        case "comfy.nested_tensor":
            import comfy.nested_tensor as module
        case "comfy.ops":
            import comfy.ops as module
        case "comfy.patcher_extension":
            import comfy.patcher_extension as module
        case "comfy.quant_ops":
            import comfy.quant_ops as module
        case "comfy.sampler_helpers":
            import comfy.sampler_helpers as module
        case "comfy.samplers":
            import comfy.samplers as module
        case "comfy.sd":
            import comfy.sd as module
        case "comfy.sd1_clip":
            import comfy.sd1_clip as module
        case "comfy.supported_models":
            import comfy.supported_models as module
        case "comfy.supported_models_base":
            import comfy.supported_models_base as module
        case "comfy.text_encoders.kandinsky5":
            import comfy.text_encoders.kandinsky5 as module
        case "comfy.text_encoders.lt":
            import comfy.text_encoders.lt as module
        case "comfy.utils":
            import comfy.utils as module
        case "comfy.weight_adapter":
            import comfy.weight_adapter as module
        case "comfy_api.latest":
            import comfy_api.latest as module
        case "comfy_api.latest._input_impl.video_types":
            import comfy_api.latest._input_impl.video_types as module
        case "comfy_execution.graph":
            import comfy_execution.graph as module
        case "comfy_execution.graph_utils":
            import comfy_execution.graph_utils as module
        case "comfy_extras.nodes_model_advanced":
            import comfy_extras.nodes_model_advanced as module
        case "execution":
            import execution as module
        case "folder_paths":
            import folder_paths as module
        case "latent_preview":
            import latent_preview as module
        case "nodes":
            import nodes as module
        case "server":
            import server as module
        case _:
            raise ModuleNotFoundError(name)
    return module
