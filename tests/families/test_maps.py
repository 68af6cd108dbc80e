"""An edit is that of the attention maps written out, on every family: a whole step, and each layer's in float64, which
the host's networks do not run in."""

from functools import partial

import comfy.samplers
import pytest
import torch
import torch.nn.functional as F
from comfy.model_patcher import create_model_options_clone
from comfyui_videop2p.tests.families.worlds import BIG, BLUE, CFG, RED
from comfyui_videop2p.videop2p_core.host.comfy.latents import as_latent, latent_out
from comfyui_videop2p.videop2p_core.host.control import attention_control as controls
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import prepare_edit
from comfyui_videop2p.videop2p_core.host.families.table import family_of
from einops import rearrange


class Maps:
    """What an edit does to attention, written out: cross attention by the maps themselves, softmax(q k^T) of both
    branches and then the pair; attention over all frames, where there is one, with the source's maps."""

    def __init__(self, pair, places, temporal, sound):
        self.pair, self.places, self.temporal, self.sound = pair, places, temporal, sound
        self.source, self.edited, self.call = {}, False, 0

    def __call__(self, function, q, k, v, heads, mask=None, **kwargs):
        given = {} if mask is None else {"mask": mask}
        if kwargs["transformer_options"]["cond_or_uncond"] != [0]:
            return function(q, k, v, heads, **given, **kwargs)
        queries, keys = q.shape[-2], k.shape[-2]
        cross = keys == self.pair[0].shape[-1 if self.edited else -2] and keys != queries
        over_frames = self.temporal and queries == keys == self.places
        call, self.call = self.call, self.call + 1  # both branches call the same attentions in the same order
        if not over_frames and not (cross and queries != self.sound):
            return function(q, k, v, heads, **given, **kwargs)
        if not kwargs.get("skip_reshape"):
            q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k, v))
        logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
        maps = (logits if mask is None else logits + mask).softmax(-1)
        if not self.edited:
            self.source[call] = maps
        elif cross:
            source, target = (part.to(maps) for part in self.pair)
            maps = self.source[call] @ source + maps * target
            if mask is not None:  # a token that is hidden has no column
                maps = maps * (mask == 0)
        else:
            maps = self.source[call]
        return rearrange(maps @ v, "b h t d -> b t (h d)")


class OneStep(comfy.samplers.Sampler):
    def __init__(self, inversion, maps):
        self.inversion, self.maps, self.x = inversion, maps, None

    def sample(self, wrap, sigmas, extra_args, *args, **kwargs):
        options, model = create_model_options_clone(extra_args["model_options"]), wrap.inner_model
        options.setdefault("transformer_options", {})["optimized_attention_override"] = self.maps
        scale = 1 if self.inversion.flow else (1 + sigmas[0] ** 2).sqrt()
        x = as_latent(model, self.inversion.noise.to(sigmas) * scale)

        def predicted(name, options):
            return comfy.samplers.calc_cond_batch(model, [wrap.conds[name], None], x, sigmas[:1], options)[0]

        predicted("source", options)
        self.maps.edited, self.maps.call = True, 0
        cond, uncond = predicted("target", options), predicted("null", extra_args["model_options"])
        denoised = uncond + CFG * (cond - uncond)
        x = x + (x - denoised) / sigmas[0] * (sigmas[1] - sigmas[0])
        self.x = x if self.inversion.flow else x / (1 + sigmas[1] ** 2).sqrt()
        return x


@pytest.mark.parametrize("prompt, weights", [(BLUE, "blue: 3"), (BIG, "sand: 2")], ids=["swap", "refine"])
def test_a_step_is_that_of_the_maps_written_out(world, prompt, weights):
    model = world.model
    inversion, *_ = world.inverted(steps=1)
    edit = world.controlled(prompt, cross_window=1.0, temporal_window=float(world.video), word_weights=weights)
    given = {"source": world.encoded(RED), "null": world.encoded(""), "target": world.encoded(prompt)}
    with torch.inference_mode():
        prepared = prepare_edit(model, inversion, [edit], given["source"], [given["target"]], given["null"])
        ours = decoupled_sample(model, prepared).targets[0]
        compiled = prepared.targets[0].edit
        sound = None if world.heard is None else world.heard.shape[2]
        maps = Maps((compiled.source[0], compiled.target[0]), world.tokens, world.video, sound)
        guider = comfy.samplers.CFGGuider(family_of(model).with_sound(model, inversion.sound))
        guider.inner_set_conds(given)
        step, nothing = OneStep(inversion, maps), as_latent(model.model, torch.zeros_like(inversion.noise))
        guider.sample(nothing, nothing, step, inversion.sigmas, disable_pbar=True, seed=0)
        expected = latent_out(model.model, step.x[0].movedim(1, 0) if world.video else step.x)
    assert len(maps.source) >= 4
    plain, *_ = world.edited(inversion, world.controlled(prompt))
    error, acted = ((ours - other).abs().max() for other in (expected.cpu(), plain[0]))
    assert error < 0.01 * acted and acted > 100 * torch.finfo(torch.float32).eps


@pytest.mark.parametrize("prompt", [BLUE, BIG], ids=["swap", "refine"])
def test_every_layer_s_edit_is_that_of_its_maps_in_float64(world, monkeypatch, prompt):
    errors, edited_attention = [], controls.edited_attention

    def compared(q, k, v, source_q, source_k, source, target, heads, attend, attend_source):
        parts = q, k, v, source_q, source_k, source, target
        q, k, v, source_q, source_k, source, target = (None if x is None else x.double() for x in parts)
        own, of_source = (each.keywords.get("mask") for each in (attend, attend_source))
        ours = edited_attention(
            q, k, v, source_q, source_k, source, target, heads, partial(masked, own), partial(masked, of_source)
        )
        maps = 0 if source is None else maps_of(source_q, source_k, heads, of_source) @ source
        maps = maps + (0 if target is None else maps_of(q, k, heads, own) * target)
        values = rearrange(v, "b t (h d) -> b h t d", h=heads)
        written = rearrange(maps @ values, "b h t d -> b t (h d)")
        errors.append(((ours - written).abs().max() / written.std()).item())
        return edited_attention(*parts, heads, attend, attend_source)

    monkeypatch.setattr(controls, "edited_attention", compared)
    inversion, *_ = world.inverted(steps=1)
    world.edited(inversion, world.controlled(prompt, cross_window=1.0, word_weights="sand: 2"))
    assert len(errors) == len(family_of(world.model).cross_attention_layers(world.model.model.diffusion_model))
    assert max(errors) < 1e-12


def maps_of(q, k, heads, mask):
    q, k = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k))
    logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
    return (logits if mask is None else logits + mask.double()).softmax(-1)


def masked(mask, q, k, v, heads):
    q, k, v = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k, v))
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.double())
    return rearrange(out, "b h t d -> b t (h d)")
