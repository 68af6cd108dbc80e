"""What LTX has beside the others: sound, registers behind the words, a text encoder with brackets that are text."""

import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfyui_videop2p.tests.families.worlds import BIG, BLUE, RED, World, drawn
from comfyui_videop2p.tests.host import ltx
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.videop2p_core.edit.matrices import compile_edit
from comfyui_videop2p.videop2p_core.edit.prompt import REGISTER
from comfyui_videop2p.videop2p_core.host.families.rotary_tables import SharedTables
from comfyui_videop2p.videop2p_core.host.prompts.clip_tokens import read_prompt
from comfyui_videop2p.videop2p_core.storage import artifacts


@pytest.fixture(scope="module")
def heard():
    return World("LTX-2.3", lambda: (ltx.tiny_ltx("ltx-2.3"), ltx.tiny_gemma("ltx-2.3")), sound=True)


def test_the_sound_is_the_source_s_bit_for_bit_and_is_heard(heard):
    inversion, noise, reconstruction, *_ = heard.inverted()
    given = {"source": [heard.encoded(RED)], "target": [heard.encoded(BLUE)], "null": [heard.encoded("")]}
    edit = heard.controlled(BLUE, cross_window=1.0, temporal_window=1.0)
    (edited,), source, *_ = run(
        "DecoupledSample", model=[heard.model], inversion=[inversion], edit=[edit], **given
    )  # fmt: skip
    for latent in (noise, reconstruction, edited, source):
        assert isinstance(latent["samples"], NestedTensor) and torch.equal(latent["samples"].unbind()[1], heard.heard)
    pictures, sound = noise["noise_mask"].unbind()
    assert (pictures == 1).all() and (sound == 0).all()
    deaf = World("LTX-2.3", lambda: heard.parts)
    (silent,), *_ = deaf.edited(deaf.inverted()[0], edit)
    assert not torch.allclose(silent, edited["samples"].unbind()[0], atol=1e-4)


def test_a_saved_inversion_holds_the_sound(heard, tmp_path):
    inversion, *_ = heard.inverted()
    artifacts.save(inversion, tmp_path / "heard.safetensors")
    loaded = artifacts.load_inversion(tmp_path / "heard.safetensors")
    assert torch.equal(loaded.sound, heard.heard) and loaded.sizes == inversion.sizes
    edit = heard.controlled(BLUE, cross_window=1.0)
    assert torch.equal(heard.edited(loaded, edit)[0][0], heard.edited(inversion, edit)[0][0])


def test_a_sound_of_another_shape_is_refused(heard):
    latent = {"samples": NestedTensor([heard.pictures, drawn(2, 8, 5, 16)])}
    given = {"source": heard.encoded(RED), "null": heard.encoded(""), "method": "direct"}
    with pytest.raises(ValueError, match=r"sound has shape \[2, 8, 5, 16\], this model takes \[1, channels, time"):
        run("DDIMInvert", model=heard.model, latent=latent, **given)


@pytest.mark.parametrize("kind", ["ltx-2", "ltx-2.3"])
def test_the_prompt_is_as_long_as_its_text_and_the_registers_behind_it(kind):
    clip, model = ltx.tiny_gemma(kind), ltx.tiny_ltx(kind)
    for text in (RED, BIG, "", " ".join(["red ball"] * 140)):
        prompt, embedding = read_prompt(clip, text), encode(clip, text)[0][0]
        assert sum(piece.kind != REGISTER for piece in prompt.pieces) == embedding.shape[1]
        keys = model.model.diffusion_model.preprocess_text_embeds(embedding, unprocessed=True)
        assert len(prompt) == keys.shape[1]


@pytest.mark.parametrize("target", [BLUE, BIG, "a blue star on grass"])
def test_registers_are_never_swapped_and_never_weighted(target):
    clip = ltx.tiny_gemma()
    prompts = source, changed = [read_prompt(clip, text) for text in (RED, target)]
    edit = compile_edit(source, changed, steps=2, cross=0.5, weights={"ball" if "ball" in target else "star": 5.0})
    words = [sum(piece.kind != REGISTER for piece in prompt.pieces) for prompt in prompts]
    shared = range(max(words), 1024)
    assert len(shared) > 900
    for place in shared:  # each takes the source's own map of it in the window, and no other
        assert edit.source[0, place, place] == 1 and edit.source[0, :, place].sum() == 1
    assert (edit.source[:, words[0] :, : words[1]] == 0).all() and (edit.source[:, : words[0], words[1] :] == 0).all()
    assert (edit.target[1] == 1).all() and (edit.source[1] == 0).all()
    assert (edit.source[0, :, list(changed.words[0].tokens)].sum(0) > 0).all()


def test_brackets_are_text_where_the_encoder_reads_no_weights():
    words = [word.text for word in read_prompt(ltx.tiny_gemma(), "a (red:1.3) ball on sand").words]
    assert "ball" in words and any("1.3" in word for word in words)
    assert [word.text for word in read_prompt(ltx.tiny_t5(), "a (red:1.3) ball").words] == ["a", "red", "ball"]


def test_the_frame_rate_of_the_inversion_holds_for_the_edit(heard):
    told = World("LTX-2.3", lambda: heard.parts, told={"frame_rate": 8.0})
    inversion, *_ = told.inverted()
    assert inversion.sizes == {"frame_rate": 8.0}
    edit, null = told.controlled(BLUE, cross_window=1.0), [told.encoded("")]
    given = {"model": [told.model], "inversion": [inversion], "edit": [edit], "null": null}
    (by_itself,), *_ = run("DecoupledSample", **given)
    whole, *_ = told.edited(inversion, edit)
    assert torch.equal(by_itself["samples"], whole[0])


@pytest.mark.parametrize("of_two", [False, True], ids=["one tensor", "cosines and sines"])  # ComfyUI 0.30, 0.27
def test_a_table_of_positions_is_lent_while_a_call_has_it(of_two):
    made = []

    def make(grid, **settings):
        made.append(settings)
        return (grid * 2, grid * 3, True) if of_two else (grid * 2, True)

    tables, grid = SharedTables(make), drawn(1, 3, 8)
    first = tables(grid, dim=4)
    again = tables(grid.clone(), dim=4)
    assert all(one is other for one, other in zip(first, again, strict=True)) and len(made) == 1
    for other, settings in ((grid + 1, {"dim": 4}), (grid, {"dim": 8}), (grid[..., :4], {"dim": 4})):
        assert torch.equal(tables(other, **settings)[0], 2 * other)
    assert len(made) == 4
    del first, again
    tables(grid, dim=4)
    assert len(made) == 5
