"""What training reads: pictures' parts, captions as tokens, and the start that a model gives one with other words."""

import numpy as np
import pytest
import torch
from comfyui_videop2p.demo import data, export, scenes, train_unet, words, workers
from comfyui_videop2p.demo.scenes import Scene, Thing
from comfyui_videop2p.videop2p_core.host.demo_model import DEMO_FILE, TOKEN_ROWS, read_demo_file

TABLE = "text.text_model.embeddings.token_embedding.weight"


@pytest.fixture(scope="module")
def committed():
    tensors, _ = read_demo_file(DEMO_FILE)
    return export.networks_of(tensors), tensors[TOKEN_ROWS].tolist()


def test_every_word_has_tokens_and_no_others_are_stored():
    rows = words.token_rows(scenes.VOCABULARY)
    pieces = {piece for word in scenes.VOCABULARY for piece in words.pieces(word)}
    assert len(set(rows)) == len(rows) and pieces < set(rows) and len(rows) == len(pieces) + 3  # start, end and comma


def test_words_that_two_things_share_are_no_ones():
    scene = Scene(0, "rabbit", "red", "wooden", "beach", "plain", Thing("car", "red", "plain"))
    assert train_unet.thing_words(scene) == [
        ("rabbit", 0, 1.0), ("wooden", 0, 0.5), ("car", 1, 1.0), ("plain", 1, 0.5)
    ]  # fmt: skip


def test_captions_mark_the_words_of_each_thing():
    captions = train_unet.Captions(400, np.random.default_rng(0))
    paired = np.array([i for i, scene in enumerate(captions.scenes) if scene.beside])
    rows, marks = captions.draw(paired)
    ids = words.token_rows(scenes.VOCABULARY)
    for scene, row, mark in zip((captions.scenes[i] for i in paired), rows, marks, strict=True):
        if mark.any():
            for thing, marked in zip(scene.things, mark, strict=True):
                tokens = {ids[i] for i in row[marked == 1.0]}
                assert tokens == set(words.pieces(thing.object))
    assert marks.any(dim=2).float().mean() > 0.7  # the rest has no caption


def test_another_editions_rows_begin_with_the_words_that_are_known(committed):
    networks, known = committed
    rows = words.token_rows(scenes.VOCABULARY)
    table = export.with_rows(networks, known, scenes.VOCABULARY)[TABLE]
    assert table.shape == (len(rows), networks[TABLE].shape[1])
    shared = [token for token in rows if token in known]
    assert len(shared) > 25
    for token in shared:
        assert torch.equal(table[rows.index(token)], networks[TABLE][known.index(token)])
    train_unet.build_networks(scenes.VOCABULARY).load_state_dict(networks | {TABLE: table})


def test_attention_is_held_to_the_things_own_mask():
    coverage = torch.zeros(1, data.THINGS, 16, 16)
    coverage[0, 0, :, :8], coverage[0, 1, :, 8:] = 1, 1
    marks = torch.zeros(1, data.THINGS, words.LENGTH)
    marks[0, 0, 3], marks[0, 1, 6] = 1, 1
    right = torch.zeros(1, 256, words.LENGTH)
    left_half = (torch.arange(256) % 16 < 8).float()
    right[0, :, 3], right[0, :, 6] = left_half, 1 - left_half
    crossed = right.clone()
    crossed[..., [3, 6]] = right[..., [6, 3]]
    assert [x.item() for x in train_unet.localisation([right], coverage, marks)] == [0, 0]
    outside, faint = train_unet.localisation([crossed], coverage, marks)
    assert outside == 1 and faint == pytest.approx(0.6)


def test_coverage_has_a_place_for_every_thing():
    masks = np.zeros((1, 128, 128), np.float32)
    masks[0, :8, :4] = 1
    cells = data.coverage_by_cell(masks)
    assert cells.shape == (data.THINGS, 16, 16) and cells[0, 0, 0] == 0.5 and cells.sum() == 0.5


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path, monkeypatch):
    file = tmp_path / "state.pt"
    workers.save({"step": 1}, file)

    def stopped(state, unfinished):
        unfinished.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(workers.torch, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        workers.save({"step": 2}, file)
    assert torch.load(file, weights_only=True) == {"step": 1}
