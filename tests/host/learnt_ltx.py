"""A tiny LTX-Video that has learnt the world of moving shapes of the tiny Wan (wan.py), in its own channels."""

from itertools import count
from unittest.mock import patch

import comfy.model_management
import torch
from comfy.ldm.common_dit import rms_norm
from comfy.ldm.lightricks.model import BasicTransformerBlock
from comfyui_videop2p.tests.host import ltx, wan
from comfyui_videop2p.tests.host.calls import encode

SIDE = wan.SIDE // wan.PATCH  # a place is a cell of the latent
REPEATED = ltx.CHANNELS // 16


def clip_of(caption, seed):
    """(z at the model's scale [128, frames, SIDE, SIDE], where the shape is [frames, SIDE, SIDE])."""
    z, where = wan.clip_of(caption, seed)
    return z[..., :: wan.PATCH, :: wan.PATCH].repeat_interleave(REPEATED, 0), where[:, :: wan.PATCH, :: wan.PATCH]


def out_of_place(block, x, context, attention_mask, timestep, pe, **_kwargs):
    """What a block computes, which the host does in place and so without gradients."""
    table = block.scale_shift_table + timestep.reshape(len(x), timestep.shape[1], *block.scale_shift_table.shape)
    shift, scale, gate, shift_after, scale_after, gate_after = table.unbind(dim=2)
    x = x + block.attn1(rms_norm(x) * (1 + scale) + shift, pe=pe) * gate
    x = x + block.attn2(x, context=context, mask=attention_mask)
    return x + block.ff(rms_norm(x) * (1 + scale_after) + shift_after) * gate_after


def learnt(steps=600, seed=0):
    """A tiny LTXV that has learnt the world: [velocity at random levels, Adam]."""
    model, text = ltx.tiny_ltx(seed=seed), ltx.tiny_t5()
    network = model.model.diffusion_model
    told = {caption: encode(text, caption)[0] for caption in (*wan.CAPTIONS, "")}
    told = {
        caption: (context.clone(), options["attention_mask"].clone()) for caption, (context, options) in told.items()
    }
    generator = torch.Generator().manual_seed(seed)
    network.requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    seeds = count(1000)
    training = patch.object(comfy.model_management, "in_training", True)
    with training, patch.object(BasicTransformerBlock, "forward", out_of_place), torch.enable_grad():
        for _ in range(steps):
            captions = [
                wan.CAPTIONS[int(torch.randint(0, len(wan.CAPTIONS), (), generator=generator))] for _ in range(8)
            ]
            z = torch.stack([clip_of(caption, next(seeds))[0] for caption in captions])
            captions = [caption if torch.rand((), generator=generator) > 0.1 else "" for caption in captions]
            context, mask = (torch.cat(parts) for parts in zip(*map(told.get, captions), strict=True))
            sigma = torch.rand(len(z), generator=generator)
            noise = torch.randn(z.shape, generator=generator)
            at = sigma.view(-1, 1, 1, 1, 1)
            velocity = network((1 - at) * z + at * noise, sigma, context, mask)
            loss = (velocity - (noise - z)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    network.requires_grad_(False)
    return model
