"""Watch Words and Watched Word Mask: the laws, on a small model of every family that is known."""

from itertools import islice
from unittest.mock import patch

import comfy.model_management
import comfy.sample
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy.model_patcher import create_model_options_clone
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.tests.host.family_worlds import fingerprint
from comfyui_videop2p.tests.host.refusals import refused
from comfyui_videop2p.tests.host.test_word_masks import WORDS, encoded, every_kind, in_windows
from comfyui_videop2p.tests.host.test_word_weights import STEPS, model_of, plain, sampled, two_kinds, weigh
from comfyui_videop2p.tests.host.tiny_transformers import random_latent, random_text, tiny_transformer
from comfyui_videop2p.videop2p_core.host.comfy.denoiser import SOURCE, Denoiser, run
from comfyui_videop2p.videop2p_core.host.comfy.latents import as_clip, pictures_of
from comfyui_videop2p.videop2p_core.host.words import watched_words, word_masks
from comfyui_videop2p.videop2p_core.host.words.table import text_attention_of
from comfyui_videop2p.videop2p_core.host.words.word_looks import WordLooks


def watch(kind, model=None, **inputs):
    """(watched model, what its runs tell)"""
    with patch.object(watched_words, "encoded_text", lambda *_: encoded(kind)):
        model, _, watched = watched_words.watch_words(model or model_of(kind), None, "red rabbit", WORDS, **inputs)
    return model, watched


def masks(watched, latent, **inputs):
    with torch.inference_mode():
        return watched_words.watched_masks(watched, {"samples": latent}, **inputs).masks


def maps_of(watched):
    """Of the latest run."""
    return list(watched.runs.values())[-1].maps


def guided(model, kind, positive=None, seed=1):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or random_text(kind), random_text(kind, seed=seed))
    guider.set_cfg(3.0)
    return guider


def drawn(model, kind, noise, sigmas=None):
    sigmas = (
        comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
        if sigmas is None
        else sigmas
    )
    euler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        return guided(model, kind).sample(noise, noise * 0, euler, sigmas, disable_pbar=True, seed=0)


@every_kind
def test_sampling_is_bit_for_bit_what_it_was_and_masks_come_of_it(kind):
    model, watched = watch(kind)
    latent = sampled(model, kind)
    assert torch.equal(latent, plain(kind))
    found = masks(watched, latent)
    base, (height, width) = model.model, latent.shape[-2:]
    factor = base.latent_format.spacial_downscale_ratio
    pictures = pictures_of(base, latent.shape[2]) if latent.ndim == 5 else 1
    assert found.shape == (2, pictures, factor * height, factor * width)
    assert found.min() == 0 and (found.amax((-2, -1)) == 1).all()
    assert torch.equal(masks(watched, latent), found)
    assert not torch.equal(masks(watched, latent, sharp=False), found)
    assert len(watched.runs) == 1


@two_kinds
def test_maps_are_the_mean_of_what_the_steps_tell(kind):
    """Each by a call of its own, of this text alone."""
    model, watched = watch(kind)
    latents = []
    sampled(model, kind, callback=lambda step, denoised, x, steps: latents.append(x.clone()))
    family, text = text_attention_of(model_of(kind)), encoded(kind)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    looks = WordLooks(family, latents[0].shape, text.columns_of(WORDS))

    def algorithm(denoise, *_):
        options = create_model_options_clone(denoise.model_options)
        add_wrapper_with_key(WrappersMP.APPLY_MODEL, "test", looks, options, is_model_options=True)
        for x, sigma in zip(latents, sigmas, strict=False):
            Denoiser(denoise.guider, options)(as_clip(x), sigma, SOURCE)

    with torch.inference_mode():
        prepared = family.prepared(model_of(kind))
        run(prepared, text.conditioning, text.conditioning, as_clip(random_latent(kind)), sigmas, algorithm)
    assert len(latents) == STEPS and (looks.times == STEPS).all()
    torch.testing.assert_close(maps_of(watched), looks.maps(), atol=1e-6, rtol=1e-4)


@two_kinds
def test_halves_in_calls_of_their_own_tell_the_same(kind):
    model, watched = watch(kind)
    sampled(model, kind)
    together = maps_of(watched)
    with patch.object(comfy.samplers, "can_concat_cond", lambda a, b: a is b):
        sampled(model, kind)
    torch.testing.assert_close(maps_of(watched), together, atol=1e-5, rtol=1e-4)
    other = watch(kind)
    sampled(other[0], kind, guider=guided(other[0], kind, seed=2))
    assert not torch.allclose(maps_of(other[1]), together, atol=1e-4)  # another picture is sampled


