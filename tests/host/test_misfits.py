"""Parts that do not belong together: an inversion and its model, prompts, edits, masks and samplers."""

from dataclasses import replace

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host.calls import control, encode, run, sample
from comfyui_videop2p.tests.host.refusals import ATTENTION, edit, idle, refused
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of

__all__ = ["edit", "idle"]


def with_patch(model, scale=1.0):
    """A MODEL with a LoRA, which for its identity is any patch of a weight."""
    patched = model.clone()
    shape = patched.model.state_dict()[f"diffusion_model.{ATTENTION}"].shape
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert patched.add_patches({f"diffusion_model.{ATTENTION}": ("diff", (delta,))}, scale)
    return patched


def of_other_levels(model):
    other = model.clone()
    sampling = type(model.get_model_object("model_sampling"))(model.model.model_config)
    sampling.set_sigmas(sampling.sigmas * 1.1)
    other.add_object_patch("model_sampling", sampling)
    return other


@pytest.mark.parametrize(
    "other, sentence",
    [
        (lambda demo, model, tuning: demo[0], "temporal layers, but the model connected is DemoSD15"),
        (lambda demo, model, tuning: tuning[0], "but the model connected is DemoSD15 .*, tuning"),
        (lambda demo, model, tuning: with_patch(model), "but the model connected is DemoSD15 .*, LoRA or merge"),
        (lambda demo, model, tuning: of_other_levels(model), "other noise levels than this model's: connect"),
    ],
)
def test_an_inversion_of_another_model(demo, model, tuning, inversion, edit, other, sentence):
    with pytest.raises(ValueError, match=f"the inversion was made .*{sentence}"):
        sample(other(demo, model, tuning), inversion, edit)


def test_loras_are_told_apart_and_found_again(model, tuning):
    names = [identity_of(with_patch(m, scale)) for m, scale in ((model, 1.0), (model, 0.5), (tuning[0], 1.0))]
    assert len({*names, identity_of(model), identity_of(tuning[0])}) == 5
    assert identity_of(with_patch(model)) == names[0]  # another object, the same values


def test_prompts_that_the_clip_was_not_inverted_with(idle, clip, inversion, edit):
    with refused("the clip was inverted with another prompt than 'a green rabbit on the beach': use one source prompt"):
        sample(idle, inversion, control(clip, source="a green rabbit on the beach")[0])
    swapped = replace(inversion, source=inversion.initial_null, initial_null=inversion.source)
    with refused("the clip was inverted with another prompt than 'a red rabbit on the beach'"):
        sample(idle, swapped, edit)
    with refused("the source conditioning is not the one that the clip was inverted with: connect the same prompt"):
        sample(idle, inversion, edit, source=[encode(clip, "")])
    with refused(
        "the target conditioning is that of the source prompt: connect the one of 'a blue rabbit on the beach'"
    ):
        sample(idle, inversion, edit, target=[edit.source])
    joined = [[torch.cat([edit.target[0][0]] * 2, dim=1), edit.target[0][1]]]
    with refused("the target conditioning has 154 tokens where 'a blue rabbit on the beach' has 77, as of two prompts"):
        sample(idle, inversion, edit, target=[joined])
    with refused("the source conditioning has 154 tokens where 'a red rabbit on the beach' has 77, as of two prompts"):
        sample(idle, inversion, edit, source=[[[torch.cat([edit.source[0][0]] * 2, dim=1), edit.source[0][1]]]])
    with refused("the null conditioning is not the one"):
        sample(idle, inversion, edit, null=[edit.source])
    with refused("the null conditioning is empty: connect a CLIP Text Encode"):
        sample(idle, inversion, edit, null=[[]])


def test_a_prompt_of_another_clip_is_told_from_another_prompt(idle, clip, inversion, edit):
    """CLIP's start token sees no other, so what becomes of it depends on the encoder alone."""
    layers = clip.clone()
    layers.clip_layer(-2)
    with refused(
        "the clip was inverted with a prompt of another CLIP than that of 'a red rabbit on the beach': connect"
    ):
        sample(idle, inversion, control(layers)[0])


def test_a_target_that_another_node_encoded_serves(model, clip, inversion, edit, caplog):
    """As a node that weighs words in its own way would."""
    caplog.set_level("INFO", "videop2p")
    weighed = [[edit.target[0][0] * 1.2, edit.target[0][1]]]
    (plain,), *_ = sample(model, inversion, edit)
    (edited,), *_ = sample(model, inversion, edit, target=[weighed])
    assert not torch.equal(edited["samples"], plain["samples"]) and edited["samples"].isfinite().all()
    assert "The target conditioning was encoded elsewhere; its words are taken to stand as in" in caplog.text


def test_edits_and_masks_that_do_not_fit(idle, clip, inversion, edit):
    with refused("there is no edit: connect at least one Attention Controller"):
        sample(idle, inversion)
    with refused(
        "the mask has shape [3, 8, 8], the clip 2 frames: give [frames, height, width] with one mask for each"
    ):
        sample(idle, inversion, control(clip, mask=torch.ones(3, 8, 8))[0])
    with refused("there are 1 edits and 2 target conditionings: connect as many"):
        sample(idle, inversion, edit, target=[edit.target, edit.target])
    with refused("given 2 of one of these: connect a single one"):
        sample(idle, inversion, edit, null=[edit.source, edit.source])


@pytest.mark.parametrize("shape", [(3, 4, 16, 16), (2, 4, 16, 8)])
def test_another_latent_than_the_guiders(idle, inversion, edit, shape):
    guider, sigmas, _ = run("DecoupledGuider", model=idle, inversion=inversion, edit=edit)
    with torch.inference_mode(), refused(f"the latent has shape {list(shape)}, the inverted clip [2, 4, 16, 16]"):
        latent = {"samples": torch.zeros(shape)}
        SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, run("DecoupledSampler")[0], sigmas, latent)


def test_another_sampler_guider_or_schedule_than_the_edits(idle, inversion, edit):
    guider, sigmas, start = run("DecoupledGuider", model=idle, inversion=inversion, edit=edit)
    (sampler,), euler = run("DecoupledSampler"), comfy.samplers.sampler_object("euler")
    plain = comfy.samplers.CFGGuider(idle)
    plain.set_conds(edit.source, edit.target)
    for parts, sentence in (
        ((guider, euler, sigmas), "connect Decoupled Sampler as the sampler"),
        ((guider, sampler, sigmas[1:]), "connect the sigmas of Decoupled Guider"),
        ((plain, sampler, sigmas), "connect Decoupled Guider as the guider"),
    ):
        with torch.inference_mode(), refused(sentence):
            SamplerCustomAdvanced.execute(Noise_EmptyNoise(), *parts, start)
