"""What a node is given, looked at before any long work: each fault gets a sentence."""

from typing import Any

import comfy.hooks
import comfy.model_base
import torch
from comfy.model_patcher import ModelPatcher
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...diffusion.inversion import EXACT_METHODS, Inversion
from ...diffusion.schedule import ddim_sigmas
from ...finite import check_finite_input
from ..comfy.conditioning import Conditioning, control_nets, embedding_of, in_use
from ..comfy.denoiser import model_sigmas, prediction_of
from ..comfy.latents import as_clip, has_time_axis
from ..comfy.model_patches import WATCH, WEIGHTS
from ..comfy.other_packs import check_beside
from ..comfy.quantised_weights import is_known, kind_of
from ..families.support import Feature
from ..families.table import FAMILIES, family_of, known_family
from ..families.unet import transformer_blocks
from .identity import TUNINGS, describe_mismatch, identity_of

# Of networks as the families have them, but the first knows a fifth of the noise levels alone, and the others draw by a
# picture.
NO_PAINTERS = (
    comfy.model_base.SDXLRefiner,
    comfy.model_base.SD_X4Upscaler,
    comfy.model_base.Stable_Zero123,
    comfy.model_base.Lotus,
    comfy.model_base.WAN21_FlowRVS,
)
LIMITED = {"area", "mask"}  # options of a CONDITIONING that holds for a part of the picture


def check_inflatable(model: ModelPatcher) -> None:
    """A MODEL whose frames can lie on the batch axis, whatever samples it."""
    _check_network(model)
    family_of(model).require(Feature.INFLATION)
    check_one_gpu(model)


def check_tunable(model: ModelPatcher) -> None:
    """A MODEL that can be inflated, and whose weights can be trained, as they are or unpacked."""
    check_inflatable(model)
    family_of(model).require(Feature.TUNING)
    check_beside(model)
    check_trainable(model)


def check_editable(model: ModelPatcher) -> None:
    """A MODEL of a family that an edit can run on."""
    _check_network(model)
    check_one_gpu(model)
    check_beside(model)
    if model.get_wrappers(WrappersMP.APPLY_MODEL, WEIGHTS):
        raise ValueError(
            "the model comes from Word Weights, which an edit does by itself: connect the model before that node, and "
            "write the weights into Attention Controller"
        )
    if model.get_wrappers(WrappersMP.OUTER_SAMPLE, WATCH):
        raise ValueError(
            "the model comes from Watch Words, which watches no edit: connect the model before that node, and take "
            "Attention Maps"
        )


def _check_network(model: ModelPatcher) -> None:
    if not isinstance(model, ModelPatcher):
        raise ValueError("there is no model: this checkpoint holds none, connect a model loader")
    network = model.get_model_object("diffusion_model")
    if known_family(network) is not None and not isinstance(model.model, NO_PAINTERS):
        return
    families = "; ".join(family.name for family in FAMILIES)
    reasons = (
        f", which {why}" for family in FAMILIES for kind, why in family.relatives.items() if kind is type(network)
    )
    raise ValueError(
        f"Video-P2P cannot edit with a {type(model.model).__name__} model{next(reasons, '')}: connect one of these "
        f"families: {families}"
    )


def check_supported(
    model: ModelPatcher, method: str, record_settings: Any = None, cache_every: int = 1, structured: bool = False
) -> None:
    """Whether the model's family supports what is asked for, in a sentence. record_settings: as in InversionSettings;
    structured: whether an edit takes the source's frame attention."""
    family = family_of(model)
    if method not in family.inversions:
        raise ValueError(
            f"{family.called} is inverted by {', '.join(family.inversions)} alone: choose one of them in DDIM Invert, "
            f"not {method}"
        )
    needed = {
        Feature.KEEP: record_settings is not None,
        Feature.CACHE: cache_every != 1,
        Feature.STRUCTURE: structured,
        Feature.PASSES: model.model_options.get("context_handler") is not None,
    }
    for feature in (feature for feature, is_needed in needed.items() if is_needed):
        family.require(feature)


