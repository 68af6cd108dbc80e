"""On other video models than Wan too a source goes block by block beside its target: the same edit, and of the source
one block is kept."""

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.tests.families.worlds import BIG, BLUE, RED, World
from comfyui_videop2p.tests.host import cosmos, kandinsky, ltx
from comfyui_videop2p.tests.host.test_in_step import peaks, plain
from comfyui_videop2p.videop2p_core.host.control.source_recording import SourceRecording
from comfyui_videop2p.videop2p_core.host.families.table import family_of
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget

FULL = {"cross_window": 1.0, "temporal_window": 1.0}
TEXTS = {"ltxv": ltx.tiny_t5, "ltx-2": ltx.tiny_gemma, "ltx-2.3": lambda: ltx.tiny_gemma("ltx-2.3")}
OTHERS = {
    "cosmos": lambda blocks: (cosmos.tiny_cosmos(num_blocks=blocks), cosmos.tiny_t5()),
    "kandinsky": lambda blocks: (kandinsky.tiny_kandinsky(num_visual_blocks=blocks), kandinsky.tiny_qwen()),
}
every_kind = pytest.mark.parametrize("kind", [*TEXTS, *OTHERS])


def world_of(kind, blocks=4, **sizes):
    if kind in OTHERS:
        return World(kind, lambda: OTHERS[kind](blocks))
    sizes = {"num_layers": blocks, **sizes}
    told = {} if kind == "ltx-2.3" else {"frame_rate": 8.0}
    return World(kind, lambda: (ltx.tiny_ltx(kind, **sizes), TEXTS[kind]()), told=told, sound=kind == "ltx-2.3")


@pytest.fixture
def most(monkeypatch):
    """How many numbers of the source were kept at once, after each layer that was."""
    kept, keep = [0], SourceRecording.keep

    def counting(self, layer, q, k):
        keep(self, layer, q, k)
        kept.append(sum(x.numel() for pair in self.layers.values() for x in pair))

    monkeypatch.setattr(SourceRecording, "keep", counting)
    return kept


@every_kind
def test_it_is_the_edit_of_a_source_that_is_kept_whole_bit_for_bit(kind, most, monkeypatch):
    world = world_of(kind)
    inversion = world.inverted()[0]
    blended = {"blend_source": "ball", "blend_target": "ball", "blend_start": 0.0, "threshold": 0.9}
    edits = [world.controlled(BLUE, **FULL, **blended), world.controlled(BIG, cross_window=0.5, emphasis=0.5)]

    def outputs():
        edited, source, masks = world.edited(inversion, *edits)
        return [*edited, source, *masks]

    in_step, of_a_block = outputs(), max(most)
    monkeypatch.setattr(type(family_of(world.model)), "goes_in_step", False)
    for ours, whole in zip(in_step, outputs(), strict=True):
        assert torch.equal(ours, whole)
    assert max(most) == 4 * of_a_block  # of all blocks
    assert not torch.equal(in_step[0], in_step[1])


@every_kind
def test_what_is_kept_is_foretold_and_does_not_grow_with_the_blocks(kind, most):
    largest = []
    for blocks in (2, 5):
        world = world_of(kind, blocks)
        inversion, source = world.inverted(steps=1)[0], world.encoded(RED)
        most[:] = [0]
        world.edited(inversion, world.controlled(BLUE, **FULL))
        expected = budget.recorded_bytes(
            world.model, inversion.noise, source, inversion.source.shape[1], cross=True, temporal=True
        )
        assert 4 * max(most) == expected
        largest.append(max(most))
    assert largest[0] == largest[1] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, free, times",
    [("ltxv", 2**40, 1.15), ("ltx-2", 2**40, 1.16), ("ltxv", 0, 1.15), ("ltx-2", 0, 1.15)],
    ids=["ltxv, halves together", "ltx-2, halves together", "ltxv, halves apart", "ltx-2, halves apart"],
)
def test_the_device_needs_little_more_than_for_plain_sampling(kind, monkeypatch, free, times):
    """Of LTX-2 the more the longer its text is beside its clip: here 1024 tokens to 4800 places."""
    # A latent is small beside what a block computes, as in the published models.
    world = world_of(kind, 2, num_attention_heads=32, cross_attention_dim=512)
    world.size = (40, 40) if kind == "ltx-2" else (24, 24)
    inversion = world.inverted(steps=1)[0]

    def edited(watched):
        World(kind, lambda: (watched, world.clip), told=world.told, sound=world.sound).edited(inversion, edit)

    edit = world.controlled(BLUE, **FULL)
    samples = world.latent["samples"]
    alone, ours = peaks(
        monkeypatch, world.model, free,
        lambda watched: plain(watched, world.encoded(BLUE), world.encoded(""), samples, inversion), edited,
    )  # fmt: skip
    assert ours < times * alone


@pytest.mark.parametrize("kind", ["ltx-2", "ltx-2.3"])
def test_no_call_that_goes_in_step_fetches_weights_ahead(kind):
    """The other would lose them."""
    world, ahead = world_of(kind), []
    inversion = world.inverted(steps=1)[0]

    def asks(executor, *args, **kwargs):
        args[5]["prefetch_dynamic_vbars"] = True
        return executor(*args, **kwargs)

    def told(executor, *args, **kwargs):
        ahead.append(args[5]["prefetch_dynamic_vbars"])
        return executor(*args, **kwargs)

    world.model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "asks", asks)
    family, with_slots = family_of(world.model), type(family_of(world.model))._with_slots
    with pytest.MonkeyPatch.context() as patched:

        def watched(self, model):
            model = with_slots(self, model)
            model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "told", told)
            return model

        patched.setattr(type(family), "_with_slots", watched)
        world.edited(inversion, world.controlled(BLUE, **FULL))
        assert ahead == [False, False]
        world.edited(inversion, world.controlled(BLUE))
        assert ahead == [False, False, True]
