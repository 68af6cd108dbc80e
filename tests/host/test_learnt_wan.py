"""Edits on a tiny Wan that learnt a world of words: what they change, and where."""

import comfy.samplers
import pytest
import torch
import torch.nn.functional as F
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.tests.host.wan_edits import BLUE, RED, STAR, at_scale, controlled, edited, inverted


@pytest.fixture(scope="module")
def learnt():
    return wan.learnt()


@pytest.fixture(scope="module")
def ball(learnt):
    """(model, text, inversion of a red ball, z of it, where it is)."""
    text = wan.tiny_text(wan.SHORT)
    z, where = wan.clip_of(RED, seed=1)
    latent = {"samples": learnt.model.process_latent_out(z[None])}
    inversion, *_ = inverted(learnt, text, latent, steps=25, cfg=3.0)
    return learnt, text, inversion, z, where.bool()


def result(ball, target, **settings):
    """(how blue, how much of a star it is where the ball was, -1 to 1; z of the edit; its mask a latent frame)."""
    model, text, inversion, _, where = ball
    edit = controlled(text, target, **{"cross_window": 0.2, "temporal_window": 0.2} | settings)
    samples, mask = edited(model, inversion, edit)
    z = at_scale(model, samples)[0]
    inside = z[:, where]
    return -inside[:8].mean().item() / 1.5, -inside[8:].mean().item() / 1.5, z, mask[::4, ::8, ::8].bool()


@pytest.mark.parametrize("kind", ["replace", "refine"])
def test_a_swapped_word_shows_and_the_others_stay(ball, kind):
    red, ball_shape, *_ = result(ball, RED, edit=kind)
    blue, _, *_ = result(ball, BLUE, edit=kind)
    still_red, star, *_ = result(ball, STAR, edit=kind)
    assert blue > red + 0.5
    assert star > ball_shape + 1 and still_red < 0


def test_a_words_weight_turns_it_up_and_down(ball):
    blues = [result(ball, BLUE, cross_window=0.8, word_weights=f"blue: {weight}")[0] for weight in (-2, 1, 6)]
    assert blues[0] + 0.1 < blues[1] < blues[2] - 0.1


def test_words_look_where_their_thing_is(ball):
    model, text, inversion, _, where = ball
    _, (red, sand), _ = run(
        "AttentionMaps",
        model=model,
        inversion=inversion,
        edit=controlled(text, BLUE, blend_blocks="0"),
        words="red, sand",
    )
    red, sand = (mask[::4, 4::8, 4::8] for mask in (red, sand))
    assert red[where].mean() > 1.5 * red[~where].mean()
    assert sand[where].mean() < sand[~where].mean()


def test_blend_words_keep_the_edit_on_the_thing(ball):
    *_, z, where = ball
    blend = {"blend_source": "red", "blend_target": "blue", "threshold": 0.6, "blend_blocks": "0"}
    free, kept = result(ball, BLUE), result(ball, BLUE, **blend)
    mask = kept[3]
    assert mask[where].float().mean() > 0.95
    assert mask.float().mean() < 0.6  # the pooling makes 16 of 36 places of a thing on 4
    assert torch.allclose(kept[2][:, ~mask], z[:, ~mask], atol=1e-4)
    assert (free[2] - z)[:, ~where].square().mean() > 0.01
    assert kept[0] > result(ball, RED, **blend | {"blend_target": "red"})[0] + 0.3


def test_other_blocks_find_another_place(ball):
    blend = {"blend_source": "red", "threshold": 0.6}
    usual, middle, last = (result(ball, BLUE, **blend, blend_blocks=blocks)[3] for blocks in ("", "1-2", "3"))
    assert torch.equal(usual, middle) and not torch.equal(usual, last)


def test_word_weights_turn_a_word_up_and_down_without_an_edit(learnt):
    """How blue the bluest square of a sampled clip is, the mean over seeds."""
    text = wan.tiny_text(wan.SHORT)
    blues = []
    for weight in (0, 0.5, 1, 2, 4):
        model, positive = run("WordWeights", model=learnt, clip=text, text=BLUE, weights=f"blue: {weight}")
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, encode(text, ""))
        guider.set_cfg(1.0)
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", 8)
        found = []
        for seed in range(6):
            noise = torch.randn(1, 16, wan.FRAMES, wan.SIDE, wan.SIDE, generator=torch.Generator().manual_seed(seed))
            sampler = comfy.samplers.sampler_object("euler")
            with torch.inference_mode():
                z = guider.sample(noise, torch.zeros_like(noise), sampler, sigmas, disable_pbar=True, seed=seed)
            colour = -at_scale(model, z)[0][:8].mean(dim=0)
            found.append(F.avg_pool2d(colour, wan.SQUARE, stride=wan.PATCH).max().item())
        blues.append(sum(found) / len(found))
    assert blues == sorted(blues) and blues[-1] > blues[0] + 0.5
