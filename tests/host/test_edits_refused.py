"""Models, conditionings and edits that do not fit each other are refused."""

import pytest
import torch
from comfyui_videop2p.tests.host.random_edits import (
    TOKENS,
    conditioning,
    edit,
    first_prompt,
    image,
    inverted,
    model,
    plain_sample,
    sample,
    seed,
)
from comfyui_videop2p.videop2p_core.host.edit.target import PreparedEdit, Target
from comfyui_videop2p.videop2p_core.host.model.frame_attention import Inflation
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate
from einops import rearrange

__all__ = ["image", "model", "seed"]


def test_tiles_of_another_node_are_refused(image):
    inflated = inflate(image, Inflation())
    inflated.set_model_attn1_patch(lambda n, context, value, options: (n, context, value))
    patches = inflated.model_options["transformer_options"]["patches"]["attn1_patch"]
    halves = lambda n, context, value, options: (rearrange(n, "b (s t) c -> (b s) t c", s=2),) * 3  # noqa: E731
    patches.insert(0, halves)
    with pytest.raises(ValueError, match="cuts frames into tiles"):
        plain_sample(inflated)


def test_a_model_without_a_unet_is_refused(image):
    other = image.clone()
    other.add_object_patch("diffusion_model", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="cannot be inflated: connect an image model"):
        inflate(other, Inflation())


def test_an_edit_of_other_steps_is_refused(model):
    with pytest.raises(ValueError, match="made for 5 steps, the inversion has 3"):
        sample(model, [edit(steps=5)])


def test_an_edit_of_another_prompt_is_refused(model):
    with pytest.raises(ValueError, match="77 and 154 tokens, the conditionings have 77 and 77"):
        sample(model, [edit(tokens=(TOKENS, 2 * TOKENS))])


def test_a_conditioning_of_an_area_is_refused(model):
    target = conditioning()
    target[0][1]["area"] = (4, 4, 0, 0)
    with pytest.raises(ValueError, match="needs the whole picture"):
        sample(model, [edit()], target=target)


def test_another_null_conditioning_is_refused(model):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null)
    with pytest.raises(ValueError, match="the null conditioning is not the one"):
        PreparedEdit(start, source, conditioning(), [Target(target, edit())])


def test_conditionings_in_use_at_different_steps_are_refused(model):
    late = [[first_prompt()[0][0], {"start_percent": 0.5}]]
    with pytest.raises(ValueError, match="give both the same timestep range"):
        sample(model, [edit()], target=late)