@two_kinds
def test_parts_of_the_run_make_the_whole(kind):
    watchers = [watch(kind, start=start, end=end) for start, end in ((0.0, 1.0), (0.0, 0.5), (0.5, 1.0))]
    for model, _ in watchers:
        assert torch.equal(sampled(model, kind), plain(kind))
    whole, first, second = (maps_of(watched) for _, watched in watchers)
    torch.testing.assert_close((first + second) / 2, whole)
    assert not torch.equal(first, second)


@two_kinds
def test_each_run_is_known_by_what_came_of_it(kind):
    model, watched = watch(kind)
    first, second = (drawn(model, kind, random_latent(kind, seed)) for seed in (0, 1))
    found = [masks(watched, latent, sharp=False) for latent in (first, second)]
    for seed, (latent, mask) in enumerate(zip((first, second), found, strict=True)):
        alone_model, alone = watch(kind)
        assert torch.equal(drawn(alone_model, kind, random_latent(kind, seed)), latent)
        assert torch.equal(masks(alone, latent, sharp=False), mask)
    assert not torch.equal(*found)
    assert torch.equal(masks(watched, first.half(), sharp=False), found[0])  # as --fp16-intermediates passes it on
    drawn(model, kind, random_latent(kind, 0))
    assert len(watched.runs) == 2
    with refused("this latent came of none of the last runs that were watched"):
        masks(watched, first + 0.1)
    with patch.object(watched_words, "KEPT", 2):
        third = drawn(model, kind, random_latent(kind, 2))
    assert len(watched.runs) == 2 and masks(watched, first).isfinite().all() and masks(watched, third).isfinite().all()
    with refused("this latent came of none of the last runs"):
        masks(watched, second)


@two_kinds
def test_an_interrupted_run_leaves_nothing(kind):
    model = tiny_transformer(kind)
    before = fingerprint(model)
    watching, watched = watch(kind, model)

    def interrupt(step, *_):
        raise comfy.model_management.InterruptProcessingException

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sampled(watching, kind, callback=interrupt)
    assert not watched.runs
    latent = sampled(watching, kind)
    assert torch.equal(latent, plain(kind)) and torch.equal(sampled(model, kind), latent)
    masks(watched, latent)
    comfy.model_management.unload_all_models()
    assert fingerprint(model) == before


@two_kinds
def test_beside_weights_in_either_order(kind):
    text, weights = random_text(kind), {4: 4.0}
    heavy = sampled(weigh(model_of(kind), text, weights), kind)
    inside, watched = watch(kind)
    outside, also_watched = watch(kind, weigh(model_of(kind), text, weights))
    assert torch.equal(sampled(weigh(inside, text, weights), kind), heavy)
    assert torch.equal(sampled(outside, kind), heavy)
    assert torch.equal(maps_of(watched), maps_of(also_watched))


@two_kinds
def test_two_watch_one_run(kind):
    model, first = watch(kind)
    model, second = watch(kind, model, end=0.5)
    assert torch.equal(sampled(model, kind), plain(kind))
    for watched, inputs in ((first, {}), (second, {"end": 0.5})):
        alone_model, alone = watch(kind, **inputs)
        sampled(alone_model, kind)
        assert torch.equal(maps_of(watched), maps_of(alone))


@pytest.mark.parametrize("kind", ["sd15", "flux"])
def test_a_batch_and_its_windows(kind):
    noise = torch.cat([random_latent(kind, seed) for seed in range(7)])
    model, watched = watch(kind)
    latent = drawn(model, kind, noise)
    assert masks(watched, latent).shape[1] == 7
    cut_model, cut = watch(kind, in_windows(model_of(kind), 0))
    drawn(cut_model, kind, noise)
    torch.testing.assert_close(maps_of(cut), maps_of(watched), atol=1e-4, rtol=1e-2)
    alone_model, alone = watch(kind)
    drawn(alone_model, kind, noise[3:4])
    torch.testing.assert_close(maps_of(watched)[3:4], maps_of(alone), atol=1e-4, rtol=1e-2)


