"""What an edit cannot run beside is refused in a sentence, by whichever node comes first and in either order."""

from functools import partial

import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers.torch_compile import COMPILE_KEY
from comfy_extras.nodes_torch_compile import TorchCompileModel
from comfyui_videop2p.tests.host.calls import control, run, sample
from comfyui_videop2p.tests.peers.packs import nodes_of
from comfyui_videop2p.tests.peers.stock import CACHES, HYPERTILE, UNET, node
from comfyui_videop2p.videop2p_core.host.comfy import other_packs as beside


def compiled(model):
    return TorchCompileModel.execute(model, "inductor").result[0]


REFUSED = {
    "TorchCompileModel": (compiled, "remove the node that compiles it"),
    "EasyCache": (CACHES["EasyCache"], "remove the node; on a UNet cache every in Decoupled Sample"),
    "LazyCache": (CACHES["LazyCache"], "remove the node; on a UNet cache every in Decoupled Sample"),
    "HyperTile": (HYPERTILE, "cuts frames into tiles"),
}


@pytest.fixture(scope="module")
def inversion(inverting):
    return run("DDIMInvert", **inverting | {"steps": 2})[0]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_everywhere(demo, model, clip, inverting, inversion, name, order):
    patch, sentence = REFUSED[name]

    def patched():
        return run("InflateUNet", model=patch(demo[0]))[0] if order == "before" else patch(model)

    source, latent = inverting["source"], inverting["latent"]
    for work in (
        lambda: run("DDIMInvert", **inverting | {"model": patched()}),
        lambda: run("TuneOnVideo", model=patched(), positive=source, latent=latent, steps=1),
        lambda: sample(patched(), inversion, control(clip)[0]),
    ):
        with pytest.raises(ValueError, match=sentence):
            work()


def test_without_an_edit_they_stand_where_they_like(demo):
    """Inflation alone, for a stock sampler, asks for nothing that they hide."""
    for name in ("TorchCompileModel", "EasyCache", "LazyCache"):
        run("InflateUNet", model=REFUSED[name][0](demo[0]))


def test_the_host_still_calls_a_compiled_model_so():
    assert beside.COMPILED == COMPILE_KEY


class OfANextVersion:
    """Other packs' own accounts, whose parts may be called otherwise one day: what is not known stands in no way."""


def test_what_another_pack_says_otherwise_is_passed_over(model):
    told = model.clone()
    told.set_attachments("ADE_sample_settings", OfANextVersion())
    beside.check_beside(told)
    beside.check_windows({"transformer_options": {beside.STATE: OfANextVersion()}})


def test_free_u_2_is_not_differentiated_through(model, inverting):
    with pytest.raises(RuntimeError, match="writes into what it is given .FreeU_V2, for instance."):
        run(
            "TuneOnVideo", model=UNET["FreeU_V2"](model), positive=inverting["source"], latent=inverting["latent"],
            steps=1,
        )  # fmt: skip


@pytest.mark.parametrize("strength", [1.0, 0.5])  # edits that begin elsewhere run one after the other
@pytest.mark.parametrize("momentum", [0.0, -0.5])
def test_guidance_that_remembers_serves_one_edit_at_a_time(model, clip, inversion, momentum, strength):
    patched = node("nodes_apg", "APG", eta=0.5, norm_threshold=5.0, momentum=momentum)(model)
    edits = [
        control(clip, target, strength=share)[0]
        for target, share in (("a blue rabbit on the beach", 1.0), ("a green rabbit on the beach", strength))
    ]
    alone = [sample(patched, inversion, edit)[0][0]["samples"] for edit in edits]
    if momentum:
        with pytest.raises(ValueError, match="set its momentum to 0, or run one edit at a time"):
            sample(patched, inversion, *edits)
    else:
        together = [latent["samples"] for latent in sample(patched, inversion, *edits)[0]]
        assert all(map(torch.equal, together, alone))


def with_momentum(model):
    """Guidance that writes a running mean into the options of the sampling call."""

    def remembering(args):
        memory = args["model_options"].setdefault("momentum_of_a_peer", {})
        before = memory.get("mean", args["denoised"])
        memory["mean"] = 0.5 * args["denoised"] + 0.5 * before
        return args["denoised"] + 0.5 * (args["denoised"] - before)

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(remembering)
    return patched


