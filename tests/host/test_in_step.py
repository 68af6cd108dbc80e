"""On Wan a source goes block by block beside its target: the same edit, and of the source one block is kept."""

import gc
import threading
import weakref
from collections import Counter

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.host import wan
from comfyui_videop2p.tests.host.calls import encode, run, sample
from comfyui_videop2p.tests.host.wan_edits import (
    BIG,
    BLUE,
    FRAMES,
    RED,
    STAR,
    controlled,
    edited,
    inverted,
    latent_for,
    models,
    text,
    told,
)
from comfyui_videop2p.videop2p_core.device_transfer import Ferry
from comfyui_videop2p.videop2p_core.diffusion import forwards
from comfyui_videop2p.videop2p_core.diffusion.attention import attention
from comfyui_videop2p.videop2p_core.diffusion.inversion import InversionSettings
from comfyui_videop2p.videop2p_core.host.control.source_recording import SourceRecording
from comfyui_videop2p.videop2p_core.host.families.table import family_of
from comfyui_videop2p.videop2p_core.host.families.wan import Wan
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

__all__ = ["models", "text"]

FULL = {"cross_window": 1.0, "temporal_window": 1.0}
TOKENS, PLACES = 512, FRAMES * 3 * 2  # of the text, and of a clip of latents 6 x 4


@pytest.fixture
def most(monkeypatch):
    """How many numbers of the source were kept at once, after each layer that was."""
    kept, keep = [0], SourceRecording.keep

    def counting(self, layer, q, k):
        keep(self, layer, q, k)
        kept.append(sum(x.numel() for pair in self.layers.values() for x in pair))

    monkeypatch.setattr(SourceRecording, "keep", counting)
    return kept


def edits(text):
    """Of one run: they swap, refine and re-weight, look for a mask, go further, and one does nothing."""
    blended = {"blend_source": "ball", "blend_target": "star", "blend_start": 0.0, "threshold": 0.9}
    return (
        controlled(text, STAR, **FULL, **blended), controlled(text, BIG, cross_window=0.5, emphasis=0.5),
        controlled(text, BLUE, temporal_window=1.0), controlled(text, BLUE),
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind, method", [("t2v", "direct"), ("t2v", "direct-exact"), ("i2v", "direct"), ("vace", "virtual")]
)
def test_it_is_the_edit_of_a_source_that_is_kept_whole_bit_for_bit(models, text, monkeypatch, kind, method):
    model = models[kind]
    inversion, *_ = inverted(model, text, kind=kind, method=method)
    chosen = edits(text)
    given = {"source": [told(kind, text, RED)], "null": [told(kind, text, "")]}
    given["target"] = [told(kind, text, edit.plan.target.text) for edit in chosen]

    def outputs():
        latents, source, masks = run(
            "DecoupledSample", model=[model], inversion=[inversion], edit=list(chosen), **given
        )[:3]  # fmt: skip
        return [*(latent["samples"] for latent in latents), source["samples"], *masks]

    in_step = outputs()
    monkeypatch.setattr(Wan, "goes_in_step", False)
    for ours, whole in zip(in_step, outputs(), strict=True):
        assert torch.equal(ours, whole)
    assert not torch.equal(in_step[0], in_step[1]) and not torch.equal(in_step[2], in_step[3])


@pytest.mark.parametrize("windows", [{"cross_window": 1.0}, FULL])
def test_what_is_kept_does_not_grow_with_the_blocks(text, most, windows):
    largest = []
    for blocks in (2, 5):
        model = wan.tiny_wan(num_layers=blocks)
        inversion, *_ = inverted(model, text, steps=1)
        most[:] = [0]
        sample(model, inversion, controlled(text, BLUE, **windows), controlled(text, STAR, **windows))
        largest.append(max(most))
        network, temporal = model.model.diffusion_model, "temporal_window" in windows
        expected = family_of(model).recorded_values(network, inversion.noise, TOKENS, 0, True, temporal)
        assert max(most) == expected == network.dim * (PLACES + TOKENS + temporal * 2 * PLACES)
    assert largest[0] == largest[1]


def test_each_target_that_looks_costs_one_forward_of_the_source(models, text):
    """In the steps in which it looks, and no thread is left behind."""
    model, calls = models["t2v"].clone(), []

    def count(executor, *args, **kwargs):
        calls.append(tuple(kwargs.get("transformer_options", args[5])["cond_or_uncond"]))
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "count", count)
    inversion, *_ = inverted(model, text)
    before = threading.active_count()
    for looking, idle, source in ((0, 1, 0), (1, 0, 2), (2, 0, 4), (1, 1, 2)):
        calls.clear()
        chosen = [controlled(text, BLUE, cross_window=1.0)] * looking + [controlled(text, BLUE)] * idle
        edited_by = run("DecoupledSample", model=[model], inversion=[inversion], edit=chosen)
        assert Counter(map(len, calls)) == Counter({1: source, 2: 2 * (looking + idle)} if source else {2: 2 * idle})
        assert len(edited_by[0]) == looking + idle
        if not idle:
            told = forwards.of_edit(InversionSettings("direct", 2), variants=looking, shared=False)
            assert sum(map(len, calls)) == told.forwards
    assert threading.active_count() == before


