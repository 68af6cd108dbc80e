"""The whole way on a small model of every supported family: layout, what it predicts, all that it reads of a prompt.

Expectations come from the host's own sampler, which knows nothing of this pack.
"""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import comfy.model_management
import comfy.model_patcher
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy_api.latest import io
from comfyui_videop2p.tests.host.calls import FRAMES, NODES, SOURCE, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.models import FAMILIES, SD2, SDXL, tiny
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.host.comfy.denoiser import prediction_of
from comfyui_videop2p.videop2p_core.host.families.unet import transformer_blocks
from comfyui_videop2p.videop2p_core.host.model.image_conditioning import check_alike, check_inverted_alike, has_picture

STEPS, CFG = 2, 3.0
LONG = f"{SOURCE}, " + ", ".join(["in the snow under a very blue sky with a few small white clouds"] * 7)  # 2 chunks
# The others differ from these in a part, and take fewer laws. The order keeps a model's tests together.
THREE, MOST = list(FAMILIES)[:3], list(FAMILIES)[:4]
SLOW = [name for name in FAMILIES if name not in MOST]
INPAINTING = [name for name in FAMILIES if FAMILIES[name].config["in_channels"] == 9]
POOLED = [name for name in FAMILIES if FAMILIES[name].config["adm_in_channels"]]


@dataclass(eq=False)
class World:
    """A tiny model, inflated and tuned on a clip of noise; what was asked of it is kept."""

    family: str
    frames: int = FRAMES

    def __post_init__(self):
        self.image, self.clip = tiny(self.family)
        self.before, self.inversions = fingerprint(self.image), {}
        # SDXL has no attention at its full resolution, so it takes some size to have word maps.
        self.size = (24, 20) if self.family in POOLED else (12, 10)
        self.latent = {"samples": random(self.frames, self.image.model.latent_format.latent_channels, *self.size)}
        self.source, self.target, self.null = (self.encoded(text) for text in (SOURCE, TARGET, ""))

    def encoded(self, text):
        return self.masked(encode(self.clip, text))

    def masked(self, conditioning):
        """With what an inpainting model reads, as InpaintModelConditioning gives it."""
        if self.family not in INPAINTING:
            return conditioning
        return changed(conditioning, concat_latent_image=self.picture(seed=1), concat_mask=self.half_mask())

    def picture(self, seed):
        return random(self.frames, 4, *self.size, seed=seed)

    def half_mask(self):
        """As large as the pictures."""
        height, width = (8 * side for side in self.size)
        mask = torch.zeros(self.frames, 1, height, width)
        mask[..., width // 2 :] = 1
        return mask

    @cached_property
    def tuning(self):
        inflated = run("InflateUNet", model=self.image)[0]
        return run("TuneOnVideo", model=inflated, positive=self.source, latent=self.latent, steps=2, learning_rate=1e-3)

    @property
    def model(self):
        return self.tuning[0]

    def inverted(self, method="direct"):
        """By the settings of `invert`, once."""
        if method not in self.inversions:
            self.inversions[method] = self.invert(method)
        return self.inversions[method]

    def invert(self, method, **inputs):
        given = {"model": self.model, "source": self.source, "null": self.null, "latent": self.latent}
        given |= {"steps": STEPS, "cfg": CFG, "inner_steps": 1, "method": method}
        return run("DDIMInvert", **given | inputs)

    def edit(self, inversion, target=TARGET, source=SOURCE, guidance="decoupled", **settings):
        """Decoupled Sample of one edit: (edited, reconstruction, mask), without the lists around them."""
        edit, source, target, _ = control(self.clip, target, source, **settings)
        edited, reconstruction, masks = sample(
            self.model, inversion, edit, source=[self.masked(source)], target=[self.masked(target)], null=[self.null],
            guidance=[guidance],
        )  # fmt: skip
        return edited[0]["samples"], reconstruction["samples"], masks[0]

    def at_model_scale(self, latent):
        return self.model.model.process_latent_in(latent)


def families(*names):
    slow = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in names]
    return pytest.mark.parametrize("world", slow, indirect=True)