def of_perturbed_attention(name, **settings):
    """MODEL -> MODEL of a node of sd-perturbed-attention, with its defaults."""

    def patch(model):
        node = nodes_of("sd-perturbed-attention")[name]
        if not hasattr(node, "execute"):
            return node().patch(model, **settings)[0]
        inputs = node.define_schema().inputs
        defaults = {entry.id: entry.default for entry in inputs if hasattr(entry, "default")}
        return node.execute(**defaults | settings | {"model": model}).result[0]

    return patch


REMEMBERING = {
    "stand-in": with_momentum,
    "MomentumGuidance": of_perturbed_attention("MomentumGuidance"),
    "SMC-CFG": of_perturbed_attention("SlidingModeControlCFG"),
}


@pytest.mark.parametrize("name", REMEMBERING)
def test_guidance_that_remembers_in_the_options_has_a_memory_for_each_edit(model, clip, inversion, name):
    patched = REMEMBERING[name](model)
    edits = [control(clip, target)[0] for target in ("a blue rabbit on the beach", "a green rabbit on the beach")]
    alone = [sample(patched, inversion, edit)[0][0]["samples"] for edit in edits]
    together = [latent["samples"] for latent in sample(patched, inversion, *edits)[0]]
    assert all(map(torch.equal, together, alone))
    assert not torch.allclose(alone[0], sample(model, inversion, edits[0])[0][0]["samples"], atol=1e-3)


class RunningMean:
    """Guidance as an object that keeps a running mean."""

    mean = None

    def __call__(self, args):
        self.mean = args["denoised"] if self.mean is None else 0.5 * (args["denoised"] + self.mean)
        return self.mean


def test_an_object_that_remembers_is_told_by_what_it_does(model, clip, inversion):
    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(RunningMean())
    edits = [control(clip, target)[0] for target in ("a blue rabbit on the beach", "a green rabbit on the beach")]
    sample(patched, inversion, edits[0])
    with pytest.raises(ValueError, match="remembers the last prediction, whose ever it was"):
        sample(patched, inversion, *edits)


def by_parts(model):
    """Guidance by a prediction of one half of the picture."""

    def sliding(args):
        (part,) = comfy.samplers.calc_cond_batch(
            args["model"], [args["cond"]], args["input"][..., :8], args["sigma"], args["model_options"]
        )
        whole = args["denoised"].clone()
        whole[..., :8] = part
        return whole

    patched = model.clone()
    patched.set_model_sampler_post_cfg_function(sliding)
    return patched


BY_PARTS = {
    "stand-in": by_parts,
    "SlidingWindowGuidance": of_perturbed_attention(
        "SlidingWindowGuidanceAdvanced", tile_width=64, tile_height=64, tile_overlap=16, sigma_end=0.0
    ),
}


@pytest.mark.parametrize("name", BY_PARTS)
def test_guidance_by_parts_of_the_picture_is_refused_for_what_it_is(model, clip, inversion, name):
    with pytest.raises(ValueError, match="predicts a part of the picture by itself .Sliding Window Guidance"):
        sample(BY_PARTS[name](model), inversion, control(clip, cross_window=1.0)[0])


@pytest.mark.parametrize("left_out", ["UNet", "layer"])
def test_a_cache_of_another_pack_is_noticed(model, clip, inversion, left_out):
    """One that leaves a call out, or one layer of it, once it has seen some."""
    known, patched = {}, model.clone()

    def remembering(computed, x, *args, **kwargs):
        if len(x) not in known:
            known[len(x)] = computed(x, *args, **kwargs)
        return known[len(x)]

    if left_out == "UNet":
        patched.add_wrapper(WrappersMP.DIFFUSION_MODEL, remembering)
    else:
        middle = model.get_model_object("diffusion_model.middle_block.1")
        patched.add_object_patch("diffusion_model.middle_block.1.forward", partial(remembering, middle.forward))
    with pytest.raises(ValueError, match="left out .* layers that an edit looks into"):
        sample(patched, inversion, control(clip, cross_window=1.0)[0])
