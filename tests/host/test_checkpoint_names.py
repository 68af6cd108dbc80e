"""Names and shapes of the official layout at full size, beside the diffusers library's."""

import comfy.model_detection
import comfy.utils
import pytest
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfyui_videop2p.tests.host.checkpoints import UNET, with_weights
from comfyui_videop2p.videop2p_core.storage import official_checkpoint as names_and_config

SD2 = {"num_heads": -1, "num_head_channels": 64, "context_dim": 1024, "use_linear_in_transformer": True}


@pytest.mark.parametrize("config", [UNET, UNET | SD2], ids=["Stable Diffusion 1.5", "Stable Diffusion 2"])
def test_the_diffusers_library_agrees_on_every_name_and_shape(config):
    from diffusers import UNet2DConditionModel

    with with_weights(), torch.device("meta"):
        own = UNetModel(**config, out_channels=4).state_dict()
        detected = comfy.model_detection.model_config_from_unet(own, "").unet_config
        image = names_and_config.image_config(names_and_config.unet_config(detected))
        theirs = UNet2DConditionModel.from_config(image).state_dict()
    names = names_and_config.names_of(comfy.utils.unet_to_diffusers(detected), own)
    assert len(theirs) == len(own) == 686
    assert {name: own[names[name]].shape for name in names} == {name: value.shape for name, value in theirs.items()}
