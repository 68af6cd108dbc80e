"""Laws that hold for any model, prompt and clip, on the small reference UNet."""

import hashlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from uuid import uuid4

import comfy.model_management
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.parity.model import OFFICIAL, image_model, inflated_model, load_json, unet_config
from comfyui_videop2p.videop2p_core.diffusion import attention, schedule
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns
from comfyui_videop2p.videop2p_core.edit.matrices import Edit
from comfyui_videop2p.videop2p_core.host.control import attention_control as controls
from comfyui_videop2p.videop2p_core.host.control.attention_control import AttentionControl, ControlledTarget
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.target import PreparedEdit, Target
from comfyui_videop2p.videop2p_core.host.families.unet import UNet
from comfyui_videop2p.videop2p_core.host.model.frame_attention import Inflation
from comfyui_videop2p.videop2p_core.host.model.inflate import inflate
from einops import rearrange

REFERENCE = Path(__file__).parents[1] / "reference"
STEPS, TOKENS = 3, 77
CHANNELS = load_json(REFERENCE, "unet_config")["cross_attention_dim"]


@pytest.fixture(scope="module")
def image():
    return image_model(REFERENCE)


@pytest.fixture(scope="module")
def model():
    # In float32 rounding alone grows to 3e-5 under guidance: the reference's own spread.
    return inflated_model(REFERENCE, dtype=torch.float64)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def conditioning(tokens=TOKENS):
    """A random prompt. Prompts are near each other, so that guidance does not drive the latents out of their range."""
    common = torch.randn(1, TOKENS, CHANNELS, generator=torch.Generator().manual_seed(0))
    common = common.repeat(1, tokens // TOKENS, 1)
    return [[common + 0.3 * torch.randn(1, tokens, CHANNELS), {}]]


def edit(source=None, target=None, temporal=True, steps=STEPS, tokens=(TOKENS, TOKENS)):
    """The same pair at every step; without one a random edit of the last two thirds of the tokens."""
    if source is None:
        shift = (torch.rand(tokens) < 0.05).float() * torch.rand(tokens)
        source, target = shift, torch.rand(tokens[1])
    return Edit(source.expand(steps, *tokens), target.expand(steps, tokens[1]), torch.full((steps,), temporal))


def no_edit():
    return edit(torch.zeros(TOKENS, TOKENS), torch.ones(TOKENS), temporal=False)


def take_the_source():
    return edit(torch.eye(TOKENS), torch.zeros(TOKENS))


def inverted(model, source, null, method=inversions.SHARED_NULL_TEXT, frames=2, height=8, width=8):
    optimised = (
        torch.stack([conditioning()[0][0] for _ in range(STEPS)]) if method in inversions.NULL_TEXT_METHODS else None
    )
    return Inversion(
        method=method,
        trajectory=torch.randn(STEPS + 1, frames, 4, height, width),
        sigmas=schedule.ddim_sigmas(model.get_model_object("model_sampling").sigmas, STEPS),
        source=source[0][0],
        initial_null=null[0][0],
        null=optimised,
    )


def sample(model, edits, blend=None, size=(2, 8, 8), method=inversions.SHARED_NULL_TEXT, target=None, **options):
    """Edit random noise under random prompts, the same in every call: Edited."""
    torch.manual_seed(1)
    source, null, targets = conditioning(), conditioning(), [target or conditioning() for _ in edits]
    start = inverted(model, source, null, method, *size)
    targets = [Target(t, e, blend) for t, e in zip(targets, edits, strict=True)]
    return decoupled_sample(model, PreparedEdit(start, source, null, targets), **options)


def first_prompt():
    """What `sample` draws for the source."""
    torch.manual_seed(1)
    return conditioning()


class Plain(comfy.samplers.Sampler):
    """Euler steps and nothing else."""

    def __init__(self, start):
        self.start = start

    def sample(self, guider, sigmas, extra_args, callback, noise, *args, **kwargs):
        x = schedule.to_x(noise, sigmas[0])
        for sigma, after in zip(sigmas, sigmas[1:], strict=False):
            denoised = guider(x, sigma.expand(len(x)), model_options=extra_args["model_options"], seed=0)
            x = schedule.ddim_step(x, schedule.direction(x, denoised, sigma), sigma, after)
        return schedule.to_z(x, sigmas[-1])


def plain_sample(model, size=(2, 8, 8)):
    """The clip that `sample` edits, under the target prompt without any control."""
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null, inversions.SHARED_NULL_TEXT, *size)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(target, null)
    guider.set_cfg(start.cfg)
    sampled = guider.sample(start.noise, torch.zeros_like(start.noise), Plain(start), start.sigmas, disable_pbar=True)
    return sampled.cpu()


