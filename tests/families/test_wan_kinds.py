"""What a Wan model looks at beside its text: it acts, its tokens are told from the clip's, its keys from words."""

from itertools import pairwise
from math import prod
from unittest.mock import patch

import comfy.conds
import comfy.model_base
import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfyui_videop2p.tests.families.test_laws import (
    test_no_edit_is_what_plain_sampling_draws_bit_for_bit as no_edit_is_plain,
)
from comfyui_videop2p.tests.families.test_laws import (
    test_the_source_s_own_prompt_gives_the_source_bit_for_bit as own_prompt_gives_the_source,
)
from comfyui_videop2p.tests.families.worlds import (
    BLUE,
    FRAMES,
    RED,
    TOKENS,
    WAN_KINDS,
    World,
    drawn,
    runs_here,
    wan_world,
)
from comfyui_videop2p.tests.host import wan_kinds
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.videop2p_core.host.control.source_recording import SourceRecording
from comfyui_videop2p.videop2p_core.host.families.wan import (
    CLIP_PLACES,
    PICTURES,
    REFERENCE_MASKS,
    REFERENCES,
    WanBlocks,
)
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget
from comfyui_videop2p.videop2p_core.host.words import word_weights
from einops import rearrange
from node_helpers import conditioning_set_values

# Places of a latent that the host counts for pictures where these are not those of their tokens: masks of who is who.
COUNTED = {"scail 2": 138}
REFERENCE_AHEAD = {"2.2 fun control", "scail", "scail 2"}


@pytest.fixture(scope="module", params=wan_kinds.TOLD)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def world(kind):
    return runs_here(wan_world(kind))


@pytest.fixture(scope="module")
def inversion(world):
    return world.inverted()[0]


@pytest.mark.parametrize("other", [kind for kind in wan_kinds.TOLD if kind not in WAN_KINDS])
def test_what_differs_in_little_from_the_worlds_of_the_laws(other):
    world = runs_here(wan_world(other))
    no_edit_is_plain(world, world.inverted()[0])
    own_prompt_gives_the_source(world, "direct-exact")


def test_all_that_it_is_told_acts(world, inversion):
    plain = world.plain(inversion, world.encoded(RED))
    shown = set(world.told) & set(PICTURES)
    assert shown or world.name == "Wan 2.2 5b"
    for name in shown:
        less = {told: value for told, value in world.told.items() if told != name}
        if name == REFERENCES:
            less.pop(REFERENCE_MASKS, None)
        without = World(world.name, lambda: world.parts, world.size, less)
        assert not torch.allclose(without.plain(inversion, without.encoded(RED)), plain, atol=1e-4), name


def test_maps_are_of_the_clip_s_own_places(world, kind, inversion):
    """Those whose tokens the network draws the clip from."""
    network, heads, checked = world.model.model.diffusion_model, [], []
    by_frame = WanBlocks.by_frame

    def seen(blocks, probabilities, options):
        checked.append(options[CLIP_PLACES])
        maps = by_frame(blocks, probabilities, options)
        assert torch.equal(rearrange(maps, "f h p g -> 1 h (f p) g"), probabilities[:, :, checked[-1]])
        return maps

    def drew(_network, _arguments, clip):
        tokens = rearrange(clip, "b c f (h p) (w q) -> b (f h w) (p q c)", p=2, q=2)
        assert not checked or torch.equal(heads[-1][:, checked[-1]], tokens)

    hooks = [
        network.head.register_forward_hook(lambda *call: heads.append(call[-1])),
        network.register_forward_hook(drew),
    ]
    try:
        with patch.object(WanBlocks, "by_frame", seen):
            world.edited(inversion, world.controlled(BLUE, cross_window=1.0, blend_source="red", blend_target="blue"))
    finally:
        for hook in hooks:
            hook.remove()
    assert checked and {places.start > 0 for places in checked} == {kind in REFERENCE_AHEAD}
    assert heads[-1].shape[1] <= world.tokens


def test_words_are_weighed_in_the_attention_to_the_text_alone(world, kind, inversion):
    layers, texts = len(list(network_blocks(world))), []
    weighed = word_weights.weighed

    def seen(call, weights):
        texts.append(call.k)
        return weighed(call, weights)

    drawn_by = []
    for weight in (1, 4):
        heavy, text = run("WordWeights", model=world.model, clip=world.clip, text=RED, weights=f"ball: {weight}")[:2]
        heavy_world = World(world.name, lambda heavy=heavy: (heavy, world.clip), world.size, world.told)
        with patch.object(word_weights, "weighed", seen):
            drawn_by.append(heavy_world.plain(inversion, conditioning_set_values(text, world.told)))
    assert torch.equal(drawn_by[0], world.plain(inversion, world.encoded(RED)))
    assert not torch.allclose(*drawn_by, atol=1e-2)
    assert len(texts) == layers * len(list(pairwise(inversion.sigmas)))
    assert {k.shape[1] for k in texts} == {encode(world.clip, RED)[0][0].shape[1]}


def network_blocks(world):
    """The layers that look at the text."""
    modules = world.model.model.diffusion_model.named_modules()
    return (module for name, module in modules if name.endswith(".cross_attn"))


