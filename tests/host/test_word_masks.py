"""Word Mask: what it tells, on a small model of every family that is known."""

from itertools import islice
from unittest.mock import patch

import comfy.model_management
import pytest
import torch
import torch.nn.functional as F
from comfy_extras.nodes_context_windows import ContextWindowsManualNode
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.demo.evaluation_world import FRAMES, World
from comfyui_videop2p.tests.host.family_worlds import fingerprint
from comfyui_videop2p.tests.host.refusals import refused
from comfyui_videop2p.tests.host.test_word_weights import model_of
from comfyui_videop2p.tests.host.tiny_transformers import KINDS, TOKENS, random_latent, random_text
from comfyui_videop2p.videop2p_core.edit.places import affinity
from comfyui_videop2p.videop2p_core.edit.prompt import PAD, Piece, Prompt
from comfyui_videop2p.videop2p_core.host.demo_model import load_demo_model
from comfyui_videop2p.videop2p_core.host.prompts.encoded_text import EncodedText, PlacedPrompt
from comfyui_videop2p.videop2p_core.host.words import word_masks
from comfyui_videop2p.videop2p_core.host.words.word_looks import Likeness, WordLooks
from einops import rearrange

WORDS = ("red", "rabbit")
every_kind = pytest.mark.parametrize("kind", KINDS)


def encoded(kind):
    """A text of random numbers, of which tokens 3 and 4 are two words."""
    pieces = [Piece(i, kind=PAD) for i in range(TOKENS)]
    pieces[3], pieces[4] = Piece("red", "red"), Piece("rabbit", "rabbit")
    return EncodedText(
        "red rabbit", random_text(kind), TOKENS, (PlacedPrompt(Prompt("red rabbit", (tuple(pieces),)), 0),)
    )


def latent(kind):
    """A clip; of a model that makes sound too, the picture alone."""
    samples = random_latent(kind)
    samples = samples.unbind()[0] if samples.is_nested else samples
    return {"samples": samples.repeat(2, 1, 1, 1, 1)[:, 0] if kind == "sd15" else samples}


def masks(kind, model=None, **inputs):
    with patch.object(word_masks, "encoded_text", lambda *_: encoded(kind)), torch.inference_mode():
        return word_masks.word_masks(model or model_of(kind), None, "red rabbit", WORDS, latent(kind), **inputs)


def in_heads(x, heads):
    return x.double() if x.ndim == 4 else rearrange(x.double(), "b n (h d) -> b h n d", h=heads)


