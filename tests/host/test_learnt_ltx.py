"""Edits on a tiny LTX-Video that learnt a world of words: what they change, and where.

Blocks, weights and bounds were chosen on this clip and this training: they show that the edits act, not how well.
"""

import pytest
import torch
from comfyui_videop2p.tests.families.worlds import World
from comfyui_videop2p.tests.host import learnt_ltx, ltx
from comfyui_videop2p.tests.host.calls import run
from comfyui_videop2p.tests.host.wan_edits import BLUE, RED, STAR
from comfyui_videop2p.videop2p_core.host.comfy.latents import as_clip

pytestmark = pytest.mark.slow


class Ball(World):
    """A red ball, inverted."""

    def __init__(self, model):
        super().__init__("learnt LTXV", lambda: (model, ltx.tiny_t5()), (learnt_ltx.SIDE, learnt_ltx.SIDE))
        self.z, where = learnt_ltx.clip_of(RED, seed=1)
        self.where = where.bool()
        self.pictures = model.model.process_latent_out(self.z[None])
        self.inversion = self.inverted(steps=25)[0]

    def result(self, target, **settings):
        """(how blue, how much of a star it is where the ball was, -1 to 1; z of the edit; its mask a latent frame)."""
        edit = self.controlled(target, **{"cross_window": 0.2, "temporal_window": 0.2} | settings)
        (samples,), _, (mask,) = self.edited(self.inversion, edit)
        z = as_clip(self.model.model.process_latent_in(samples)).movedim(1, 0)
        inside, half = z[:, self.where], learnt_ltx.ltx.CHANNELS // 2
        return -inside[:half].mean().item() / 1.5, -inside[half:].mean().item() / 1.5, z, mask[::8, ::32, ::32].bool()


@pytest.fixture(scope="module")
def ball():
    return Ball(learnt_ltx.learnt())


@pytest.mark.parametrize("kind", ["replace", "refine"])
def test_a_swapped_word_shows_and_the_others_stay(ball, kind):
    red, ball_shape, *_ = ball.result(RED, edit=kind)
    blue, _, *_ = ball.result(BLUE, edit=kind)
    still_red, star, *_ = ball.result(STAR, edit=kind)
    assert blue > red + 0.5
    assert star > ball_shape + 1 and still_red < 0


def test_a_words_weight_turns_it_up_and_down(ball):
    """By little: this model draws a colour from what its text encoder makes of the whole caption too."""
    settings = {"cross_window": 1.0, "temporal_window": 0.0}
    blues = [ball.result(BLUE, **settings, word_weights=f"blue: {weight}")[0] for weight in (-8, 1, 20)]
    assert blues[0] + 0.05 < blues[1] < blues[2] - 0.03


def test_words_look_where_their_thing_is(ball):
    edit = ball.controlled(BLUE, blend_blocks="2")
    _, (red,), *_ = run(
        "AttentionMaps", model=ball.model, inversion=ball.inversion, edit=edit, words="red", null=ball.encoded(""),
        step=1,
    )  # fmt: skip
    red = red[::8, 16::32, 16::32]
    assert red[ball.where].mean() > 5 * red[~ball.where].mean()


def test_blend_words_keep_the_edit_on_the_thing(ball):
    blend = {"blend_source": "red", "blend_target": "blue", "threshold": 0.3, "blend_blocks": "2"}
    free, kept = ball.result(BLUE), ball.result(BLUE, **blend)
    mask = kept[3]
    assert mask[ball.where].float().mean() > 0.95
    torch.testing.assert_close(kept[2][:, ~mask], ball.z[:, ~mask], atol=1e-4, rtol=0)
    assert mask.float().mean() < 0.6  # the pooling makes 16 of 36 places of a thing on 4
    assert (free[2] - ball.z)[:, ~ball.where].square().mean() > 1e-3
    assert kept[0] > ball.result(RED, **blend | {"blend_target": "red"})[0] + 0.3