def assert_close(model, actual, expected, atol=1e-5):
    """At the model's own scale, where latents have a standard deviation of about 1."""
    actual, expected = map(model.model.process_latent_in, (actual, expected))
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


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


# --- nothing happens where nothing is asked for ----------------------------------------------------------------------


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


# --- the input model stays what it was -------------------------------------------------------------------------------


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


# --- record and replay -----------------------------------------------------------------------------------------------


def test_the_same_prompt_null_guidance_and_noise_reproduce_the_source(model):
    result = sample(model, [take_the_source()], target=first_prompt(), coupled=True)
    assert_close(model, result.targets[0], result.source)


def test_replay_matters(model):
    """Under another prompt the source's attention changes the result: the law above does not hold by itself."""
    edited, plain = sample(model, [take_the_source()]).targets[0], sample(model, [no_edit()]).targets[0]
    assert (edited - plain).abs().max() > 0.01


@pytest.mark.parametrize("method", [inversions.SHARED_NULL_TEXT, inversions.DIRECT, inversions.PROXIMAL])
def test_several_targets_equal_each_alone(model, method):
    words = Blend(word_columns(TOKENS, [2]), word_columns(TOKENS, [3]))
    prompt, first, second = conditioning(), edit(), take_the_source()
    together = sample(model, [first, second], words, target=prompt, method=method, size=(2, 16, 16))
    for index, alone in enumerate((first, second)):
        single = sample(model, [alone], words, target=prompt, method=method, size=(2, 16, 16))
        assert_close(model, together.targets[index], single.targets[0])
        assert torch.equal(together.masks[index], single.masks[0])


def entries_per_call(model):
    """(a clone that counts, how many conditioning entries each model call held)"""
    counted, calls = model.clone(), []

    def count(executor, *args, **kwargs):
        calls.append(len(args[5]["cond_or_uncond"]))
        return executor(*args, **kwargs)

    counted.add_wrapper(WrappersMP.APPLY_MODEL, count)
    return counted, calls


@pytest.mark.parametrize("tokens", [TOKENS, 2 * TOKENS])
def test_one_conditioning_a_call_changes_nothing(model, monkeypatch, tokens):
    """With prompts of unlike length the host repeats the shorter where both halves share a call."""
    target, change = conditioning(tokens), edit(tokens=(TOKENS, tokens))
    counted, calls = entries_per_call(model)
    shared = sample(counted, [change], target=target)
    assert 2 in calls  # the target's; a source under a null text goes half by half
    calls.clear()
    monkeypatch.setattr(ModelPatcher, "get_free_memory", lambda self, device: 0)
    split = sample(counted, [change], target=target)
    assert set(calls) == {1}
    assert_close(model, split.source, shared.source)
    assert_close(model, split.targets[0], shared.targets[0])


def test_the_direct_source_costs_one_conditional_forward_and_none_where_no_target_looks(model, caplog):
    counted, calls = entries_per_call(model)
    once = edit()
    source, target = once.source.clone(), once.target.clone()
    source[1:], target[1:] = 0, 1
    only_first = Edit(source, target, torch.tensor([True, False, False]))
    sample(counted, [only_first], method=inversions.DIRECT)
    assert calls == [1, 2, 2, 2]
    # On a GPU the host says so where it cannot predict both halves in one call.
    assert "not on same device" not in caplog.text


