"""ComfyUI's own nodes that patch a MODEL, called through their classes."""

from functools import partial
from importlib import import_module
from itertools import pairwise

import comfy.samplers
import torch
from comfyui_videop2p.videop2p_core.diffusion import schedule


def node(module, name, **settings):
    """MODEL -> MODEL of a node in comfy_extras."""
    kind = getattr(import_module(f"comfy_extras.{module}"), name)

    def patch(model):
        if hasattr(kind, "GET_SCHEMA"):
            found = kind.execute(model, **settings)
            return getattr(found, "result", found)[0]
        return getattr(kind(), kind.FUNCTION)(model, **settings)[0]

    return patch


# What guides a prediction, after the UNet: it acts on targets and nowhere else.
GUIDANCE = {
    "PerturbedAttentionGuidance": node("nodes_pag", "PerturbedAttentionGuidance", scale=3.0),
    "SelfAttentionGuidance": node("nodes_sag", "SelfAttentionGuidance", scale=0.5, blur_sigma=2.0),
    "NAGuidance": node("nodes_nag", "NAGuidance", nag_scale=5.0, nag_alpha=0.5, nag_tau=1.5),
    "RescaleCFG": node("nodes_model_advanced", "RescaleCFG", multiplier=0.7),
    "TCFG": node("nodes_tcfg", "TCFG"),
    "CFGZeroStar": node("nodes_cfg", "CFGZeroStar"),
    "CFGNorm": node("nodes_cfg", "CFGNorm", strength=1.0),
    "APG": node("nodes_apg", "APG", eta=0.5, norm_threshold=5.0, momentum=-0.5),
    "Mahiro": node("nodes_mahiro", "Mahiro"),
    "FreSca": node("nodes_fresca", "FreSca", scale_low=1.0, scale_high=1.5, freq_cutoff=3),
    "Epsilon Scaling": node("nodes_eps", "EpsilonScaling", scaling_factor=1.02),
}
# What changes the UNet: it acts on source and targets, and on the inversion.
DEEP_SHRINK = partial(
    node, "nodes_model_downscale", "PatchModelAddDownscale", downscale_factor=2.0, start_percent=0.0, end_percent=0.7,
    downscale_method="bicubic", upscale_method="bicubic",
)  # fmt: skip
UNET = {
    "FreeU": node("nodes_freelunch", "FreeU", b1=1.1, b2=1.5, s1=0.9, s2=0.2),
    "FreeU_V2": node("nodes_freelunch", "FreeU_V2", b1=1.3, b2=1.6, s1=0.9, s2=0.2),
    "PatchModelAddDownscale": DEEP_SHRINK(block_number=3, downscale_after_skip=True),
    "PatchModelAddDownscale, full size": DEEP_SHRINK(block_number=1, downscale_after_skip=False),
    "TomePatchModel": node("nodes_tomesd", "TomePatchModel", ratio=0.5),
    "ModelSamplingDiscrete": node("nodes_model_advanced", "ModelSamplingDiscrete", sampling="eps", zsnr=True),
    "ModelComputeDtype": node("nodes_model_advanced", "ModelComputeDtype", dtype="bf16"),
}
HYPERTILE = node("nodes_hypertile", "HyperTile", tile_size=32, swap_size=2, max_depth=0, scale_depth=False)
CACHES = {
    name: node("nodes_easycache", f"{name}Node", reuse_threshold=0.2, start_percent=0.0, end_percent=1.0, verbose=False)
    for name in ("EasyCache", "LazyCache")
}


class Steps(comfy.samplers.Sampler):
    """The DDIM steps of an inversion's noise, under whatever guider; gives z_0."""

    def __init__(self, inversion):
        self.inversion = inversion

    def sample(self, guider, sigmas, extra_args, callback, noise, *args, **kwargs):
        x = schedule.to_x(self.inversion.noise.to(noise), sigmas[0])
        for sigma, after in pairwise(sigmas):
            denoised = guider(x, sigma.expand(len(x)), **extra_args)
            x = schedule.ddim_step(x, schedule.direction(x, denoised, sigma), sigma, after)
        return schedule.to_z(x, sigmas[-1])


def sampled(model, positive, negative, inversion):
    """What the host's own guider makes of an inversion's noise."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(inversion.cfg)
    noise = torch.zeros_like(inversion.noise)
    return guider.sample(noise, noise, Steps(inversion), inversion.sigmas, disable_pbar=True, seed=0)
