"""Word Weights inside the attention: the laws, on a small model of every family that is known."""

from dataclasses import replace
from functools import cache
from unittest.mock import patch

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Guider_DualCFG
from comfyui_videop2p.tests.host.family_worlds import fingerprint
from comfyui_videop2p.tests.host.tiny_transformers import KINDS, TOKENS, random_latent, random_text, tiny_transformer
from comfyui_videop2p.videop2p_core.edit.attention_weighting import TextWeights, WeighedWord
from comfyui_videop2p.videop2p_core.edit.curves import KeyFrames
from comfyui_videop2p.videop2p_core.host.words import word_weights
from comfyui_videop2p.videop2p_core.host.words.table import text_attention_of
from comfyui_videop2p.videop2p_core.host.words.weigh_words import with_weights
from comfyui_videop2p.videop2p_core.host.words.word_weights import WeighedText, weighed

STEPS = 2
every_kind = pytest.mark.parametrize("kind", KINDS)
two_kinds = pytest.mark.parametrize("kind", ["sd15", "wan", "flux"])  # one of each way to look at a text


@cache
def model_of(kind):
    return tiny_transformer(kind)


def weigh(model, conditioning, weights, window=(0.0, 1.0)):
    """weights: of tokens, {position: weight}, or {position: (weight, window)}"""
    pairs = {token: given if isinstance(given, tuple) else (given,) for token, given in weights.items()}
    words = tuple(WeighedWord(str(token), (token,), *given) for token, given in pairs.items())
    weights = TextWeights(conditioning[0][0].shape[1], words)
    return with_weights(model, WeighedText("text", conditioning, weights, window, text_attention_of(model)))


def sampled(model, kind, cfg=3.0, guider=None, callback=None):
    if guider is None:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(random_text(kind), random_text(kind, seed=1))
        guider.set_cfg(cfg)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    sampler, noise = comfy.samplers.sampler_object("euler"), random_latent(kind)
    with torch.inference_mode():
        latent = guider.sample(noise, noise * 0, sampler, sigmas, callback=callback, disable_pbar=True, seed=0)
    return latent.unbind()[0] if latent.is_nested else latent


@cache
def plain(kind):
    latent = sampled(model_of(kind), kind)
    assert latent.isfinite().all()
    return latent


