"""Words weighed, watched and looked for beside what other nodes do to a model and its conditionings."""

from unittest.mock import patch

import comfy.controlnet
import comfy.hooks
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import set_torch_compile_wrapper
from comfy_extras.nodes_hooks import SetClipHooks
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.tests.host.refusals import refused
from comfyui_videop2p.tests.host.test_watched_words import drawn, guided, maps_of, masks, watch
from comfyui_videop2p.tests.host.test_word_masks import encoded, in_windows
from comfyui_videop2p.tests.host.test_word_weights import model_of, sampled, weigh
from comfyui_videop2p.tests.host.tiny_transformers import random_latent, random_text
from comfyui_videop2p.tests.peers.stock import CACHES, HYPERTILE, UNET
from comfyui_videop2p.videop2p_core.host.words import word_masks
from comfyui_videop2p.videop2p_core.host.words.table import text_attention_of
from comfyui_videop2p.videop2p_core.host.words.watched_words import RunLooks
from comfyui_videop2p.videop2p_core.host.words.word_looks import Likeness

TEXT = "a red rabbit on the beach"
image_kinds = pytest.mark.parametrize("kind", ["sd15", "flux"])


def batch(kind, pictures):
    return torch.cat([random_latent(kind, seed) for seed in range(pictures)])


@image_kinds
def test_a_batch_that_another_node_takes_apart_is_told(kind):
    """Picture by picture their maps would be one map of all."""

    def one_by_one(executor, model, conds, x, timestep, options):
        out = [executor(model, conds, x[i : i + 1], timestep[i : i + 1], options) for i in range(len(x))]
        return [torch.cat(half) for half in zip(*out, strict=True)]

    model = model_of(kind).clone()
    model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "test", one_by_one)
    watching, watched = watch(kind, model)
    with refused("another node gives the model other pictures than those that are sampled"):
        drawn(watching, kind, batch(kind, 2))
    masks(watched, drawn(watching, kind, batch(kind, 1)))  # of one there is no part


def test_frames_whose_windows_read_another_text_have_no_place_of_the_word():
    kind = "sd15"
    model, watched = watch(kind, in_windows(model_of(kind), 0, split_conds_to_windows=True, causal_window_fix=False))
    noise = batch(kind, 6)
    with patch(f"{drawn.__module__}.random_text", lambda *_, seed=0: random_text(kind, seed) + random_text(kind, 5)):
        latent = drawn(model, kind, noise)
    for sharp in (False, True):
        found = masks(watched, latent, sharp=sharp)
        assert (found[:, :3].amax((-2, -1)) == 1).all() and not found[:, 3:].any()


def levels(model, steps):
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", steps)


@pytest.mark.parametrize("cache", CACHES)
def test_calls_that_a_cache_leaves_out(cache):
    kind, told = "sd15", []
    cached = CACHES[cache](model_of(kind))
    noise, sigmas = random_latent(kind), levels(cached, 12)
    expected = drawn(cached, kind, noise, sigmas)
    assert not torch.equal(expected, drawn(model_of(kind), kind, noise, sigmas))
    watching, watched = watch(kind, cached)
    with patch.object(RunLooks, "_add", lambda looks, *args: told.append(args) or super(RunLooks, looks)._add(*args)):
        assert torch.equal(drawn(watching, kind, noise, sigmas), expected)
    assert 2 <= len(told) < 12 and maps_of(watched).isfinite().all()
    heavy = drawn(weigh(cached, random_text(kind), {4: 4.0}), kind, noise, sigmas)
    assert not torch.equal(heavy, expected)


@pytest.mark.parametrize("cut", ["merged", "in tiles"])
def test_what_looks_alike_is_not_told_by_queries_of_other_places(cut):
    kind, noise = "sd15", torch.randn(2, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    patched = {"merged": UNET["TomePatchModel"], "in tiles": HYPERTILE}[cut](model_of(kind))
    watching, watched = watch(kind, patched)
    latent = drawn(watching, kind, noise)
    assert masks(watched, latent, sharp=False).shape == (2, 2, 128, 128)
    with refused("another node computes how this model looks at its picture, or leaves calls of it out, so that"):
        masks(watched, latent)


def test_a_text_that_is_weighed_beside_the_one_that_is_watched():
    """What looks alike is seen by the watched text alone, in which nothing is weighed."""
    kind, other = "sd15", random_text("sd15", seed=7)
    heavy = weigh(model_of(kind), other, {4: 4.0})
    watching, watched = watch(kind, heavy)
    latent = sampled(watching, kind, guider=guided(watching, kind, other + random_text(kind)))
    plain_looks = watch(kind)[1]
    plain_looks.runs.update(watched.runs)
    assert torch.equal(masks(watched, latent), masks(plain_looks, latent))
    with patch.object(word_masks, "encoded_text", lambda *_: encoded(kind)), torch.inference_mode():
        of = [
            word_masks.word_masks(model, None, "", ("red",), {"samples": latent}) for model in (heavy, model_of(kind))
        ]
    assert torch.equal(of[0].masks, of[1].masks)


def changing_clip(clip):
    """Its LoRA comes in after two fifths of the run."""
    weights, generator = {}, torch.Generator().manual_seed(0)
    for name, value in clip.cond_stage_model.state_dict().items():
        if name.endswith(("mlp.fc1.weight", "mlp.fc2.weight")):
            layer = "lora_te_" + name.split("transformer.")[1].removesuffix(".weight").replace(".", "_")
            weights[f"{layer}.lora_up.weight"] = torch.randn(len(value), 4, generator=generator)
            weights[f"{layer}.lora_down.weight"] = torch.randn(4, value.shape[1], generator=generator)
    hooks, keyframes = comfy.hooks.create_hook_lora(weights, 0.0, 1.0), comfy.hooks.HookKeyframeGroup()
    for strength, start in ((0.0, 0.0), (1.0, 0.4)):
        keyframes.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=start))
    hooks.set_keyframes_on_hooks(keyframes)
    return SetClipHooks().apply_hooks(clip, True, True, hooks)[0]