def edited_by_maps(q, k, v, source_q, source_k, source, target, heads, attend):
    """Prompt-to-prompt as published: the maps, their edit, then the values."""

    def maps(q, k):
        q, k = (rearrange(x, "b t (h d) -> b h t d", h=heads) for x in (q, k))
        return (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)

    of_source = 0 if source is None else maps(source_q, source_k) @ source.to(q)
    of_target = 0 if target is None else maps(q, k) * target.to(q)
    edited = of_source + of_target
    return rearrange(edited @ rearrange(v, "b t (h d) -> b h t d", h=heads), "b h t d -> b t (h d)")


@pytest.mark.parametrize("frames", [1, 2, 3, 8])
@pytest.mark.parametrize("height, width", [(16, 8), (8, 16)])
def test_edits_agree_with_the_map_form(model, monkeypatch, frames, height, width):
    change, calls = edit(), []
    ours = sample(model, [change], size=(frames, height, width)).targets[0]

    def by_maps(*args):
        calls.append(1)
        return edited_by_maps(*args)

    monkeypatch.setattr(controls, "edited_attention", by_maps)
    expected = sample(model, [change], size=(frames, height, width)).targets[0]
    assert len(calls) == STEPS * len(UNet().cross_attention_layers(model.model.diffusion_model))
    assert_close(model, ours, expected)


def test_a_mask_brings_the_source_back_where_it_is_zero(model):
    right = torch.zeros(1, 4, 4)  # of another size than the latent
    right[..., 2:] = 1
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null, inversions.DIRECT)
    edited = decoupled_sample(model, PreparedEdit(start, source, null, [Target(target, edit(), mask=right)]))
    assert torch.equal(edited.targets[0][..., :4], edited.source[..., :4])
    assert (edited.targets[0][..., 4:] - edited.source[..., 4:]).abs().max() > 0.01
    assert edited.masks[0].shape == (2, 8, 8)
    of_latent = right.repeat_interleave(2, -1).repeat_interleave(2, -2)[None]
    from_latent = decoupled_sample(
        model, PreparedEdit(start, source, null, [Target(target, edit())]), denoise_mask=of_latent
    )
    assert torch.equal(from_latent.targets[0][..., :4], edited.source[..., :4])


def test_a_node_runs_it_in_inference_mode(model):
    change = edit()
    with torch.inference_mode():
        inside = sample(model, [change], coupled=True)
    assert torch.equal(inside.targets[0], sample(model, [change], coupled=True).targets[0])


def test_previews_come_once_a_step(model):
    seen = []
    sample(
        model, [edit()], callback=lambda step, denoised, x, steps: seen.append((step, denoised.shape, x.shape, steps))
    )
    assert seen == [(step, (2, 4, 8, 8), (2, 4, 8, 8), STEPS) for step in range(STEPS)]


def deep_model():
    """Transformers of several blocks and none at the finest level, as in SDXL; random weights."""
    torch.manual_seed(2)
    config = unet_config(REFERENCE, torch.float64)
    layers = config["num_res_blocks"][0]
    depths = [0, 2, 3, 0]
    config["transformer_depth"] = [depth for depth in depths for _ in range(layers)]
    config["transformer_depth_output"] = [depth for depth in depths for _ in range(layers + 1)]
    config["transformer_depth_middle"] = 3
    config["use_linear_in_transformer"] = True

    class Deep(comfy.supported_models.SD20):
        unet_extra_config = {"num_heads": -1, "num_head_channels": 32, "attn_precision": torch.float32}

    model = Deep(config).get_model({}, "", "cpu")
    with torch.no_grad():
        for parameter in model.diffusion_model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.08)
    cpu = torch.device("cpu")
    return ModelPatcher(model, load_device=cpu, offload_device=cpu)


