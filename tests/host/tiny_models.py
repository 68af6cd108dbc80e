"""What makes small MODELs of the host's own architectures: of a config, with random weights."""

import comfy.model_management
import comfy.model_patcher
import torch
from comfyui_videop2p.tests.host.checkpoints import with_weights


def built(config, fill, seed):
    """A MODEL of a supported config, its network filled."""
    device = comfy.model_management.unet_offload_device()
    config.set_inference_dtype(torch.float32, None)
    with with_weights():
        model = config.get_model({}, "", device)
    fill(model.diffusion_model, seed)
    return comfy.model_patcher.CoreModelPatcher(model, comfy.model_management.get_torch_device(), device)


@torch.no_grad()
def fill(network, seed):
    """Normal weights of standard deviation 1 / sqrt(inputs); norms change nothing but that words are looked at
    sharply."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=parameter[0].numel() ** -0.5, generator=generator)
        elif "norm" in name and "weight" in name:
            parameter.fill_(3 if "cross_att" in name else 1)
        else:
            parameter.normal_(std=0.2, generator=generator)
    network.requires_grad_(False)
