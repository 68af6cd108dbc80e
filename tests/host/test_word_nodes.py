"""Word Weights, Word Mask and Watch Words as nodes: what they give, and what they refuse before anything runs."""

from unittest.mock import patch

import comfy.sample
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host.calls import SOURCE, encode, run
from comfyui_videop2p.tests.host.refusals import refused
from comfyui_videop2p.tests.host.test_other_families import unweighted
from comfyui_videop2p.tests.host.wan import tiny_text, tiny_wan

import nodes as stock

STRIPED = "a red striped rabbit on the beach"


def drawn(model, positive, clip, seed=0):
    latent = torch.zeros(1, 4, 16, 16)
    noise = comfy.sample.prepare_noise(latent, seed)
    with torch.inference_mode():
        return comfy.sample.sample(
            model, noise, 4, 3.0, "euler", "normal", positive, encode(clip, ""), latent, disable_pbar=True, seed=seed
        )


def test_words_are_weighed_in_the_text_that_is_given_out(demo):
    model, clip, _ = demo
    heavy, positive = run("WordWeights", model=model, clip=clip, text=STRIPED, weights="striped: 3, red: 0.5")
    assert torch.equal(positive[0][0], encode(clip, STRIPED)[0][0])
    plain = drawn(model, positive, clip)
    weighed = drawn(heavy, positive, clip)
    assert not torch.equal(weighed, plain)
    # The same text from another node is the same text; the input is what it was.
    assert torch.equal(drawn(heavy, encode(clip, STRIPED), clip), weighed)
    assert torch.equal(drawn(model, positive, clip), plain)


@pytest.mark.parametrize("weights", ["", "striped: 1", "striped: 1 @ 0, 1 @ 1"])
def test_without_weights_it_is_the_plain_model(demo, weights):
    model, clip, _ = demo
    same, positive = run("WordWeights", model=model, clip=clip, text=STRIPED, weights=weights)
    assert not same.wrappers.get("apply_model") and torch.equal(
        drawn(same, positive, clip), drawn(model, positive, clip)
    )


def test_curves_and_windows(demo):
    model, clip, _ = demo

    def weighed(weights, **settings):
        return drawn(*run("WordWeights", model=model, clip=clip, text=STRIPED, weights=weights, **settings), clip)

    full = weighed("striped: 3")
    assert torch.equal(weighed("striped: 3 @ 0, 3 @ 1"), full)
    assert torch.equal(weighed("striped: 3\nstriped: window 0 - 1"), full)
    assert not torch.equal(weighed("striped: 3, striped: window 0 - 0.5"), full)
    assert not torch.equal(weighed("striped: 3", end=0.3), full)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"weights": "zebra: 2"}, "'zebra' is not a word of the prompt: a, red, striped, rabbit, on, the, beach"),
        ({"weights": "striped: -1"}, "'striped' is given the weight -1: weights inside the attention lie between 0"),
        ({"weights": "striped: 1e9"}, "'striped' is given the weight 1e+09"),
        ({"weights": "striped"}, "'striped' is no word with a weight"),
        ({"weights": "striped: window 0 - 0.5"}, "'striped' has a window but no weight"),
        ({"start": 0.6, "end": 0.4}, "the weights act from 0.6 to 0.4 of the run"),
        ({"text": "a \ud800 ball"}, "holds half of a character"),
        ({"clip": None}, "there is no CLIP"),
        ({"model": None}, "there is no model"),
    ],
)
def test_weights_that_cannot_be(demo, inputs, sentence):
    model, clip, _ = demo
    with refused(sentence):
        run("WordWeights", **{"model": model, "clip": clip, "text": STRIPED, "weights": "striped: 2"} | inputs)


@pytest.mark.parametrize("family", ["SVD_img2vid", "Stable_Cascade_C"])
def test_a_family_that_is_not_known_is_named(demo, family):
    model, clip = unweighted(family), demo[1]
    named = f"it is not known where a {type(model.model).__name__} model looks at its text: connect one of Stable"
    with refused(named):
        run("WordWeights", model=model, clip=clip, text=STRIPED, weights="striped: 2")
    with refused(named):
        run("WordMask", model=model, clip=clip, text=STRIPED, latent={"samples": torch.zeros(1, 4, 16, 16)})
    with refused(named):
        run("WatchWords", model=model, clip=clip, text=STRIPED, words="rabbit")


def test_an_edit_has_weights_of_its_own(demo, inverting):
    heavy, _ = run("WordWeights", model=demo[0], clip=demo[1], text=SOURCE, weights="red: 2")
    with refused("the model comes from Word Weights, which an edit does by itself"):
        run("DDIMInvert", **inverting | {"model": heavy})
    watching, _, _ = run("WatchWords", model=inverting["model"], clip=demo[1], text=SOURCE)
    with refused("the model comes from Watch Words, which watches no edit"):
        run("DDIMInvert", **inverting | {"model": watching})