def test_edits_reach_every_block_of_a_deep_transformer(monkeypatch):
    image = deep_model()
    deep = inflate(image, Inflation("first+self"))
    layers = UNet().cross_attention_layers(deep.model.diffusion_model)
    assert len(layers) == len(set(layers)) == 2 * 2 + 2 * 3 + 3 + 3 * 2 + 3 * 3
    assert torch.equal(sample(deep, [no_edit()]).targets[0], plain_sample(deep))
    assert torch.equal(plain_sample(deep, (1, 8, 8)), plain_sample(image, (1, 8, 8)))

    used, change = [], edit()
    keep = AttentionControl._keep
    monkeypatch.setattr(
        AttentionControl, "_keep", lambda self, layer, q, k: used.append(layer) or keep(self, layer, q, k)
    )
    ours = sample(deep, [change])
    cross = [layer for layer in used if isinstance(layer, tuple)]
    assert cross == layers * STEPS and len(used) == 2 * len(cross)  # each block has its temporal layer, too
    monkeypatch.setattr(controls, "edited_attention", edited_by_maps)
    assert_close(deep, sample(deep, [change]).targets[0], ours.targets[0])
    result = sample(deep, [take_the_source()], target=first_prompt(), coupled=True)
    assert_close(deep, result.targets[0], result.source)


# --- beside others ---------------------------------------------------------------------------------------------------


def with_occupant(model, occupant, keys):
    occupied = model.clone()
    for block, number, *index in keys:
        occupied.set_model_attn2_replace(occupant, block, number, *index)
    return occupied


def same_as_stock(q, k, v, options):
    return optimized_attention(q, k, v, options["n_heads"], transformer_options=options)


def adds_something(q, k, v, options):
    return same_as_stock(q, k, v, options) + 0.1 * q


@pytest.mark.parametrize("keys", [[("input", 1), ("middle", 0)], [("output", 4, 0), ("input", 7, 0)]])
def test_an_occupied_slot_is_wrapped(model, keys):
    change = edit()
    free = sample(model, [change])
    neutral = with_occupant(model, same_as_stock, keys)
    assert_close(model, sample(neutral, [change]).targets[0], free.targets[0])

    acting = with_occupant(model, adds_something, keys)
    assert torch.equal(sample(acting, [no_edit()]).targets[0], plain_sample(acting))
    for mine, plain in ((sample(acting, [change]), free), (sample(acting, [no_edit()]), sample(model, [no_edit()]))):
        assert (mine.targets[0] - plain.targets[0]).abs().max() > 1e-3
    assert set(acting.model_options["transformer_options"]["patches_replace"]["attn2"].values()) == {adds_something}


def test_only_the_entry_of_the_edit_is_edited():
    """Rows: another conditional entry, the edit's own, the unconditional half; one layer, by itself."""
    frames, heads, own = 2, 2, uuid4()
    entries = [uuid4(), own, uuid4()]
    source_entry, change = uuid4(), edit(steps=1)
    control = AttentionControl(source_entry, [ControlledTarget(change, own)])
    options = {"n_heads": heads, "activations_shape": [0, 0, 4, 4], "cond_or_uncond": [0], "uuids": [source_entry]}
    source_q, source_k = torch.randn(frames, 16, 8), torch.randn(frames, TOKENS, 8)
    with control.evaluation(0):
        control.cross_attention("layer", None, source_q, source_k, source_k, options)

    q, k, v = torch.randn(3 * frames, 16, 8), torch.randn(3 * frames, TOKENS, 8), torch.randn(3 * frames, TOKENS, 8)
    options |= {"cond_or_uncond": [0, 0, 1], "uuids": entries}
    rows = slice(frames, 2 * frames)
    expected = attention.attention(q, k, v, heads)
    edited = edited_by_maps(
        q[rows], k[rows], v[rows], source_q, source_k, change.source[0], change.target[0], heads, None
    )
    for occupant in (None, adds_something):
        with control.evaluation(0, 0):
            out = control.cross_attention("layer", occupant, q, k, v, options)
        base = expected + (0 if occupant is None else 0.1 * q)
        change_of_own = edited - expected[rows]
        base[rows] += change_of_own
        torch.testing.assert_close(out, base, atol=1e-5, rtol=0)