def check_sharp(model: ModelPatcher, inversion: Inversion, branch: str) -> None:
    """branch: whose maps are to be sharpened."""
    family_of(model).require(Feature.SHARP)
    if branch == "target" and not inversion.is_exact:
        raise ValueError(
            f"after an inversion by {inversion.method} an edit does not show what looks alike in it: choose one of "
            f"{', '.join(EXACT_METHODS)} in DDIM Invert, or turn sharp off"
        )


def check_fresh_noise(inversion: Inversion, fresh: bool) -> None:
    """fresh: whether an edit asks for noise that is drawn anew."""
    if fresh and not inversion.is_exact:
        raise ValueError(
            f"an edit after an inversion by {inversion.method} depends on its noise: choose one of "
            f"{', '.join(EXACT_METHODS)} in DDIM Invert, or set fresh_noise to 0"
        )


def check_untuned(model: ModelPatcher) -> None:
    """A MODEL that may be inflated: another inflation would take the temporal layers of its tuning away."""
    if model.get_attachment(TUNINGS):
        raise ValueError(
            "the model is tuned already, for the inflation that it has: put Inflate UNet before the tuning"
        )


def streams_of(latent: dict[str, Any]) -> list[Any]:
    """What a LATENT holds: its pictures, or its pictures and its sound."""
    samples = latent.get("samples") if isinstance(latent, dict) else None
    return samples.unbind() if isinstance(samples, NestedTensor) else [samples]


def sound_of(latent: dict[str, Any]) -> Tensor | None:
    """The sound that stands beside the clip of a LATENT, [1, channels, time, frequencies]; None without."""
    _, *others = streams_of(latent)
    if not others or others[0] is None or not others[0].numel():
        return None
    if others[0].ndim != 4 or len(others[0]) > 1:
        raise ValueError(
            f"the latent's sound has shape {list(others[0].shape)}, this model takes [1, channels, time, frequencies]: "
            "encode it with the audio VAE of the same checkpoint (LTXVAudioVAEEncode)"
        )
    check_finite_input(others[0], "the latent's sound holds", "encode it anew")
    return others[0].cpu()


def clip_of(latent: dict[str, Any], model: ModelPatcher) -> Tensor:
    """The clip [frames, channels, height, width] of a LATENT, in VAE units."""
    samples, *sound = streams_of(latent)
    if sound:
        family_of(model).require(Feature.SOUND)
    if not isinstance(samples, torch.Tensor):
        raise ValueError("the latent input holds no clip: connect VAE Encode")
    channels, video = model.model.latent_format.latent_channels, has_time_axis(model.model)
    taken = f"[1, {channels}, frames, height, width]" if video else f"[frames, {channels}, height, width]"
    if samples.ndim != (5 if video else 4) or samples.shape[1] != channels or (video and len(samples) > 1):
        raise ValueError(
            f"the latent has shape {list(samples.shape)}, this model takes {taken}: encode the frames with the VAE of "
            "the same checkpoint"
        )
    if not samples.numel():
        raise ValueError("the latent has no frames: connect a clip with at least one")
    check_finite_input(samples, "the latent holds", "encode the clip anew")
    return as_clip(samples)


def check_conditioning(model: ModelPatcher, **conditionings: Conditioning) -> None:
    """CONDITIONINGs by their names, of the width that the model reads."""
    family = family_of(model)
    widths = family.text_channels(model)
    for name, conditioning in conditionings.items():
        channels = embedding_of(conditioning, name).shape[-1]
        if widths and channels not in widths:
            raise ValueError(
                f"the {name} conditioning has {channels} channels, this model reads {' or '.join(map(str, widths))}: "
                "encode the prompt with the CLIP of the same checkpoint"
            )
        options = conditioning[0][1]
        if family.reads_pooled(model) and options.get("pooled_output") is None and "unclip_conditioning" not in options:
            raise ValueError(
                f"the {name} conditioning lacks the pooled vector that an SDXL model reads beside the text: encode the "
                "prompt with the CLIP of the same checkpoint"
            )