def test_words_are_looked_for(world):
    (masks,), *_ = run("WordMask", model=world.model, clip=world.clip, text=RED, latent=world.latent, words="ball")
    assert masks.amax((-2, -1)).eq(1).all() and masks.std() > 0.01


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told, changed, sentence",
    [
        ("camera", {"camera_conditions": drawn(1, 24, 4, 48, 32)}, "4 views of a camera, the clip 3 latent frames"),
        ("s2v", {"control_video": drawn(1, 16, 2, 6, 4)}, "2 frames of a control video, the clip 3 latent frames"),
        ("s2v", {"audio_embed": drawn(1, 25, 24, 8)}, "a voice of 2 latent frames, the clip 3"),
        ("humo", {"audio_embed": drawn(1, 4, 8, 5, 1280)}, "a voice of 4 latent frames, the clip 3"),
        ("scail 2", {"ref_mask_28ch": drawn(1, 5, 28, 6, 4)}, "4 masks of who is who, the clip 3 latent frames"),
        ("animate", {"concat_latent_image": drawn(1, 16, 4, 6, 4)}, "reference picture before them wants its latent"),
    ],
)
def test_what_is_not_of_the_clip_s_length_is_refused(told, changed, sentence):
    world = wan_world(told)
    source = conditioning_set_values(world.encoded(RED), changed)
    with pytest.raises(ValueError, match=sentence):
        run("DDIMInvert", model=world.model, source=source, null=source, latent=world.latent, method="direct")


@pytest.mark.parametrize("kind", [*wan_kinds.BESIDE, "vace"])
def test_pictures_beside_the_clip_count_as_their_tokens(kind, monkeypatch):
    """In what an edit keeps of its source, to a number, and in what a forward takes."""
    world, kept, keep = wan_world(kind), [], SourceRecording.keep

    def counting(self, layer, q, k):
        keep(self, layer, q, k)
        kept.append(sum(x.numel() for pair in self.layers.values() for x in pair))

    monkeypatch.setattr(SourceRecording, "keep", counting)
    inversion, source = world.inverted(steps=1)[0], world.encoded(RED)
    world.edited(inversion, world.controlled(BLUE, cross_window=1.0, temporal_window=1.0))
    expected = budget.recorded_bytes(world.model, inversion.noise, source, TOKENS, cross=True, temporal=True)
    assert expected == 4 * max(kept)

    places = FRAMES * prod(world.size)
    for operation in (budget.INVERSION, budget.EDIT, budget.SOURCE_MAPS):
        (with_pictures,) = budget.expected(operation, world.model, inversion.noise, source)
        (alone,) = budget.expected(operation, world.model, inversion.noise, [])
        shown = COUNTED.get(kind, 4 * world.beside)
        assert with_pictures.needed / alone.needed == pytest.approx(1 + shown / places)


@pytest.mark.parametrize("kind", ["phantom", "s2v"])
def test_the_host_leaves_room_for_pictures_beside_the_clip(kind, monkeypatch):
    """Those that it does not count itself, and no second time for those that it does."""
    world, told, load = wan_world(kind), [], comfy.model_management.load_models_gpu

    def listening(*args, minimum_memory_required=None, **kwargs):
        told.append(minimum_memory_required)
        return load(*args, minimum_memory_required=minimum_memory_required, **kwargs)

    inversion, source = world.inverted(steps=1)[0], world.encoded(RED)
    monkeypatch.setattr(comfy.model_management, "load_models_gpu", listening)
    world.edited(inversion, world.controlled(BLUE))
    (plan,) = budget.expected(budget.EDIT, world.model, inversion.noise, source)
    assert plan.needed <= max(filter(None, told)) < 1.2 * plan.needed  # in whole columns of a small frame


def test_a_host_that_fails_on_music_is_told_of_before_anything_runs(monkeypatch):
    """ComfyUI 0.27.0 makes a tensor of the number, of one for each row of a call."""
    extra_conds = comfy.model_base.WAN22_WanDancer.extra_conds

    def of_each_row(self, **kwargs):
        return extra_conds(self, **kwargs) | {"fps": comfy.conds.CONDRegular(torch.FloatTensor([kwargs["fps"]]))}

    monkeypatch.setattr(comfy.model_base.WAN22_WanDancer, "extra_conds", of_each_row)
    monkeypatch.setattr(comfy.samplers.CFGGuider, "sample", lambda *_, **__: pytest.fail("it ran"))
    with pytest.raises(ValueError, match="fails where a WanDancer model is guided and the source conditioning brings"):
        wan_world("dancer").inverted()


def test_other_pictures_beside_the_target_s_clip_are_refused():
    world = wan_world("bernini")
    inversion, *_ = world.inverted()
    fewer = {"context_latents": world.told["context_latents"][:1]}
    target = conditioning_set_values(world.encoded(BLUE), fewer)
    with pytest.raises(ValueError, match="pictures beside the clip in another number or size than the target cond"):
        world.edited(inversion, world.controlled(BLUE, cross_window=1.0), target=target)


def test_a_pose_for_a_part_of_the_steps_is_refused():
    """As SCAIL's node has it by pose_start and pose_end: entries with and without the pose, a gap between them."""
    world = wan_world("scail")
    posed = conditioning_set_values(world.encoded(RED), {"start_percent": 0.0, "end_percent": 0.5})
    unposed = conditioning_set_values(encode(world.clip, RED), {"start_percent": 0.5 + 1e-5, "end_percent": 1.0})
    source = [*posed, *unposed]
    with pytest.raises(ValueError, match="the source conditioning is limited to a part of the picture or of the steps"):
        run("DDIMInvert", model=world.model, source=source, null=source, latent=world.latent, method="direct")