def maps_written_out(call, weights):
    """The rows of a call with a bias of log w on the logits of the text's keys, for the picture's queries alone."""
    q, k, v = (x.double() for x in (call.q, call.k, call.v))
    if q.ndim == 3:
        q, k, v = (x.unflatten(-1, (call.heads, -1)).transpose(1, 2) for x in (q, k, v))
    k, v = (x.repeat_interleave(call.heads // x.shape[1], dim=1) for x in (k, v))
    logits = q @ k.mT * q.shape[-1] ** -0.5
    if call.mask is not None:
        logits = logits + call.mask.double().reshape(len(call.mask), -1, *call.mask.shape[-2:])
    bias = torch.zeros(logits.shape[-2:], dtype=torch.float64)
    bias[call.picture, call.text] = weights.double().log()
    return ((logits + bias).softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


@every_kind
def test_a_weight_is_a_bias_on_the_logits(kind):
    """In double precision, by the host's own kernel."""
    errors = []

    def checked(call, weights):
        precise = replace(call, q=call.q.double(), k=call.k.double(), v=call.v.double())
        if call.mask is not None and call.mask.is_floating_point():
            precise = replace(precise, mask=call.mask.double())
        out = weighed(precise, weights)
        errors.append((out - maps_written_out(precise, weights)).abs().max().item())
        return out.to(call.q)

    with patch.object(word_weights, "weighed", checked):
        heavy = sampled(weigh(model_of(kind), random_text(kind), {3: 4.0, 5: 0.25, 6: 0.0}), kind)
    assert len(errors) >= 2 * STEPS  # two layers or more
    assert max(errors) < 1e-12
    # As it runs, it is as near as single precision.
    torch.testing.assert_close(
        heavy, sampled(weigh(model_of(kind), random_text(kind), {3: 4.0, 5: 0.25, 6: 0.0}), kind), atol=2e-4, rtol=1e-4
    )
    assert (heavy - plain(kind)).abs().max() > 1e-2


@every_kind
def test_weight_one_and_a_closed_window_are_the_plain_model(kind):
    model, text = model_of(kind), random_text(kind)
    assert torch.equal(sampled(weigh(model, text, {3: 1.0}), kind), plain(kind))
    assert torch.equal(sampled(weigh(model, text, {3: (4.0, (0.0, 0.0))}), kind), plain(kind))
    # From a share on that no level of this run lies beyond.
    assert torch.equal(sampled(weigh(model, text, {3: 4.0}, window=(0.999, 1.0)), kind), plain(kind))


@every_kind
def test_two_words_are_the_sum_of_their_biases(kind):
    model, text = model_of(kind), random_text(kind)
    together = sampled(weigh(model, text, {3: 4.0, 5: 0.25}), kind)
    apart = sampled(weigh(weigh(model, text, {3: 4.0}), text, {5: 0.25}), kind)
    torch.testing.assert_close(together, apart, atol=5e-4, rtol=1e-4)


@every_kind
def test_the_model_is_what_it_was(kind):
    model = tiny_transformer(kind)
    before = fingerprint(model)

    def interrupt(step, *_):
        raise comfy.model_management.InterruptProcessingException

    heavy = weigh(model, random_text(kind), {3: 4.0})
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sampled(heavy, kind, callback=interrupt)
    assert not torch.equal(sampled(heavy, kind), plain(kind))
    assert torch.equal(sampled(model, kind), plain(kind))
    comfy.model_management.unload_all_models()
    assert fingerprint(model) == before


@two_kinds
def test_the_other_prompt_is_left_alone(kind):
    """At guidance 0 nothing but the negative prompt is left of a prediction."""
    model = model_of(kind)
    heavy = weigh(model, random_text(kind), {3: 4.0})
    assert torch.equal(sampled(heavy, kind, cfg=0.0), sampled(model, kind, cfg=0.0))


@two_kinds
def test_weights_change_over_the_steps(kind):
    model, text = model_of(kind), random_text(kind)
    late = sampled(weigh(model, text, {3: (4.0, (0.5, 1.0))}), kind)
    curve = sampled(weigh(model, text, {3: KeyFrames(((0.0, 1.0), (1.0, 4.0)))}), kind)
    assert torch.equal(late, curve)  # of two steps the last alone
    assert not torch.equal(late, plain(kind))


@two_kinds
def test_guiders_with_more_prompts(kind):
    def dual(model):
        guider = Guider_DualCFG(model)
        guider.set_conds(random_text(kind), random_text(kind, seed=2), random_text(kind, seed=1))
        guider.set_cfg(3.0, 2.0)
        return guider

    heavy = weigh(model_of(kind), random_text(kind), {3: 4.0})
    assert not torch.equal(
        sampled(heavy, kind, guider=dual(heavy)), sampled(model_of(kind), kind, guider=dual(model_of(kind)))
    )


@two_kinds
def test_a_text_that_is_not_sampled_with_is_told(kind):
    with pytest.raises(ValueError, match="no conditioning has the text 'text', whose words are weighed"):
        sampled(weigh(model_of(kind), random_text(kind, seed=5), {3: 4.0}), kind)


@pytest.mark.parametrize("kind", ["wan", "flux"])
def test_a_kernel_of_another_node_is_used(kind):
    """One that knows no mask, as some that run in 8 bits."""
    calls = []

    def override(function, q, k, v, heads, **kwargs):
        assert "mask" not in kwargs or kwargs["mask"] is None
        calls.append(q.shape)
        return function(q, k, v, heads, **kwargs)

    model = model_of(kind).clone()
    heavy = sampled(weigh(model, random_text(kind), {3: 4.0}), kind)
    model.model_options["transformer_options"]["optimized_attention_override"] = override
    assert torch.equal(sampled(weigh(model, random_text(kind), {3: 4.0}), kind), heavy)
    assert calls


@pytest.mark.parametrize("kind", ["sd15"])
def test_what_another_node_adds_in_the_slot_stays(kind):
    """As an image prompt does: its part is what it was."""
    from comfy.ldm.modules.attention import optimized_attention

    def occupant(q, k, v, options):
        return optimized_attention(q, k, v, options["n_heads"]) + 0.1 * q

    def occupied(model):
        model = model.clone()
        for block in (("input", number) for number in (1, 2, 4, 5, 7, 8)):
            model.set_model_attn2_replace(occupant, *block)
        return model

    both = sampled(occupied(weigh(model_of(kind), random_text(kind), {3: 4.0})), kind)
    other_order = sampled(weigh(occupied(model_of(kind)), random_text(kind), {3: 4.0}), kind)
    assert torch.equal(both, other_order)
    assert not torch.equal(both, sampled(occupied(model_of(kind)), kind))
    weightless = sampled(occupied(weigh(model_of(kind), random_text(kind), {3: 1.0})), kind)
    assert torch.equal(weightless, sampled(occupied(model_of(kind)), kind))


def test_a_node_that_computes_the_attention_itself_is_told():
    model = weigh(model_of("wan"), random_text("wan"), {3: 4.0})
    for index in range(2):
        model.add_object_patch(f"diffusion_model.blocks.{index}.cross_attn.forward", lambda x, *_, **__: x)
    with pytest.raises(ValueError, match="another node computes how this model looks at its text"):
        sampled(model, "wan")


def test_texts_of_other_lengths_in_one_call():
    """The host repeats both to a common length."""
    kind, model = "sd15", model_of("sd15")
    short, long = random_text(kind), [[random_text(kind, seed=1)[0][0].repeat(1, 2, 1)[:, : TOKENS + 6], {}]]

    def guided(model):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(short, long)
        guider.set_cfg(3.0)
        return guider

    heavy = weigh(model, short, {3: 4.0})
    together = sampled(heavy, kind, guider=guided(heavy))
    with patch.object(comfy.samplers, "can_concat_cond", lambda a, b: a is b):
        apart = sampled(heavy, kind, guider=guided(heavy))
    torch.testing.assert_close(together, apart, atol=1e-3, rtol=1e-4)
