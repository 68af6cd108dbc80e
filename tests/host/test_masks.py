"""Where an edit acts: masks, blend words, and words that are left out."""

from dataclasses import replace

import torch
from comfyui_videop2p.tests.host.random_edits import TOKENS, conditioning, edit, inverted, model, no_edit, seed
from comfyui_videop2p.videop2p_core.diffusion import inversion as inversions
from comfyui_videop2p.videop2p_core.edit.local_blend import Blend, word_columns
from comfyui_videop2p.videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from comfyui_videop2p.videop2p_core.host.edit.target import PreparedEdit, Target

__all__ = ["model", "seed"]


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
