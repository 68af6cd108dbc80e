"""What a family supports: stated, told in a table, and refused in sentences that are made from it."""

import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from comfyui_videop2p.tests.families.worlds import BLUE, RED, World, drawn
from comfyui_videop2p.tests.host import cosmos, kandinsky, ltx
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.tools import models
from comfyui_videop2p.videop2p_core.diffusion.inversion import METHODS
from comfyui_videop2p.videop2p_core.edit.prompt import word_tokens
from comfyui_videop2p.videop2p_core.host.families.support import Feature
from comfyui_videop2p.videop2p_core.host.families.table import FAMILIES, family_of
from comfyui_videop2p.videop2p_core.host.prompts.clip_tokens import read_prompt
from node_helpers import conditioning_set_values

FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "context_in_dim": 8,
    "hidden_size": 16, "mlp_ratio": 1.0, "num_heads": 1, "depth": 1, "depth_single_blocks": 1, "axes_dim": [16],
    "theta": 100, "patch_size": 2, "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
}  # fmt: skip


def test_the_table_is_what_the_families_state():
    assert models.FILE.read_text(encoding="utf-8") == models.present(), "run `python dev.py models`"
    assert all(family.name in models.table() for family in FAMILIES)


def test_what_is_stated_is_what_is_refused(world):
    family, model = family_of(world.model), world.model.clone()
    model.model_options["context_handler"] = object()
    inverting = {"latent": world.latent, "source": world.encoded(RED), "null": world.encoded(""), "steps": 1}
    asked = {
        Feature.INFLATION: lambda: run("InflateUNet", model=world.model),
        Feature.TUNING: lambda: run(
            "TuneOnVideo", model=world.model, positive=world.encoded(RED), latent=world.latent, steps=1
        ),
        Feature.KEEP: lambda: world.inverted(keep_source="in memory"),
        Feature.CACHE: lambda: world.edited(world.inverted()[0], world.controlled(BLUE), cache_every=2),
        Feature.STRUCTURE: lambda: world.edited(
            world.inverted()[0], world.controlled(BLUE, cross_window=1.0, structure_window=1.0)
        ),
        Feature.SHARP: lambda: run(
            "AttentionMaps",
            model=world.model,
            inversion=world.inverted()[0],
            edit=world.controlled(BLUE),
            source=world.encoded(RED),
            target=world.encoded(BLUE),
            null=world.encoded(""),
            sharp=True,
        ),
        Feature.EXPERTS: lambda: run("ModelPair", high_noise=world.model, low_noise=world.make()[0]),
    }
    if Feature.PASSES not in family.supports:
        asked[Feature.PASSES] = lambda: run("DDIMInvert", model=model, method="direct", **inverting)
    for feature, call in asked.items():
        if feature in family.supports:
            if feature is not Feature.TUNING:  # which asks for an inflated model
                call()
            continue
        with pytest.raises(ValueError, match=family.called):
            call()
    for method in METHODS:
        if method not in family.inversions:
            with pytest.raises(ValueError, match=f"{family.called} is inverted by direct.* alone: .* not {method}"):
                world.inverted(method)


def test_a_family_that_is_not_named_is_refused_by_its_name():
    config = comfy.supported_models.Flux(FLUX | {"dtype": torch.float32})
    cpu = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(config.get_model({}, "", "meta"), load_device=cpu, offload_device=cpu)
    nothing = [[torch.zeros(1, 4, 8), {}]]
    for named in FAMILIES:
        with pytest.raises(
            ValueError, match=f"cannot edit with a Flux model: connect one of these families: .*{named.name}"
        ):
            run("DDIMInvert", model=model, source=nothing, null=nothing, latent={"samples": torch.zeros(1, 16, 4, 4)})


# --- LTX --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ltxv():
    return World("LTXV", lambda: (ltx.tiny_ltx(), ltx.tiny_t5()))


@pytest.mark.parametrize(
    "added, sentence",
    [
        ({"keyframe_idxs": torch.zeros(1, 3, 24, 2)}, "the source conditioning holds guides .of LTXVAddGuide."),
        ({"ref_audio": {"tokens": torch.zeros(1, 2, 128)}}, "the source conditioning brings a voice to speak in"),
    ],
)
def test_what_stands_beside_the_clip_is_refused(ltxv, added, sentence):
    source = conditioning_set_values(encode(ltxv.clip, RED), added)
    with pytest.raises(ValueError, match=sentence):
        run("DDIMInvert", model=ltxv.model, source=source, null=source, latent=ltxv.latent, method="direct")


def test_the_null_text_is_asked_for_as_its_mask_is_not_kept(ltxv):
    inversion, *_ = ltxv.inverted()
    given = {"model": [ltxv.model], "inversion": [inversion], "edit": [ltxv.controlled(BLUE)]}
    with pytest.raises(ValueError, match="LTX which tokens are padding.: connect .* to the null input here as well"):
        run("DecoupledSample", **given)
    run("DecoupledSample", **given, null=[encode(ltxv.clip, "")])