def test_an_entry_in_another_call_is_left_alone():
    change = edit(steps=1)
    control = AttentionControl(uuid4(), [ControlledTarget(change, uuid4())])
    q, k = torch.randn(2, 16, 8), torch.randn(2, TOKENS, 8)
    options = {"n_heads": 2, "activations_shape": [0, 0, 4, 4], "cond_or_uncond": [1], "uuids": [uuid4()]}
    with control.evaluation(0, 0):
        out = control.cross_attention("layer", None, q, k, k, options)
    assert torch.equal(out, same_as_stock(q, k, k, options))


# --- what does not fit is refused ------------------------------------------------------------------------------------


def test_tiles_of_another_node_are_refused(image):
    inflated = inflate(image, Inflation())
    inflated.set_model_attn1_patch(lambda n, context, value, options: (n, context, value))
    patches = inflated.model_options["transformer_options"]["patches"]["attn1_patch"]
    halves = lambda n, context, value, options: (rearrange(n, "b (s t) c -> (b s) t c", s=2),) * 3  # noqa: E731
    patches.insert(0, halves)
    with pytest.raises(ValueError, match="cuts frames into tiles"):
        plain_sample(inflated)


def test_a_model_without_a_unet_is_refused(image):
    other = image.clone()
    other.add_object_patch("diffusion_model", torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="cannot be inflated: connect an image model"):
        inflate(other, Inflation())


def test_an_edit_of_other_steps_is_refused(model):
    with pytest.raises(ValueError, match="made for 5 steps, the inversion has 3"):
        sample(model, [edit(steps=5)])


def test_an_edit_of_another_prompt_is_refused(model):
    with pytest.raises(ValueError, match="77 and 154 tokens, the conditionings have 77 and 77"):
        sample(model, [edit(tokens=(TOKENS, 2 * TOKENS))])


def test_a_conditioning_of_an_area_is_refused(model):
    target = conditioning()
    target[0][1]["area"] = (4, 4, 0, 0)
    with pytest.raises(ValueError, match="needs the whole picture"):
        sample(model, [edit()], target=target)


# --- what others do within a step -------------------------------------------------------------------------------------


def test_another_evaluation_within_a_step_leaves_no_trace(model):
    """As perturbed attention guidance does it: after each prediction the conditional half again, otherwise attended."""

    def perturbed(n, context, value, options):
        return 0 * n, context, value

    def again(args):
        options = args["model_options"].copy()
        options["transformer_options"] = {**options["transformer_options"], "patches": {"attn1_patch": [perturbed]}}
        comfy.samplers.calc_cond_batch(args["model"], [args["cond"]], args["input"], args["sigma"], options)
        calls.append(1)
        return args["denoised"]

    calls, watched = [], model.clone()
    watched.set_model_sampler_post_cfg_function(again)
    words = word_columns(TOKENS, (2, 3))
    change, blend = edit(), Blend(words, words, threshold=0.97, start=0)
    quiet, beside = sample(model, [change], blend), sample(watched, [change], blend)
    assert calls
    assert torch.equal(beside.targets[0], quiet.targets[0])
    assert torch.equal(beside.masks[0], quiet.masks[0])


def test_a_copy_of_the_entry_in_the_unconditional_half_is_left_alone():
    own = uuid4()
    control = AttentionControl(own, [ControlledTarget(edit(steps=1), own)])
    options = {"uuids": [own, uuid4(), own], "cond_or_uncond": [1, 1, 0]}
    assert control._own_rows(6, options) == slice(4, 6)
    assert control._own_rows(2, {"uuids": [own], "cond_or_uncond": [1]}) is None


@pytest.mark.parametrize("method", [inversions.DIRECT, inversions.NEGATIVE_PROMPT, inversions.SHARED_NULL_TEXT])
def test_coupled_guidance_is_another_guidance(model, method):
    change = edit()
    apart, coupled = (sample(model, [change], method=method, coupled=coupled) for coupled in (False, True))
    assert (apart.targets[0] - coupled.targets[0]).abs().max() > 1e-3


