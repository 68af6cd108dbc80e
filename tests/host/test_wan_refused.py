"""What cannot be on Wan is refused in a sentence."""

import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run, sample
from comfyui_videop2p.tests.host.wan_edits import (
    BLUE,
    FRAMES,
    RED,
    PlainVAE,
    controlled,
    edited,
    inverted,
    latent_for,
    models,
    text,
    told,
    video,
)
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget
from node_helpers import conditioning_set_values

__all__ = ["models", "text"]


@pytest.mark.parametrize(
    "settings, sentence",
    [
        (
            {"method": "shared null-text"},
            "a Wan model is inverted by direct, direct-exact, direct-residual, virtual alone",
        ),
        (
            {"method": "direct", "keep_source": "in memory"},
            "a Wan model has nothing of its source kept: set keep_source to off",
        ),
        ({"method": "direct", "latent": {"samples": torch.zeros(3, 16, 6, 4)}}, r"takes \[1, 16, frames, height"),
    ],
)
def test_an_inversion_that_cannot_be_is_refused(models, text, settings, sentence):
    given = {"latent": latent_for(models["t2v"]), "steps": 2} | settings
    with pytest.raises(ValueError, match=sentence):
        run("DDIMInvert", model=models["t2v"], source=encode(text, RED), null=encode(text, ""), **given)


def test_what_wan_does_not_need_is_refused(models, text):
    for call in (
        lambda: run("InflateUNet", model=models["t2v"]),
        lambda: run(
            "TuneOnVideo", model=models["t2v"], positive=encode(text, RED), latent=latent_for(models["t2v"]), steps=1
        ),
    ):
        with pytest.raises(ValueError, match="sees all frames together as it is: connect it to DDIM Invert"):
            call()


def test_what_an_edit_cannot_run_under_is_refused(models, text):
    model = models["t2v"]
    inversion, *_ = inverted(model, text)
    edit = controlled(text, BLUE)
    with pytest.raises(ValueError, match="no levels to leave out: set cache_every to 1"):
        edited(model, inversion, edit, cache_every=[2])
    with pytest.raises(ValueError, match="no attention within each frame that an edit could keep: set structure_"):
        edited(model, inversion, controlled(text, BLUE, structure_window=1.0))
    with pytest.raises(ValueError, match="by direct depends on its noise: choose one of .* or set fresh_noise to 0"):
        edited(model, inversion, controlled(text, BLUE, blend_source="ball", fresh_noise=0.5))
    for asked in ("4", "2-1", "all", "1;2", "0-9"):
        with pytest.raises(ValueError, match="names no blocks of this model: write their numbers from 0 to 3"):
            edited(model, inversion, controlled(text, BLUE, blend_source="ball", blend_blocks=asked))
    guided = model.clone()
    guided.add_object_patch("diffusion_model.blocks.1.cross_attn.forward", optimized_attention)
    with pytest.raises(ValueError, match="another node computes the attention of this model itself"):
        edited(guided, inversion, edit)
    windowed = model.clone()
    windowed.model_options["context_handler"] = object()
    with pytest.raises(ValueError, match="remove the node that gives context windows"):
        edited(windowed, inversion, edit)


@pytest.mark.parametrize(
    "kind, sentence",
    [
        (
            "causal",
            "a WAN21_CausalAR model, which draws a clip block by block .*: connect one of these families: Stable",
        ),
        ("flow rvs", "a WAN21_FlowRVS model: connect one of these families: Stable"),
    ],
)
def test_a_wan_that_draws_otherwise_is_refused(models, text, kind, sentence):
    with pytest.raises(ValueError, match=f"cannot edit with {sentence}"):
        inverted(wan.tiny_wan(kind), text, latent_for(models["t2v"]))


def test_blocks_are_chosen_on_a_video_model_alone(model, clip, inversion):
    edit = run(
        "AttentionController", clip=clip, source_prompt="a red rabbit on the beach",
        target_prompt="a blue rabbit on the beach", blend_source="rabbit", blend_blocks="1",
    )[0]  # fmt: skip
    with pytest.raises(ValueError, match="blend blocks can be chosen on a video model alone"):
        sample(model, inversion, edit)


def test_pictures_that_the_branches_do_not_share_are_refused(models, text):
    """Nothing of what goes by a picture is the same without it."""
    for kind in ("vace", "i2v"):
        inversion, *_ = inverted(models[kind], text, steps=1, kind=kind)
        source, target, null = (told(kind, text, prompt) for prompt in (RED, BLUE, ""))
        given = {"source": [source], "target": [target], "null": [null]}
        edit = controlled(text, BLUE)
        with pytest.raises(
            ValueError, match="the clip was inverted with a picture, camera or voice for the model to go by"
        ):
            edited(models[kind], inversion, edit)
        with pytest.raises(
            ValueError, match="the source conditioning has a picture, camera or voice .*, the target .* has none"
        ):
            edited(models[kind], inversion, edit, **given | {"target": [encode(text, BLUE)]})
        edited(models[kind], inversion, edit, **given)


@pytest.mark.parametrize(
    "kind, added, sentence",
    [
        ("vace", video(FRAMES + 1), "4 latent frames of VACE control, the clip 3 latent frames"),
        ("vace", video(controls=2), "2 VACE controls and an edit takes one"),
        ("2.2 i2v", {"concat_latent_image": torch.zeros(1, 16, 5, 6, 4)}, "5 pictures to paint in, the clip 3"),
    ],
)
def test_pictures_of_another_number_are_refused(models, text, kind, added, sentence):
    shown = {
        name: conditioning_set_values(encode(text, prompt), added) for name, prompt in (("source", RED), ("null", ""))
    }
    with pytest.raises(ValueError, match=sentence):
        run("DDIMInvert", model=models[kind], latent=latent_for(models[kind]), steps=1, method="direct", **shown)


def test_a_node_that_leaves_model_calls_out_is_refused(models, text):
    inversion, *_ = inverted(models["t2v"], text)
    lazy, calls = models["t2v"].clone(), []

    def every_second(executor, x, *args, **kwargs):
        calls.append(x)
        return executor(x, *args, **kwargs) if len(calls) % 2 else x

    lazy.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "lazy", every_second)
    with pytest.raises(ValueError, match="another node on this model left out 4 layers"):
        edited(lazy, inversion, controlled(text, BLUE, cross_window=1.0))


def test_a_clip_that_the_vae_did_not_take_whole_is_told_so(models, text):
    latent = latent_for(models["t2v"])
    images = PlainVAE().decode(latent["samples"])[0]
    with pytest.raises(ValueError, match=r"of 10 its VAE took the first 9, so give it 4 n \+ 1 frames"):
        inverted(models["t2v"], text, latent, vae=PlainVAE(), images=torch.cat([images, images[:1]]))


def test_steps_that_leave_nothing_of_the_clip_are_refused(models, text):
    with pytest.raises(ValueError, match="500 steps would end in noise without any of the clip"):
        inverted(models["t2v"], text, steps=500)


def test_an_edit_without_memory_for_a_step_of_the_source_is_refused(models, text, monkeypatch):
    inversion, *_ = inverted(models["t2v"], text)
    monkeypatch.setattr(budget, "free_memory", lambda device: 2**16)
    edited(models["t2v"], inversion, controlled(text, BLUE))
    with pytest.raises(ValueError, match="set the temporal window to 0, which takes two thirds of it"):
        edited(models["t2v"], inversion, controlled(text, BLUE, cross_window=1.0, temporal_window=1.0))