def test_a_mask_of_fractions_is_refused(ltxv):
    inversion, *_ = ltxv.inverted()
    source = encode(ltxv.clip, RED)
    weighed = conditioning_set_values(source, {"attention_mask": source[0][1]["attention_mask"].float()})
    given = {"model": [ltxv.model], "inversion": [inversion], "edit": [ltxv.controlled(BLUE)]}
    with pytest.raises(ValueError, match="weighs the tokens of its text by a mask of fractions"):
        run("DecoupledSample", **given, source=[weighed], null=[encode(ltxv.clip, "")])


def test_a_sound_is_for_a_model_that_hears(ltxv):
    deaf = World("LTXV", lambda: ltxv.parts, sound=True)
    with pytest.raises(
        ValueError, match="an LTX model takes nothing beside the pictures: connect a latent of pictures"
    ):
        deaf.inverted()


def test_words_that_another_text_encoder_wrote_are_refused(ltxv):
    other = [[drawn(1, 128, 64), {}]]
    with pytest.raises(ValueError, match="the source conditioning has 64 channels, this model reads 32"):
        run("DDIMInvert", model=ltxv.model, source=other, null=other, latent=ltxv.latent, method="direct")


def test_a_clip_of_another_length_is_told_what_the_vae_took(ltxv):
    class PlainVAE:
        """As LTX's, with no weights."""

        latent_channels = 128

        def spacial_compression_encode(self):
            return 32

        def vae_encode_crop_pixels(self, pixels):
            return pixels

    pictures = torch.zeros(20, 192, 128, 3)
    with pytest.raises(ValueError, match=r"of 20 its VAE took the first 17, so give it 8 n \+ 1 frames"):
        ltxv.inverted(vae=PlainVAE(), images=pictures)


# --- Cosmos-Predict2 --------------------------------------------------------------------------------------------------


def test_what_draws_pictures_edits_one_and_refuses_a_clip():
    world = World("Text2Image", lambda: (cosmos.tiny_cosmos(draws_clips=False), cosmos.tiny_t5()))
    with pytest.raises(ValueError, match="has 3 latent frames and this Cosmos-Predict2 draws single pictures: load"):
        world.inverted()
    world.pictures = drawn(1, 16, 1, *world.size)
    (edited,), source, _ = world.edited(world.inverted()[0], world.controlled(BLUE, cross_window=1.0))
    torch.testing.assert_close(source, world.pictures, atol=1e-5, rtol=0)
    assert edited.shape == source.shape and not torch.allclose(edited, source, atol=1e-2)


# --- Kandinsky 5 ------------------------------------------------------------------------------------------------------


def test_words_stand_where_the_language_model_s_template_is_cut_off():
    clip = kandinsky.tiny_qwen()
    for text in ("", "a", BLUE, " two lines\nof text ", "a (red:1.2) ball", "<|im_end|>"):
        assert len(read_prompt(clip, text)) == encode(clip, text)[0][0].shape[1]
    prompt = read_prompt(clip, "an rhinocerosaurus blue ball")
    assert [word.text for word in prompt.words] == ["an", "rhinocerosaurus", "blue", "ball"]
    assert word_tokens(prompt, "an") == (0,) and word_tokens(prompt, "ball") == (len(prompt) - 2,)
    assert len(word_tokens(prompt, "rhinocerosaurus")) > 1
    for text in ("\na red ball", " \n a red ball", "<|im_start|>a red ball"):
        with pytest.raises(ValueError, match="the prompt begins with a line break, or with a mark"):
            read_prompt(clip, text)
    assert word_tokens(read_prompt(clip, "a (red:1.2) ball"), "red:1.2")  # its brackets are text


def test_first_frames_that_stand_for_the_clip_s_own_are_refused():
    world = World("Kandinsky 5", lambda: (kandinsky.tiny_kandinsky(), kandinsky.tiny_qwen()))
    source = conditioning_set_values(encode(world.clip, RED), {"time_dim_replace": torch.zeros(1, 16, 1, *world.size)})
    with pytest.raises(ValueError, match="the source conditioning holds first frames .of Kandinsky5ImageToVideo."):
        run("DDIMInvert", model=world.model, source=source, null=source, latent=world.latent, method="direct")


def test_what_draws_pictures_alone_is_refused():
    config = comfy.supported_models.Kandinsky5Image(
        {**kandinsky.CONFIG, "visual_embed_dim": 64, "dtype": torch.float32}
    )
    cpu = torch.device("cpu")
    model = comfy.model_patcher.ModelPatcher(config.get_model({}, "", "meta"), load_device=cpu, offload_device=cpu)
    nothing = [[torch.zeros(1, 4, kandinsky.WIDTH), {}]]
    with pytest.raises(ValueError, match="cannot edit with a Kandinsky5Image model"):
        run("DDIMInvert", model=model, source=nothing, null=nothing, latent={"samples": torch.zeros(1, 16, 4, 4)})