@pytest.fixture(scope="module")
def world(request):
    with torch.inference_mode():
        return World(request.param)


def changed(conditioning, **options):
    return [[embedding, given | options] for embedding, given in conditioning]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fingerprint(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    options = model.model_options["transformer_options"]
    return digest.hexdigest(), dict(model.object_patches), dict(model.patches), dict(options), list(model.wrappers)


def euler(model, start, positive, negative, cfg, sigmas, callback=None):
    """The stock sampler from a noisy LATENT on; what it ends in is taken for a clean clip, as DDIM does."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    sampler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        x = guider.sample(torch.zeros_like(start), start, sampler, sigmas, callback=callback, disable_pbar=True, seed=0)
    return x.cpu() / (1 + sigmas[-1] ** 2).sqrt()


def retraced(world, inversion, noise, cfg=1.0):
    """The inversion with a path of which every step is exact: that of the stock sampler under the source prompt."""
    path = []

    def seen(step, denoised, x, steps):
        path.append(schedule.to_z(x.cpu(), inversion.sigmas[step]))

    end = euler(world.model, noise["samples"], world.source, world.null, cfg, inversion.sigmas, seen)
    trajectory = torch.stack([world.at_model_scale(end), *reversed(path)])
    return replace(inversion, trajectory=trajectory, cfg=cfg), end


def assert_close(world, actual, expected, atol=1e-4):
    """At the model's own scale, where latents have a standard deviation of about 1."""
    actual, expected = map(world.at_model_scale, (actual, expected))
    assert actual.isfinite().all() and expected.std() > 0.05
    torch.testing.assert_close(actual, expected, atol=atol * max(1, expected.std().item()), rtol=0)


def differ(world, a, b, by=1e-2):
    return (world.at_model_scale(a) - world.at_model_scale(b)).abs().max() > by


# --- what the tiny models are -----------------------------------------------------------------------------------------


@families(*FAMILIES)
def test_it_reads_all_that_its_conditioning_holds(world):
    """Else no test here could tell a conditioning that was lost on the way."""
    inversion, noise, *_ = world.inverted()

    def drawn(positive):
        return euler(world.image, noise["samples"], positive, world.null, 1.0, inversion.sigmas)

    plain = drawn(world.source)
    others = [world.target]
    if world.family in POOLED:
        others.append(changed(world.source, pooled_output=world.target[0][1]["pooled_output"]))
    if world.family in INPAINTING:
        others.append(changed(world.source, concat_latent_image=world.picture(seed=2)))
        others.append(changed(world.source, concat_mask=1 - world.half_mask()))
    assert all(differ(world, plain, drawn(other)) for other in others)
    assert plain.std(dim=(1, 2, 3)).min() > 0.05
    assert prediction_of(world.image) == ("v" if world.family == "sd2" else "eps")


# --- laws -------------------------------------------------------------------------------------------------------------


@families(*FAMILIES)
def test_no_edit_is_what_the_stock_sampler_draws_of_the_target(world):
    inversion, noise, *_ = world.inverted()
    edited, reconstruction, mask = world.edit(inversion, cross_window=0.0, temporal_window=0.0)
    assert_close(world, edited, euler(world.model, noise["samples"], world.target, world.null, CFG, inversion.sigmas))
    assert (mask == 1).all()
    torch.testing.assert_close(reconstruction, world.latent["samples"], atol=1e-5, rtol=0)


@families(*MOST)
def test_no_edit_is_that_beside_an_optimised_null_text(world):
    inversion, noise, *_ = world.inverted("shared null-text")
    assert not torch.equal(inversion.null[0], inversion.initial_null)
    edited, *_ = world.edit(inversion, cross_window=0.0, temporal_window=0.0)
    assert_close(world, edited, euler(world.model, noise["samples"], world.target, world.null, CFG, inversion.sigmas))


@families(*MOST)
def test_an_edit_into_the_same_prompt_gives_the_source(world):
    """Every step of the path is exact and there is no guidance, so that nothing but the edit could move the target."""
    inversion, noise, *_ = world.inverted()
    exact, clip = retraced(world, inversion, noise)
    edited, reconstruction, _ = world.edit(exact, target=SOURCE, cross_window=1.0, temporal_window=1.0)
    assert_close(world, edited, clip)
    assert_close(world, reconstruction, clip, atol=1e-5)


@families(*FAMILIES)
def test_proximal_guidance_cancels_for_the_same_prompt(world):
    """The source prompt is the null text: all of its conditioning must be, SDXL's pooled vector too."""
    inversion, *_ = world.inverted("proximal")
    edited, reconstruction, _ = world.edit(inversion, target=SOURCE)
    assert_close(world, edited, reconstruction)


@families(*MOST)
def test_coupled_guidance_of_the_same_prompt_gives_the_source(world):
    inversion, *_ = world.inverted("negative-prompt" if world.family == "sdxl" else "shared null-text")
    edited, reconstruction, _ = world.edit(inversion, target=SOURCE, guidance="coupled")
    assert_close(world, edited, reconstruction)


@families(*MOST)
def test_a_replaced_word_changes_the_clip(world):
    inversion, noise, *_ = world.inverted()
    edited, reconstruction, _ = world.edit(inversion, cross_window=1.0, temporal_window=1.0)
    plain = euler(world.model, noise["samples"], world.target, world.null, CFG, inversion.sigmas)
    assert edited.isfinite().all()
    assert differ(world, edited, reconstruction) and differ(world, edited, plain)


@families(*THREE[:2])
def test_a_weighed_refinement_changes_the_clip(world):
    inversion, *_ = world.inverted()
    refined = f"{SOURCE} at night"
    plain, heavy = (
        world.edit(inversion, refined, cross_window=1.0, word_weights=weights)[0] for weights in ("", "night: 4")
    )
    assert heavy.isfinite().all() and differ(world, plain, heavy)


@families(*FAMILIES)
def test_the_blend_keeps_what_is_outside(world):
    inversion, *_ = world.inverted()
    edited, reconstruction, mask = world.edit(
        inversion, blend_source="ball", blend_target="ball", threshold=0.9, blend_start=0.0
    )
    inside = mask[:, None, ::8, ::8].bool().expand_as(edited)
    assert 0.02 < inside.float().mean() < 0.98
    torch.testing.assert_close(edited[~inside], reconstruction[~inside], atol=1e-5, rtol=0)
    assert differ(world, edited[inside], reconstruction[inside])


CHUNKED = {
    "sd15": ("shared null-text", LONG, SOURCE),
    "sd2": ("shared null-text", SOURCE, LONG),
    "sdxl": ("direct", LONG, SOURCE),
}


@families(*THREE)
def test_prompts_of_several_chunks(world):
    method, source, target = CHUNKED[world.family]
    conditioning, other = world.encoded(source), world.encoded(target)
    assert {conditioning[0][0].shape[1], other[0][0].shape[1]} == {77, 154}
    inversion, noise, *_ = world.invert(method, source=conditioning)
    plain, *_ = world.edit(inversion, target, source, cross_window=0.0, temporal_window=0.0)
    assert_close(world, plain, euler(world.model, noise["samples"], other, world.null, CFG, inversion.sigmas))
    edited, *_ = world.edit(inversion, target, source, cross_window=1.0, blend_source="ball", threshold=0.9)
    assert edited.isfinite().all() and differ(world, edited, plain)


@families(*THREE)
def test_recomputed_activations_change_no_number(world):
    _, tuning, _ = world.tuning
    inflated = run("InflateUNet", model=world.image)[0]
    saved = run(
        "TuneOnVideo", model=inflated, positive=world.source, latent=world.latent, steps=2, learning_rate=1e-3,
        memory="save memory",
    )[1]  # fmt: skip
    torch.testing.assert_close(saved.losses, tuning.losses, rtol=1e-4, atol=0)
    trained = [name for name in tuning.deltas if name.endswith(("attn1.to_q.weight", "attn2.to_q.weight"))]
    assert len(trained) == 2 * len(transformer_blocks(world.image.model.diffusion_model))
    assert all(delta.abs().max() > 0 for delta in tuning.deltas.values())


@families(*FAMILIES)
def test_the_input_model_is_bit_for_bit_what_it_was(world):
    comfy.model_management.unload_all_models()  # takes off what is patched into the weights that all clones share
    assert fingerprint(world.image) == world.before


# --- what an inpainting model goes by ---------------------------------------------------------------------------------


def test_without_a_picture_an_inpainting_model_draws_from_the_text():
    """The host shows it a blank picture, all of it to be painted."""
    image, clip = tiny("sd15_inpaint")
    latent = {"samples": random(FRAMES, 4, 12, 10)}
    source, target, null = (encode(clip, text) for text in (SOURCE, TARGET, ""))
    inversion, noise, *_ = run(
        "DDIMInvert", model=image, source=source, null=null, latent=latent, steps=STEPS, cfg=CFG, method="direct"
    )
    edit = control(clip, cross_window=0.0, temporal_window=0.0)[0]
    edited = sample(image, inversion, edit)[0][0]["samples"]
    expected = euler(image, noise["samples"], target, null, CFG, inversion.sigmas)
    torch.testing.assert_close(edited, expected, atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def painter():
    """Frames that see themselves and frame 0 alone, so that it does not matter which others share their pass."""
    with torch.inference_mode():
        world = World("sd15_inpaint", frames=5)
    world.tuning = run("InflateUNet", model=world.image, temporal_layers=False)
    return world


def test_each_pass_is_shown_its_own_frames(painter):
    whole = painter.model
    cut = run("InflateUNet", model=painter.image, temporal_layers=False, frames_per_pass=3, pass_overlap=1)[0]
    found = []
    for painter.tuning in ((whole,), (cut,)):
        inversion = painter.invert("negative-prompt")[0]
        found.append(painter.edit(inversion, cross_window=0.8)[0])
    painter.tuning = (whole,)
    torch.testing.assert_close(*found, atol=2e-3 * found[0].std().item(), rtol=0)


@pytest.mark.parametrize("lacking", ["source", "target", "null", "all"])
def test_a_picture_that_a_branch_lacks_is_asked_for(painter, lacking):
    inversion, *_ = painter.inverted()
    given = {name: [getattr(painter, name)] for name in ("source", "target", "null") if lacking not in (name, "all")}
    sentence = "the clip was inverted with a" if "source" not in given else f"the {lacking} conditioning has none"
    with pytest.raises(ValueError, match=f"{sentence}.*InpaintModelConditioning"):
        sample(painter.model, inversion, control(painter.clip)[0], **given)


def test_a_picture_that_the_model_does_not_look_at_is_nothing_to_it():
    """InpaintModelConditioning serves plain checkpoints too, which read its mask at most."""
    plain, painter = (tiny(family)[0].model for family in ("sd15", "sd15_inpaint"))
    shown = [[None, {"concat_latent_image": torch.zeros(1)}]]
    assert has_picture(painter, shown) and not has_picture(plain, shown)
    check_alike(plain, source=shown, target=[[None, {}]])
    check_inverted_alike(plain, False, shown)


def test_of_an_older_inversion_it_is_not_known_whether_it_had_a_picture():
    painter = tiny("sd15_inpaint")[0].model
    for shown in ([[None, {"concat_latent_image": torch.zeros(1)}]], [[None, {}]]):
        check_inverted_alike(painter, None, shown)


def test_pictures_of_other_frames_are_refused(painter):
    few = changed(painter.source, concat_latent_image=painter.picture(seed=1)[:3])
    with pytest.raises(ValueError, match="the source conditioning has 3 pictures to paint in, the clip 5 "):
        painter.invert("direct", source=few)
    with pytest.raises(ValueError, match="the source conditioning has a picture for the model to go by, the null"):
        painter.invert("direct", null=encode(painter.clip, ""))
    one = changed(painter.source, concat_mask=painter.half_mask()[:1])
    alike, own = (painter.invert("direct", source=source)[0] for source in (one, painter.source))
    assert torch.equal(alike.trajectory, own.trajectory)


# --- what SDXL reads beside the text ----------------------------------------------------------------------------------


def test_what_sdxl_reads_beside_the_text_is_asked_for():
    image, clip = tiny("ssd1b")
    given = {"source": encode(clip, SOURCE), "null": encode(clip, ""), "steps": 1, "method": "direct"}
    given |= {"model": image, "latent": {"samples": random(1, 4, 12, 10)}}
    inversion = run("DDIMInvert", **given)[0]
    edit = control(clip)[0]
    with pytest.raises(
        ValueError, match="SDXL a pooled vector.*connect the CLIP Text Encode .* to the null input here"
    ):
        sample(image, inversion, edit)
    sample(image, inversion, edit, null=[given["null"]])
    bare = [[given["null"][0][0], {}]]
    for refused in (
        lambda: sample(image, inversion, edit, null=[bare]),
        lambda: run("DDIMInvert", **given | {"null": bare}),
    ):
        with pytest.raises(ValueError, match="the null conditioning lacks the pooled vector that an SDXL model reads"):
            refused()


# --- other families ---------------------------------------------------------------------------------------------------

REFUSED = {
    "SVD_img2vid": SD2 | {
        "in_channels": 8, "adm_in_channels": 768, "num_classes": "sequential", "use_temporal_attention": True,
        "use_temporal_resblock": True, "num_heads": -1, "extra_ff_mix_layer": True, "merge_strategy": "learned",
        "merge_factor": 0.0, "video_kernel_size": [3, 1, 1],
    },
    "SDXLRefiner": SDXL | {"adm_in_channels": 2560, "context_dim": 1280},
    "SD_X4Upscaler": SD2 | {"in_channels": 7},
    "LotusD": SD2 | {"adm_in_channels": 4},
    "Stable_Cascade_C": {
        "stable_cascade_stage": "c", "c_cond": 16, "c_hidden": [64, 64], "nhead": [1, 1], "blocks": [[1, 1], [1, 1]],
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the host's own upscaler
@pytest.mark.parametrize("family", REFUSED)
def test_other_families_are_told_which_are_supported(family, folders, inversion, inverting, clip, tuning):
    """Wherever a MODEL is taken, before anything else is looked at."""
    model = unweighted(family)
    run("SaveTuning", tuning=tuning[1])
    edit = control(clip)[0]
    parts = {"inversion": inversion, "edit": edit}
    calls = {
        "InflateUNet": {},
        "DDIMInvert": inverting,
        "TuneOnVideo": {"positive": inverting["source"], "latent": inverting["latent"]},
        "LoadTuning": {"tuning_name": "tuning_00001_.safetensors"},
        "DecoupledSample": {name: [value] for name, value in parts.items()},
        "DecoupledGuider": parts,
        "AttentionMaps": parts,
    }
    # What exports a tuning takes a tuned model alone, and one of another family cannot be.
    assert takes_a_model() - {"VP2P_ExportTuning"} == {f"VP2P_{name}" for name in calls}
    for node_id, inputs in calls.items():
        with pytest.raises(ValueError, match=f"{type(model.model).__name__} .*Stable Diffusion 1.x, 2.x or XL"):
            run(node_id, **inputs | {"model": [model] if node_id == "DecoupledSample" else model})


def takes_a_model():
    return {
        name for name, node in NODES.items() if any(type(given) is io.Model.Input for given in node.GET_SCHEMA().inputs)
    }


def unweighted(family):
    """A MODEL without weights."""
    config = getattr(comfy.supported_models, family)(REFUSED[family] | {"dtype": torch.float32})
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(config.get_model({}, "", "meta"), load_device=cpu, offload_device=cpu)