@every_kind
def test_maps_are_those_of_the_attention(kind):
    """Against the maps written out, in double precision."""
    look, spread, errors = WordLooks.maps_in, Likeness.maps_in, {"look": [], "spread": []}

    def looked(observer, call, grid, evaluation):
        answer = look(observer, call, grid, evaluation)
        if answer is not None:
            q, k = in_heads(call.q, call.heads), in_heads(call.k, call.heads)
            logits = q @ k.repeat_interleave(call.heads // k.shape[1], dim=1).mT * q.shape[-1] ** -0.5
            if call.mask is not None:
                logits = logits + call.mask.double().reshape(len(call.mask), -1, *call.mask.shape[-2:])
            maps = logits.softmax(dim=-1).mean(dim=1)[:, call.picture, call.text][:, :, 3:5]
            maps = rearrange(maps[:, : grid[0] * grid[1] * grid[2]], "b (f y x) w -> (b f) w y x", f=grid[0], y=grid[1])
            errors["look"].append((answer - maps).abs().max().item())
        return answer

    def spreading(observer, call, grid, evaluation):
        answer = spread(observer, call, grid, evaluation)
        if answer is not None:
            own, (frames, rows, columns) = call.itself, grid
            k = in_heads(call.k, call.heads)
            k = rearrange(k.repeat_interleave(call.heads // k.shape[1], dim=1), "b h n d -> b n (h d)")[:, own]
            q = rearrange(in_heads(call.q, call.heads), "b h n d -> b n (h d)")[:, call.picture][:, : k.shape[1]]
            q, k = (rearrange(x, "b (f n) c -> (b f) n c", f=frames) for x in (q, k))
            small = F.interpolate(observer.spread, size=(rows, columns), mode="bilinear")
            maps = affinity(q, k, call.heads) @ rearrange(small, "f w y x -> f (y x) w")
            errors["spread"].append((rearrange(maps, "f (y x) w -> f w y x", y=rows) - answer).abs().max().item())
        return answer

    with patch.object(WordLooks, "maps_in", looked), patch.object(Likeness, "maps_in", spreading):
        masks(kind)
    assert len(errors["look"]) >= 2
    assert len(errors["spread"]) >= 4  # two layers, twice
    assert max(*errors["look"], *errors["spread"]) < 1e-6


@every_kind
def test_a_mask_a_word_and_picture(kind):
    found = masks(kind)
    samples, factor = latent(kind)["samples"], model_of(kind).model.latent_format.spacial_downscale_ratio
    pictures = len(found.overlays[0])
    assert found.masks.shape == (2, pictures, *(factor * side for side in samples.shape[-2:]))
    assert found.masks.min() == 0 and (found.masks.amax((-2, -1)) == 1).all()
    assert torch.equal(masks(kind).masks, found.masks)
    assert not torch.equal(masks(kind, seed=1).masks, found.masks)
    assert not torch.equal(masks(kind, sharp=False).masks, found.masks)


@every_kind
def test_the_model_is_what_it_was(kind):
    model = model_of(kind)
    comfy.model_management.unload_all_models()
    before = fingerprint(model)
    masks(kind, model)
    with (
        patch.object(comfy.model_management, "throw_exception_if_processing_interrupted", interrupt),
        pytest.raises(comfy.model_management.InterruptProcessingException),
    ):
        masks(kind, model)
    comfy.model_management.unload_all_models()
    assert fingerprint(model) == before


def in_windows(model, axis, **settings):
    settings = {
        "context_length": 3, "context_overlap": 0, "context_schedule": "standard_static", "context_stride": 1,
        "closed_loop": False, "fuse_method": "flat", "dim": axis, "freenoise": False, "causal_window_fix": True,
    } | settings  # fmt: skip
    return ContextWindowsManualNode.execute(model, **settings).result[0]


@pytest.mark.parametrize("kind", ["sd15", "flux"])
@pytest.mark.parametrize("settings", [{}, {"context_length": 4, "context_overlap": 2}], ids=["apart", "overlapping"])
def test_pictures_in_windows_are_those_of_the_batch(kind, settings):
    """Each is looked at by itself in any case, with another before it in most windows."""
    samples = torch.randn(7, *latent(kind)["samples"].shape[1:], generator=torch.Generator().manual_seed(0))
    with patch(f"{__name__}.latent", lambda _: {"samples": samples}):
        whole, cut = masks(kind), masks(kind, in_windows(model_of(kind), 0, **settings))
    assert len(whole.masks[0]) == 7
    # Kernels round otherwise for another number of rows, and a mask's range is stretched to one.
    torch.testing.assert_close(cut.masks, whole.masks, atol=2e-3, rtol=0)
    assert (whole.masks.diff(dim=1).abs().amax((-2, -1)) > 0.1).all()


def test_a_window_of_a_clip_is_looked_at_by_itself():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(1, 16, 6, 8, 6, generator=generator)
    model, text, noise = model_of("wan"), encoded("wan"), torch.randn(16, 8, 6, generator=generator)

    def of(samples, model=model):
        with (
            torch.inference_mode(),
            patch.object(word_masks, "encoded_text", lambda *_: text),
            patch.object(torch, "randn", lambda shape, **_: noise.expand(shape)),  # the same for each part
        ):
            found = word_masks.word_masks(model, None, "red rabbit", WORDS, {"samples": samples})
        return found.masks[:, 0::4]  # of every latent frame

    whole, cut = of(samples), of(samples, in_windows(model, 2, causal_window_fix=False))
    parts = torch.cat([of(samples[:, :, :3]), of(samples[:, :, 3:])], dim=1)
    torch.testing.assert_close(cut, parts, atol=1e-5, rtol=0)
    assert not torch.allclose(cut, whole, atol=1e-2)


def test_windows_that_cut_no_frames_are_refused():
    with refused("the context windows on this model cut another axis than that of the frames: set dim to 2"):
        masks("wan", in_windows(model_of("wan"), 3))


def test_a_node_that_computes_the_attention_itself_is_told():
    model = model_of("wan").clone()
    for index in range(2):
        model.add_object_patch(f"diffusion_model.blocks.{index}.cross_attn.forward", lambda x, *_, **__: x)
    with refused("another node computes how this model looks at its text, so that no word can be found"):
        masks("wan", model)


def interrupt():
    raise comfy.model_management.InterruptProcessingException


def test_a_mask_is_as_sharp_as_the_thing():
    """On clips that the demo model never saw, against their true outlines."""
    model, clip, vae = load_demo_model()
    overlaps = []
    for scene in islice(scenes.of_one_thing(2_000_000), 2):
        frames, truth = World(model, clip, vae, None, [], 0, None, None).rendered(scene)
        with torch.inference_mode():
            latent = {"samples": vae.encode(frames)}
            found = word_masks.word_masks(model, clip, scenes.caption(scene), [scene.object], latent)
        inside, truth = found.masks[0] > 0.4, truth > 0.5
        overlaps.append(((inside & truth).sum() / (inside | truth).sum()).item())
    assert len(found.masks[0]) == FRAMES
    assert min(overlaps) > 0.8
