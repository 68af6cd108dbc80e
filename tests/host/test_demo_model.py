"""The demo model is an ordinary MODEL, CLIP and VAE."""

import asyncio
import json

import comfy.sample
import pytest
import torch
from comfyui_videop2p.demo import scenes, words
from comfyui_videop2p.nodes.demo import LoadDemoModel
from comfyui_videop2p.videop2p_core.host.demo_model import (
    DEMO_FILE,
    TEXT_PREFIX,
    UNET_PREFIX,
    VAE_PREFIX,
    load_demo_model,
    read_demo_file,
)


@pytest.fixture(scope="module")
def loaded():
    return LoadDemoModel.execute().result


def test_the_file_is_small_half_precision_and_says_what_it_is():
    tensors, metadata = read_demo_file(DEMO_FILE)
    assert DEMO_FILE.stat().st_size <= 25_000_000
    assert {tensor.dtype for name, tensor in tensors.items() if name != "token_rows"} == {torch.float16}
    assert all(name == "token_rows" or name.startswith((UNET_PREFIX, TEXT_PREFIX, VAE_PREFIX)) for name in tensors)
    assert json.loads(metadata["vocabulary"]) == scenes.caption_words()
    assert {"architecture", "training", "unet", "text"} <= set(metadata)


def test_the_text_encoder_is_the_one_that_was_trained(loaded):
    """The host's own path, from text to embedding, gives what training computed."""
    from comfyui_videop2p.demo import export, train_unet

    caption = scenes.caption(scenes.random_scene(1_000_003))
    vocabulary = tuple(scenes.caption_words())
    networks = train_unet.build_networks(vocabulary)
    tensors, _ = read_demo_file(DEMO_FILE)
    networks.load_state_dict(export.networks_of(tensors))
    rows = torch.from_numpy(words.tokenize(vocabulary, caption).rows)[None]
    expected = train_unet.encode_text(networks["text"], rows)
    clip = loaded[1]
    cond = clip.encode_from_tokens_scheduled(clip.tokenize(caption))[0][0]
    assert cond.shape == (1, 77, 128)
    assert torch.allclose(cond, expected, atol=2e-3)


def test_a_stock_sampler_draws_with_it(loaded):
    model, clip, vae = loaded
    positive, negative = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a red rabbit", ""))
    latent = torch.zeros(2, 4, 16, 16)
    noise = comfy.sample.prepare_noise(latent, 1)
    samples = comfy.sample.sample(
        model, noise, 4, 4.0, "euler", "normal", positive, negative, latent, disable_pbar=True, seed=1
    )
    image = vae.decode(samples)
    assert image.shape == (2, 128, 128, 3) and image.isfinite().all()


@pytest.mark.parametrize("text", ["a zebra on the beach", "a (zebra:1.2) on the beach", "a red zebra, on the moon"])
def test_an_unknown_word_is_named(loaded, text):
    with pytest.raises(ValueError, match="never learnt 'zebra'; it knows: a, an, and, are, at, beach"):
        loaded[1].tokenize(text)


@pytest.mark.parametrize("text", ["", "A red rabbit, (on the beach:1.3)", "a photo of a (striped) blue car at night"])
def test_its_own_words_are_taken_in_any_case_and_weight(loaded, text):
    loaded[1].encode_from_tokens_scheduled(loaded[1].tokenize(text))


@pytest.mark.parametrize("content", [b"", b"not a safetensors file", b"\x08\x00\x00\x00\x00\x00\x00\x00{}      "])
def test_a_file_that_is_no_demo_model_is_refused(tmp_path, content):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="broken.safetensors"):
        load_demo_model(path)


def test_the_node_is_registered():
    from comfyui_videop2p.nodes.extension import VideoP2PExtension

    assert LoadDemoModel in asyncio.run(VideoP2PExtension().get_node_list())
