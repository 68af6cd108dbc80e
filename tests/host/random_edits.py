"""Random edits under random prompts on the small reference UNet, and what they are compared with."""

from pathlib import Path

import comfy.samplers
import pytest
import torch
from comfyui_videop2p.tests.parity.model import image_model, inflated_model, load_json
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.edit.matrices import Edit
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.target import PreparedEdit, Target
from einops import rearrange

REFERENCE = Path(__file__).parents[1] / "reference"
STEPS, TOKENS = 3, 77
CHANNELS = load_json(REFERENCE, "unet_config")["cross_attention_dim"]


@pytest.fixture(scope="module")
def image():
    return image_model(REFERENCE)


@pytest.fixture(scope="module")
def model():
    # In float32 rounding alone grows to 3e-5 under guidance: the reference's own spread.
    return inflated_model(REFERENCE, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def conditioning(tokens=TOKENS):
    """A random prompt. Prompts are near each other, so that guidance does not drive the latents out of their range."""
    common = torch.randn(1, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(0))
    common = common.repeat(1, tokens // TOKENS, 1)
    return [[common + 0.3 * torch.randn(1, tokens, CHANNELS), {}]]


def edit(source=None, target=None, temporal=True, steps=STEPS, tokens=(TOKENS, TOKENS)):
    """The same pair at every step; without one a random edit of the last two thirds of the tokens."""
    if source is None:
        shift = (torch.rand(tokens) < 0.05).float() * torch.rand(tokens)
        source, target = shift, torch.rand(tokens[1])
    return Edit(source.expand(steps, *tokens), target.expand(steps, tokens[1]), torch.full((steps,), temporal))


def no_edit():
    return edit(torch.zeros(TOKENS, TOKENS), torch.ones(TOKENS), temporal=False)


def take_the_source():
    return edit(torch.eye(TOKENS), torch.zeros(TOKENS))


def inverted(model, source, null, method=inversions.SHARED_NULL_TEXT, frames=2, height=8, width=8):
    optimised = (
        torch.stack([conditioning()[0][0] for _ in range(STEPS)]) if method in inversions.NULL_TEXT_METHODS else None
    )
    return Inversion(
        method=method,
        trajectory=torch.randn(STEPS + 1, frames, 4, height, width),
        sigmas=schedule.ddim_sigmas(model.get_model_object("model_sampling").sigmas, STEPS),
        source=source[0][0],
        initial_null=null[0][0],
        null=optimised,
    )


def sample(model, edits, blend=None, size=(2, 8, 8), method=inversions.SHARED_NULL_TEXT, target=None, **options):
    """Edit random noise under random prompts, the same in every call: Edited."""
    torch.manual_seed(1)
    source, null, targets = conditioning(), conditioning(), [target or conditioning() for _ in edits]
    start = inverted(model, source, null, method, *size)
    targets = [Target(t, e, blend) for t, e in zip(targets, edits, strict=True)]
    return decoupled_sample(model, PreparedEdit(start, source, null, targets), **options)


def first_prompt():
    """What `sample` draws for the source."""
    torch.manual_seed(1)
    return conditioning()


class Plain(comfy.samplers.Sampler):
    """Euler steps and nothing else."""

    def __init__(self, start):
        self.start = start

    def sample(self, guider, sigmas, extra_args, callback, noise, *args, **kwargs):
        x = schedule.to_x(noise, sigmas[0])
        for sigma, after in zip(sigmas, sigmas[1:], strict=False):
            denoised = guider(x, sigma.expand(len(x)), model_options=extra_args["model_options"], seed=0)
            x = schedule.ddim_step(x, schedule.direction(x, denoised, sigma), sigma, after)
        return schedule.to_z(x, sigmas[-1])


def plain_sample(model, size=(2, 8, 8)):
    """The clip that `sample` edits, under the target prompt without any control."""
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null, inversions.SHARED_NULL_TEXT, *size)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(target, null)
    guider.set_cfg(start.cfg)
    sampled = guider.sample(start.noise, torch.zeros_like(start.noise), Plain(start), start.sigmas, disable_pbar=True)
    return sampled.cpu()


def edited_by_maps(q, k, v, source_q, source_k, source, target, heads, attend, attend_source=None):
    """Prompt-to-prompt as published: the maps, their edit, then the values."""

    def maps(q, k):
        q, k = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k))
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)

    of_source = 0 if source is None else maps(source_q, source_k) @ source.to(q)
    of_target = 0 if target is None else maps(q, k) * target.to(q)
    edited = of_source + of_target
    return rearrange(edited @ rearrange(v, "b t (h d) -> b h t d", h=heads), "b h t d -> b t (h d)")


def assert_close(model, actual, expected, atol=1e-5):
    """At the model's own scale, where latents have a standard deviation of about 1."""
    actual, expected = map(model.model.process_latent_in, (actual, expected))
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)
