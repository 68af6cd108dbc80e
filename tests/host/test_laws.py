"""Laws that hold for any model, prompt and clip: no edit changes nothing, no edit changes the model."""

import hashlib

import comfy.model_management
import pytest
import torch
from comfyui_videop2p.tests.host.random_edits import (
    conditioning,
    edit,
    image,
    model,
    no_edit,
    plain_sample,
    sample,
    seed,
)
from comfyui_videop2p.tests.parity.model import OFFICIAL
from comfyui_videop2p.videop2p_core.diffusion import attention
from comfyui_videop2p.videop2p_core.host.model.frame_attention import Inflation
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate

__all__ = ["image", "model", "seed"]


def fingerprint(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    return digest.hexdigest()


def patches(model):
    options = model.model_options["transformer_options"]
    return (
        dict(model.object_patches),
        dict(model.patches),
        list(model.wrappers),
        list(model.additional_models),
        dict(options),
    )


# --- nothing happens where nothing is asked for -----------------------------------------------------------------------


def test_no_edit_leaves_the_plain_model_bit_for_bit(model):
    assert torch.equal(sample(model, [no_edit()]).targets[0], plain_sample(model))


def test_an_edit_that_is_nothing_beside_one_that_is_something_changes_no_bit(model):
    prompt = conditioning()
    edited, untouched = sample(model, [edit(), no_edit()], target=prompt).targets
    assert torch.equal(untouched, sample(model, [no_edit(), edit()], target=prompt).targets[0])
    assert not torch.equal(edited, untouched)


@pytest.mark.parametrize("rule", attention.FRAMES_READ)
def test_an_untuned_inflation_changes_nothing_for_one_frame(image, rule):
    inflated = inflate(image, Inflation(rule, temporal_layers=True, norm_over_frames=False))
    assert torch.equal(plain_sample(inflated, (1, 8, 8)), plain_sample(image, (1, 8, 8)))


def test_an_untuned_inflation_that_reads_only_itself_changes_nothing_for_many_frames(image):
    inflated = inflate(image, Inflation("window", window=0))
    assert torch.equal(plain_sample(inflated, (3, 8, 8)), plain_sample(image, (3, 8, 8)))


# --- the input model stays what it was --------------------------------------------------------------------------------


class Failure(Exception):
    pass


def fail(*args):
    raise Failure


def cancel(*args):
    comfy.model_management.interrupt_current_processing(True)


@pytest.mark.parametrize("callback, outcome", [
    (None, None), (fail, Failure), (cancel, comfy.model_management.InterruptProcessingException)
])  # fmt: skip
def test_run_cancel_fail_leave_the_input_model_as_it_was(image, callback, outcome):
    before, parameters, listed = plain_sample(image), fingerprint(image), patches(image)
    inflated = inflate(image, OFFICIAL)
    inflated_listed = patches(inflated)
    if outcome is None:
        sample(inflated, [edit()], callback=callback)
    else:
        with pytest.raises(outcome):
            sample(inflated, [edit()], callback=callback)
    assert patches(inflated) == inflated_listed
    assert patches(image) == listed
    assert torch.equal(plain_sample(image), before)
    assert fingerprint(image) == parameters


def test_cancelling_takes_effect_within_a_step(model):
    seen = []

    def stop(done):
        seen.append(done.step)
        cancel()

    with pytest.raises(comfy.model_management.InterruptProcessingException):
        sample(model, [edit()], progress=stop)
    assert seen == [0]


def test_inflating_twice_is_inflating_once(image):
    official, other = Inflation("first", 1, True, True), Inflation("all", 1, True, False)
    once, twice = inflate(image, official), inflate(inflate(image, other), official)
    assert torch.equal(plain_sample(once), plain_sample(twice))
    assert [list(part) for part in patches(once)] == [list(part) for part in patches(twice)]


def test_weight_patches_of_others_survive_before_and_after_inflation(image):
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    delta = {key: ("diff", (torch.randn(image.model.state_dict()[key].shape),))}
    before, after = image.clone(), inflate(image, OFFICIAL)
    assert before.add_patches(delta) == [key] == after.add_patches(delta)
    before = inflate(before, OFFICIAL)
    assert torch.equal(plain_sample(before), plain_sample(after))
    assert not torch.equal(plain_sample(before), plain_sample(inflate(image, OFFICIAL)))