def test_a_text_encoder_that_changes_over_the_run(demo):
    """Its text has an embedding for each part of the run."""
    model, clip, _ = demo
    clip = changing_clip(clip)
    watching, positive, looks = run("WatchWords", model=model, clip=clip, text=TEXT, words="rabbit", start=0.5)
    assert len(positive) == 2 and not torch.allclose(positive[0][0], positive[1][0], atol=0.5)

    def sampled(model):
        z = torch.zeros(1, 4, 16, 16)
        noise = comfy.sample.prepare_noise(z, 0)
        with torch.inference_mode():
            return comfy.sample.sample(
                model, noise, 5, 3.0, "euler", "normal", positive, encode(clip, ""), z, disable_pbar=True, seed=0
            )

    run("WatchedWordMask", looks=looks, latent={"samples": sampled(watching)}, sharp=False)  # of the last two steps
    late = run("WordWeights", model=model, clip=clip, text=TEXT, weights="rabbit: 4, rabbit: window 0.6 - 1")[0]
    assert not torch.equal(sampled(late), sampled(model))


@image_kinds
def test_a_compiled_model(kind):
    """Its network stands in another module while it is called."""
    torch.compiler.reset()
    compiled = model_of(kind).clone()
    set_torch_compile_wrapper(compiled, backend=lambda graph, _: graph.forward)
    watching, watched = watch(kind, weigh(compiled, random_text(kind), {4: 4.0}))
    latent = sampled(watching, kind)
    eager, also_watched = watch(kind, weigh(model_of(kind), random_text(kind), {4: 4.0}))
    torch.testing.assert_close(latent, sampled(eager, kind), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(maps_of(watched), maps_of(also_watched), atol=1e-6, rtol=1e-4)
    torch.compiler.reset()


def test_what_looks_alike_is_asked_of_frames_that_read_each_other(demo):
    """The network of an inflated model goes on as it is."""
    model, clip, _ = demo
    (inflated,) = run("InflateUNet", model=model)
    family, text = text_attention_of(inflated), encode(clip, TEXT)
    z = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0))

    def denoised(observer):
        with torch.inference_mode():
            return word_masks.observed(inflated, family, text, z, 0, lambda observe: observe(observer, 0.5))

    looked_into = denoised(Likeness(family, z.shape, torch.rand(3, 1, 16, 16)))
    torch.testing.assert_close(looked_into, denoised(lambda executor, *args, **kwargs: executor(*args, **kwargs)))


@image_kinds
@pytest.mark.parametrize("limited", ["positive", "negative"])
def test_an_area_of_the_negative_prompt(kind, limited):
    """The host gives each prompt a copy of the other's entry for its area, which is here the whole picture."""
    text = random_text(kind) if limited == "positive" else random_text(kind, seed=1)  # that is weighed
    ((embedding, options),) = random_text(kind, seed=1)
    area = [[embedding, options | {"area": (8, 8, 0, 0)}]]
    heavy = weigh(model_of(kind), text, {4: 4.0})
    guider = comfy.samplers.CFGGuider(heavy)
    guider.set_conds(random_text(kind), area)
    guider.set_cfg(3.0)
    torch.testing.assert_close(sampled(heavy, kind, guider=guider), sampled(heavy, kind), atol=1e-4, rtol=1e-4)


@image_kinds
def test_weights_in_windows(kind):
    """Each picture is drawn by itself in any case."""
    noise, model = batch(kind, 6), model_of(kind)
    whole, cut = (drawn(weigh(one, random_text(kind), {4: 4.0}), kind, noise) for one in (model, in_windows(model, 0)))
    torch.testing.assert_close(cut, whole, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(whole, drawn(model, kind, noise), atol=1e-2)


def test_tokens_that_another_node_puts_behind_the_text():
    def behind(q, context, value, _):
        return q, *(torch.cat([x, x[:, :4]], dim=1) for x in (context, value))

    model = model_of("sd15").clone()
    model.set_model_attn2_patch(behind)
    with refused("another node computes how this model looks at its text, so that no word can be found"):
        sampled(watch("sd15", model)[0], "sd15")
    with refused("another node computes how this model looks at its text, so that no word can be weighed"):
        sampled(weigh(model, random_text("sd15"), {4: 4.0}), "sd15")


def test_a_reference_control_net_is_refused():
    """It would have its own picture looked at too."""
    ((embedding, options),) = random_text("sd15")
    control = comfy.controlnet.ControlBase()
    hook = comfy.hooks.TransformerOptionsHook(transformers_dict={"wrappers": {}})
    control.extra_hooks = comfy.hooks.HookGroup()
    control.extra_hooks.add(hook)
    model, _ = watch("sd15")
    with refused("a ControlNet on the positive conditioning calls the model once more in every call, with a picture"):
        sampled(model, "sd15", guider=guided(model, "sd15", [[embedding, options | {"control": control}]]))


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_a_text_of_no_words(demo, text):
    model, clip, _ = demo
    with refused("the text has no words: write the sentence that has them"):
        run("WatchWords", model=model, clip=clip, text=text)
    with refused("the text has no words: write the sentence that has them"):
        run("WordMask", model=model, clip=clip, text=text, latent={"samples": torch.zeros(1, 4, 16, 16)})