def check_everywhere(**conditionings: Conditioning) -> None:
    """CONDITIONINGs by their names, each in use everywhere if it is there at all: where none is in use, the host hands
    on zeros for a prediction."""
    for name, conditioning in conditionings.items():
        covered = 0.0
        for start, end in sorted(in_use(options) for _, options in conditioning if _is_whole(options)):
            covered = max(covered, end) if start <= covered else covered
        if conditioning and covered < 1:
            raise ValueError(
                f"the {name} conditioning is limited to a part of the picture or of the steps: connect a prompt that "
                "is in use everywhere"
            )


def _is_whole(options: dict[str, Any]) -> bool:
    limited = any(options.get(name) is not None for name in LIMITED) or options.get("set_area_to_bounds")
    return not limited and options.get("strength") != 0


def check_hints(model: ModelPatcher, frames: int, **conditionings: Conditioning) -> None:
    """Whether the ControlNets of CONDITIONINGs, and what else these show a model, are those of all frames: the host
    would begin anew with too few of the one, and spread the other over the clip."""
    family = family_of(model)
    for name, conditioning in conditionings.items():
        for _, options in conditioning:
            family.check_shown(model.model, name, options, frames)
        for control in (control for _, options in conditioning for control in control_nets(options)):
            check_calls_nothing(control, name)
            pictures = control.cond_hint_original
            if isinstance(pictures, Tensor) and 1 < len(pictures) < frames:
                raise ValueError(
                    f"the ControlNet on the {name} conditioning has {len(pictures)} pictures, the clip {frames} "
                    "frames: give it one picture for each frame, or a single one for all"
                )


def check_calls_nothing(control: Any, name: str, what: str = "an edit") -> None:
    """A ControlNet of the conditioning of this name that calls the model for no picture of its own. what: looks into
    the calls."""
    if _wraps_calls(control):
        raise ValueError(
            f"a ControlNet on the {name} conditioning calls the model once more in every call, with a picture of its "
            f"own (a reference ControlNet of Advanced-ControlNet, for instance), and {what} cannot tell those calls "
            "from the clip's: remove it"
        )


def _wraps_calls(control: Any) -> bool:
    hooks = control.extra_hooks.get_type(comfy.hooks.EnumHookType.TransformerOptions) if control.extra_hooks else ()
    return any("wrappers" in hook.transformers_dict for hook in hooks)


def check_inversion(model: ModelPatcher, inversion: Inversion) -> None:
    """Whether the inversion was made by this model, with its LoRAs, inflation, tuning and noise levels."""
    identity = identity_of(model, inversion)
    if inversion.base_model and inversion.base_model != identity:
        differing, precision = describe_mismatch(model, inversion)
        raise ValueError(
            f"the inversion was made with {inversion.base_model}, but the model connected is {identity}{differing}: "
            f"connect that model{precision}, with the same LoRAs, inflated and tuned in the same way, or invert the "
            "clip again"
        )
    levels = ddim_sigmas(model_sigmas(model), inversion.steps).to(inversion.sigmas)
    if inversion.flow != (prediction_of(model) == "flow") or not torch.allclose(levels, inversion.sigmas, rtol=1e-4):
        raise ValueError(
            "the inversion was made on other noise levels than this model's: connect the model as it was when the clip "
            "was inverted, or invert the clip again"
        )


def check_one_gpu(model: ModelPatcher, what: str = "an edit") -> None:
    """A MODEL that no other node spreads over several. what: runs on it."""
    if model.get_additional_models_with_key("multigpu"):
        raise ValueError(f"{what} runs on one GPU: remove the node that spreads this model over several")


def check_trainable(model: ModelPatcher) -> None:
    """A MODEL with a UNet whose queries can be unpacked and patched, in a sentence."""
    for block in transformer_blocks(model.get_model_object("diffusion_model")).values():
        for attention in filter(None, (block.attn1, block.attn2)):
            layer = attention.to_q
            weight = getattr(layer, "weight", None)
            if weight is None or not is_known(weight):
                kind = type(layer).__name__ if weight is None else kind_of(weight)
                raise ValueError(
                    f"this model's weights are quantised in a way ({kind}) that can be neither trained nor tuned: load "
                    "the checkpoint in half precision, in fp8, or from a GGUF file"
                )