def test_a_mask_a_word_over_the_frames(demo, latent):
    model, clip, _ = demo
    frames = torch.rand(2, 128, 128, 3)
    masks, overlays = run("WordMask", model=model, clip=clip, latent=latent, text=SOURCE, words="red rabbit, beach")
    assert len(masks) == len(overlays) == 2 and all(mask.shape == (2, 128, 128) for mask in masks)
    assert len(run("WordMask", model=model, clip=clip, latent=latent, text=SOURCE)[0]) == 6
    _, seen = run("WordMask", model=model, clip=clip, latent=latent, text=SOURCE, words="rabbit", images=frames)
    assert seen[0].shape == frames.shape and not torch.equal(seen[0], overlays[0])


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"words": "zebra"}, "'zebra' is not a word of the prompt"),
        ({"latent": {"samples": torch.zeros(1, 16, 8, 8)}}, "the latent has shape"),
        ({"latent": {}}, "the latent input holds no clip"),
        ({"latent": {"samples": torch.full((1, 4, 16, 16), torch.nan)}}, "the latent holds"),
        ({"images": torch.zeros(5, 64, 64, 3)}, "there are 5 images for a latent of 2 frames"),
        ({"clip": None}, "there is no CLIP"),
    ],
)
def test_masks_that_cannot_be(demo, latent, inputs, sentence):
    model, clip, _ = demo
    with refused(sentence), patch.object(comfy.samplers.CFGGuider, "sample", lambda *_, **__: pytest.fail("it ran")):
        run("WordMask", **{"model": model, "clip": clip, "latent": latent, "text": SOURCE, "words": "rabbit"} | inputs)


def test_words_are_watched_under_stock_samplers(demo):
    model, clip, _ = demo
    watching, positive, looks = run("WatchWords", model=model, clip=clip, text=STRIPED, words="rabbit, beach")
    assert torch.equal(positive[0][0], encode(clip, STRIPED)[0][0])
    empty, null = {"samples": torch.zeros(2, 4, 16, 16)}, encode(clip, "")

    def sampled(model):
        """By KSampler, and by SamplerCustomAdvanced."""
        with torch.inference_mode():
            (latent,) = stock.common_ksampler(model, 5, 4, 3.0, "dpmpp_2m_sde", "karras", positive, null, empty)
            guider = comfy.samplers.CFGGuider(model)
            guider.set_conds(positive, null)
            sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 4)
            heun = comfy.samplers.sampler_object("heun")
            return latent, *SamplerCustomAdvanced.execute(Noise_RandomNoise(5), guider, heun, sigmas, empty).result

    of_the_first, of_the_second, _ = sampled(watching)
    plain = sampled(model)
    assert torch.equal(of_the_first["samples"], plain[0]["samples"])
    assert torch.equal(of_the_second["samples"], plain[1]["samples"])
    frames, found = torch.rand(2, 64, 64, 3), []
    for latent in (of_the_first, of_the_second):
        masks, overlays = run("WatchedWordMask", looks=looks, latent=latent, images=frames)
        assert len(masks) == len(overlays) == 2 and all(mask.shape == (2, 128, 128) for mask in masks)
        assert overlays[0].shape == (2, 128, 128, 3)  # at the size of the masks
        found.append(masks[0])
    assert not torch.equal(*found)
    with refused("this latent came of none of the last runs that were watched"):
        run("WatchedWordMask", looks=looks, latent={"samples": of_the_first["samples"] + 1})


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"words": "zebra"}, "'zebra' is not a word of the prompt"),
        ({"start": 0.6, "end": 0.4}, "the words are watched from 0.6 to 0.4 of the run"),
        ({"clip": None}, "there is no CLIP"),
        ({"model": None}, "there is no model"),
    ],
)
def test_words_that_cannot_be_watched(demo, inputs, sentence):
    with refused(sentence):
        run("WatchWords", **{"model": demo[0], "clip": demo[1], "text": STRIPED, "words": "rabbit"} | inputs)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"latent": {"samples": torch.zeros(1, 16, 8, 8)}}, "the latent has shape"),
        ({"latent": {}}, "the latent input holds no clip"),
        ({"latent": {"samples": torch.zeros(1, 4, 16, 16)}}, "this latent came of none of the last runs"),
        ({"images": torch.zeros(5, 64, 64, 3)}, "there are 5 images for a latent of 1 frames"),
    ],
)
def test_watched_masks_that_cannot_be(demo, inputs, sentence):
    model, clip, _ = demo
    watching, positive, looks = run("WatchWords", model=model, clip=clip, text=SOURCE, words="rabbit")
    latent = {"samples": drawn(watching, positive, clip)}
    with refused(sentence), patch.object(comfy.samplers.CFGGuider, "sample", lambda *_, **__: pytest.fail("it ran")):
        run("WatchedWordMask", **{"looks": looks, "latent": latent} | inputs)


def test_on_a_video_model(demo):
    """Its pictures are more than its latent frames."""
    model, clip = tiny_wan(), tiny_text()
    latent = {"samples": torch.randn(1, 16, 2, 8, 6, generator=torch.Generator().manual_seed(0))}
    text = "a red ball on sand"
    masks, overlays = run("WordMask", model=model, clip=clip, latent=latent, text=text, words="ball")
    assert masks[0].shape == (5, 64, 48) and overlays[0].shape == (5, 64, 48, 3)
    heavy, _ = run("WordWeights", model=model, clip=clip, text=text, weights="ball: 2")
    assert heavy.object_patches.keys() - model.object_patches.keys() == {
        f"diffusion_model.blocks.{block}.cross_attn.forward" for block in range(4)
    }