def test_proximal_guidance_is_hard_or_soft(model):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null, inversions.PROXIMAL)
    change = edit()

    def edited(**settings):
        prepared = PreparedEdit(replace(start, **settings), source, null, [Target(target, change)])
        return decoupled_sample(model, prepared).targets[0]

    hard, soft, nothing_kept = edited(), edited(proximal_soft=True), edited(proximal_quantile=1.0)
    plain = edited(method=inversions.NEGATIVE_PROMPT)
    for one, other in pairwise((hard, soft, nothing_kept, plain)):
        assert (one - other).abs().max() > 1e-3


def test_per_frame_null_text_that_is_the_same_for_all_frames_is_the_shared_one(model):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    shared = inverted(model, source, null)
    alike = replace(shared, method=inversions.PER_FRAME_NULL_TEXT, null=shared.null.expand(-1, 2, -1, -1))
    change = edit()
    targets = [Target(target, change)]
    one, other = (decoupled_sample(model, PreparedEdit(s, source, null, targets)) for s in (shared, alike))
    assert_close(model, one.targets[0], other.targets[0])
    assert_close(model, one.source, other.source)


# --- masks ------------------------------------------------------------------------------------------------------------


def masked(model, blend=None, mask=None, **settings):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null)
    targets = [Target(target, edit(), blend, mask, **settings)]
    return decoupled_sample(model, PreparedEdit(start, source, null, targets)).masks[0]


def test_a_mask_multiplies_the_words_or_replaces_them(model):
    words = word_columns(TOKENS, (2, 3))
    blend = Blend(words, words, threshold=0.97, start=0)
    left = torch.zeros(1, 8, 8)
    left[..., :4] = 1
    together = masked(model, blend, left)
    assert (together <= left).all() and 0 < together.sum() < left.expand_as(together).sum()
    assert torch.equal(masked(model, blend, left, mask_replaces=True), left.expand_as(together).to(together))


def test_subtracted_words_are_left_alone(model):
    both = Blend(word_columns(TOKENS, (2,), (3,)), word_columns(TOKENS, (2,), (3,)), threshold=0.4, start=0)
    alone = replace(both, source=word_columns(TOKENS, (2,)), target=word_columns(TOKENS, (2,)))
    found, less = masked(model, alone), masked(model, both)
    assert ((found == 1) | (less == 0)).all()
    assert less.sum() < found.sum()


# --- refusals, continued ----------------------------------------------------------------------------------------------


def test_another_null_conditioning_is_refused(model):
    torch.manual_seed(1)
    source, null, target = conditioning(), conditioning(), conditioning()
    start = inverted(model, source, null)
    with pytest.raises(ValueError, match="the null conditioning is not the one"):
        PreparedEdit(start, source, conditioning(), [Target(target, edit())])


def test_conditionings_in_use_at_different_steps_are_refused(model):
    late = [[first_prompt()[0][0], {"start_percent": 0.5}]]
    with pytest.raises(ValueError, match="give both the same timestep range"):
        sample(model, [edit()], target=late)


def test_prompts_in_use_for_a_part_of_the_run_blend_with_what_they_saw(model):
    """Before and after, the words have no maps: a mask that is there stays, and until then the target is whole."""
    limits = {"start_percent": 0.5, "end_percent": 1.0}
    torch.manual_seed(1)
    source, null, target = ([[conditioning()[0][0], limits]] for _ in range(3))
    words, done = word_columns(TOKENS, (2, 3)), []
    targets = [Target(target, no_edit(), Blend(words, words, threshold=0.9, start=0))]
    prepared = PreparedEdit(inverted(model, source, null), source, [[null[0][0], {}]], targets)
    decoupled_sample(model, prepared, progress=done.append)
    seen = [step.word_maps[0][0] is not None for step in done]
    assert seen == sorted(seen) and set(seen) == {False, True}
    assert [step.masks[0] is not None for step in done] == seen