def test_word_mask_on_a_watched_model_is_no_run():
    model, watched = watch("flux")
    latent = sampled(model, "flux")
    found = masks(watched, latent)
    with patch.object(word_masks, "encoded_text", lambda *_: encoded("flux")), torch.inference_mode():
        word_masks.word_masks(model, None, "red rabbit", WORDS, {"samples": latent})
    assert len(watched.runs) == 1 and torch.equal(masks(watched, latent), found)


def test_what_still_holds_noise_is_not_sharpened():
    model, watched = watch("flux")
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
    latent = drawn(model, "flux", random_latent("flux"), sigmas[:-1])
    with refused("this latent still holds noise, in which nothing looks alike: turn sharp off"):
        masks(watched, latent)
    assert masks(watched, latent, sharp=False).amax() == 1


def idle(model):
    model = model.clone()
    model.add_wrapper_with_key("diffusion_model", "no work", lambda *_, **__: pytest.fail("it ran"))
    return model


@two_kinds
def test_what_cannot_be_watched_is_said_before_anything_is_sampled(kind):
    model, _ = watch(kind, idle(model_of(kind)))
    with refused("no conditioning has the text 'red rabbit', whose words are watched: sample with the conditioning"):
        sampled(model, kind, guider=guided(model, kind, random_text(kind, seed=5)))
    ((embedding, options),) = random_text(kind)
    with refused("the conditioning with the watched text holds for an area of the picture alone"):
        sampled(model, kind, guider=guided(model, kind, [[embedding, options | {"area": (4, 4, 0, 0)}]]))
    model, _ = watch(kind, idle(model_of(kind)), start=0.6, end=0.7)
    with refused("none of the 2 steps begins between 0.6 and 0.7 of the run: watch more of it"):
        sampled(model, kind)
    with refused("the words are watched from 0.5 to 0.5 of the run, which is no step"):
        watch(kind, start=0.5, end=0.5)


def test_several_clips_and_windows_that_cut_no_frames_are_refused():
    model, _ = watch("wan", idle(model_of("wan")))
    with refused("words are watched in one clip at a time, and 2 are sampled"):
        drawn(model, "wan", random_latent("wan").repeat(2, 1, 1, 1, 1))
    model, _ = watch("wan", idle(in_windows(model_of("wan"), 3)))
    with refused("the context windows on this model cut another axis than that of the frames: set dim to 2"):
        sampled(model, "wan")


def test_tiles_of_another_node_are_told():
    def tiled(apply_model, call):
        halves = call["input"].chunk(2, dim=-1)
        return torch.cat([apply_model(half, call["timestep"], **call["c"]) for half in halves], dim=-1)

    model, _ = watch("sd15")
    model.set_model_unet_function_wrapper(tiled)
    with refused("another node gives the model other pictures than those that are sampled (tiles, or some frames"):
        sampled(model, "sd15")


def test_a_text_that_is_in_use_in_no_watched_step():
    model, watched = watch("sd15", end=0.5)
    ((embedding, options),) = random_text("sd15")
    late = [[embedding, options | {"start_percent": 0.6}], [random_text("sd15", seed=3)[0][0], {"end_percent": 0.6}]]
    latent = sampled(model, "sd15", guider=guided(model, "sd15", late))
    with refused("the text was in use in none of the steps that were watched"):
        masks(watched, latent)


def test_a_thing_is_found_while_it_is_drawn(demo):
    model, clip, vae = demo
    for scene in islice(scenes.of_one_thing(1_000_000), 2):
        frames = scenes.clip(scene, 4)
        pictures = torch.from_numpy(np.stack([frame.image for frame in frames]))
        true = torch.from_numpy(np.stack([frame.mask for frame in frames])) > 0.5
        with torch.inference_mode():
            z = vae.encode(pictures)
            watching, positive, watched = watched_words.watch_words(model, clip, scenes.caption(scene), [scene.object])
            null = clip.encode_from_tokens_scheduled(clip.tokenize(""))
            drawn_again = comfy.sample.sample(
                watching, comfy.sample.prepare_noise(z, 0), 20, 4.0, "dpmpp_2m", "karras", positive, null, z,
                denoise=0.5, disable_pbar=True, seed=0,
            )  # fmt: skip
        place = masks(watched, drawn_again)[0] > 0.4
        assert (place & true).sum() / (place | true).sum() > 0.75  # 0.83 and 0.88 measured on 8 frames