@pytest.mark.parametrize("fails", ["source", "target"])
def test_a_fault_on_either_side_is_told_and_leaves_nothing(models, text, fails):
    model = models["t2v"].clone()
    inversion, *_ = inverted(model, text)
    edit = controlled(text, BLUE, **FULL)
    whole, _ = edited(model, inversion, edit)
    before = threading.active_count()  # that of the host's progress bars among them

    def broken(function, *args, **kwargs):
        options = kwargs["transformer_options"]
        source = threading.current_thread() is not threading.main_thread()
        if options["block_index"] == 2 and source == (fails == "source"):
            raise RuntimeError(f"the {fails} failed")
        return function(*args, **kwargs)

    faulty = model.clone()
    faulty.model_options["transformer_options"]["optimized_attention_override"] = broken
    with pytest.raises(RuntimeError, match=f"the {fails} failed"):
        edited(faulty, inversion, edit)
    assert threading.active_count() == before
    assert torch.equal(edited(model, inversion, edit)[0], whole)


@pytest.mark.parametrize("fails", [None, "source", "target"])
def test_models_of_an_edit_are_gone_with_it(text, fails):
    """By themselves: where a garbage collector finds a clone and what it was cloned from in one go, the host takes the
    model for lost."""
    model, patchers = wan.tiny_wan(), []

    def watch(executor, *args, **kwargs):
        patchers.append(weakref.ref(executor.class_obj.current_patcher))
        return executor(*args, **kwargs)

    def broken(function, *args, **kwargs):
        source = threading.current_thread() is not threading.main_thread()
        if kwargs["transformer_options"]["block_index"] == 2 and source == (fails == "source"):
            raise RuntimeError("a fault")
        return function(*args, **kwargs)

    inversion, *_ = inverted(model, text)
    model.add_wrapper_with_key(WrappersMP.APPLY_MODEL, "watch", watch)
    if fails:
        model.model_options["transformer_options"]["optimized_attention_override"] = broken
    gc.collect()
    gc.disable()
    try:
        edited(model, inversion, controlled(text, BLUE, **FULL))
    except RuntimeError:
        assert fails
    finally:
        gc.enable()
    assert patchers and not any(patcher() for patcher in patchers)
    assert model in [loaded.model for loaded in comfy.model_management.current_loaded_models]


def test_nodes_that_call_the_model_once_more_are_led_again(models, text):
    """As skip layer guidance does: every call of the target has the source's attention."""
    model = models["t2v"].clone()
    inversion, *_ = inverted(model, text)
    edit = controlled(text, BLUE, **FULL)
    plain, _ = edited(model, inversion, edit)
    again = model.clone()
    again.add_wrapper_with_key(
        WrappersMP.CALC_COND_BATCH, "twice", lambda executor, *args: (executor(*args), executor(*args))[1]
    )
    assert torch.equal(edited(again, inversion, edit)[0], plain)


class Live(TorchDispatchMode):
    """The most bytes of tensors that the calls of a network had at once, in whatever threads they run."""

    def __init__(self):
        super().__init__()
        self.storages, self.now, self.most = Counter(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **kwargs or {})
        for tensor in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                key, size = storage.data_ptr(), storage.nbytes()
                self.storages[key] += 1
                self.now += size * (self.storages[key] == 1)
                self.most = max(self.most, self.now)
                weakref.finalize(tensor, self.forget, key, size)
        return out

    def forget(self, key, size):
        self.storages[key] -= 1
        self.now -= size * (self.storages[key] == 0)


def peaks(monkeypatch, model, free, *calls):
    """The most bytes that calls of a MODEL need at once, each: as if main memory were elsewhere, and attention a fused
    kernel. free: bytes that the host finds on the device."""
    monkeypatch.setattr(type(model), "get_free_memory", lambda self, device: free)
    keep, back = SourceRecording.keep, Ferry.back

    def keep_elsewhere(*args):
        with _disable_current_modes():
            keep(*args)

    def back_from_there(*args):
        with _disable_current_modes():
            x = back(*args)
        return x.clone()

    monkeypatch.setattr(SourceRecording, "keep", keep_elsewhere)
    monkeypatch.setattr(Ferry, "back", back_from_there)

    def measured(call):
        live, watched = Live(), model.clone()
        options = watched.model_options["transformer_options"]
        options["optimized_attention_override"] = fused

        def watch(executor, *args, **kwargs):
            with live:
                return executor(*args, **kwargs)

        watched.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "watch", watch)
        call(watched)
        return live.most

    return list(map(measured, calls))


def fused(function, q, k, v, heads, mask=None, **kwargs):
    return attention(q, k, v, heads, mask)


def plain(model, positive, negative, samples, inversion):
    """Guided sampling by the host, from noise that is a latent like any other."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(inversion.cfg)
    with torch.inference_mode():
        sampler = comfy.samplers.sampler_object("euler")
        guider.sample(samples, samples, sampler, inversion.sigmas, disable_pbar=True)


@pytest.mark.parametrize("free, times", [(2**40, 1.15), (0, 1.15)], ids=["halves together", "halves apart"])
def test_the_device_needs_little_more_than_for_plain_sampling(monkeypatch, free, times):
    # A latent is small beside what a block computes, as in the published models.
    model, text = wan.tiny_wan(num_layers=3, dim=512, ffn_dim=1382, num_heads=32), wan.tiny_text(wan.SHORT)
    latent = latent_for(model, frames=3, size=(32, 32))
    inversion, *_ = inverted(model, text, latent, steps=1)
    alone, edit = peaks(
        monkeypatch, model, free,
        lambda watched: plain(watched, encode(text, BLUE), encode(text, ""), latent["samples"], inversion),
        lambda watched: edited(watched, inversion, controlled(text, BLUE, **FULL)),
    )  # fmt: skip
    assert edit < times * alone
