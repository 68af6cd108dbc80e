"""What a node is given, looked at before any long work: each fault gets a sentence."""

import torch
from comfy.model_patcher import ModelPatcher

from ..inversion import Inversion
from ..schedule import ddim_sigmas
from .denoiser import model_sigmas, prediction_of
from .identity import TUNINGS, identity_of
from .inflate import is_image_unet
from .inversion import embedding_of
from .sampling import check_model


def check_family(model):
    """A MODEL with an image UNet."""
    if not isinstance(model, ModelPatcher):
        raise ValueError("there is no model: this checkpoint holds none, connect a model loader")
    if not is_image_unet(model.get_model_object("diffusion_model")):
        raise ValueError(
            f"Video-P2P cannot edit with a {type(model.model).__name__} model: connect an image model with a UNet, of "
            "the Stable Diffusion 1.x, 2.x or XL family"
        )
    check_model(model)


def check_untuned(model):
    """A MODEL that may be inflated: another inflation would take the temporal layers of its tuning away."""
    if model.get_attachment(TUNINGS):
        raise ValueError(
            "the model is tuned already, for the inflation that it has: put Inflate UNet before the tuning"
        )


def clip_of(latent, model):
    """The clip [frames, channels, height, width] of a LATENT, in VAE units."""
    samples = latent.get("samples") if isinstance(latent, dict) else None
    if not isinstance(samples, torch.Tensor):
        raise ValueError("the latent input holds no clip: connect VAE Encode")
    channels = model.model.latent_format.latent_channels
    if samples.ndim != 4 or samples.shape[1] != channels:
        raise ValueError(
            f"the latent has shape {list(samples.shape)}, this model takes [frames, {channels}, height, width]: encode "
            "the frames with the VAE of the same checkpoint"
        )
    if not samples.numel():
        raise ValueError("the latent has no frames: connect a clip with at least one")
    if not samples.isfinite().all():
        raise ValueError("the latent holds values that are not numbers (NaN or infinity): encode the clip anew")
    return samples


def check_conditioning(model, **conditionings):
    """CONDITIONINGs by their names, of the width that the model reads."""
    width = model.model.model_config.unet_config.get("context_dim")
    for name, conditioning in conditionings.items():
        channels = embedding_of(conditioning, name).shape[-1]
        if width is not None and channels != width:
            raise ValueError(
                f"the {name} conditioning has {channels} channels, this model reads {width}: encode the prompt with "
                "the CLIP of the same checkpoint"
            )


def check_hints(frames: int, **conditionings):
    """Whether the ControlNets of CONDITIONINGs have pictures for all frames: the host would begin anew with them."""
    for name, conditioning in conditionings.items():
        for control in _control_nets(conditioning):
            pictures = control.cond_hint_original
            if pictures is not None and 1 < len(pictures) < frames:
                raise ValueError(
                    f"the ControlNet on the {name} conditioning has {len(pictures)} pictures, the clip {frames} "
                    "frames: give it one picture for each frame, or a single one for all"
                )


def _control_nets(conditioning):
    for _, options in conditioning:
        control = options.get("control")
        while control is not None:
            yield control
            control = control.previous_controlnet


def check_inversion(model, inversion: Inversion):
    """Whether the inversion was made by this model, with its LoRAs, inflation, tuning and noise levels."""
    identity = identity_of(model)
    if inversion.base_model and inversion.base_model != identity:
        raise ValueError(
            f"the inversion was made with {inversion.base_model}, but the model connected is {identity}: connect that "
            "model, with the same LoRAs, inflated and tuned in the same way, or invert the clip again"
        )
    levels = ddim_sigmas(model_sigmas(model), inversion.steps).to(inversion.sigmas)
    if inversion.flow != (prediction_of(model) == "flow") or not torch.allclose(levels, inversion.sigmas, rtol=1e-4):
        raise ValueError(
            "the inversion was made on other noise levels than this model's: connect the model as it was when the clip "
            "was inverted, or invert the clip again"
        )
