"""Pictures of any words and images: of a size that a machine can hold, whatever stands in them. VP2P_FUZZ=30 tries
thirty times as many."""

import pytest
import torch
from comfy.sd1_clip import SD1Tokenizer
from comfyui_videop2p.tests.core.fuzzing import many
from comfyui_videop2p.tests.core.texts import LONGEST, ODD, WEIGHTS, answer, images, texts, two_prompts, words_of
from comfyui_videop2p.tests.host.test_clip_tokens import clip_with
from comfyui_videop2p.videop2p_core.edit.edit_plan import EditPlan
from comfyui_videop2p.videop2p_core.host.edit.edit_inputs import WordEdit
from comfyui_videop2p.videop2p_core.host.images.contact_sheet import contact_sheet
from comfyui_videop2p.videop2p_core.host.images.plots import heat_grid
from comfyui_videop2p.videop2p_core.host.prompts.clip_tokens import read_prompt
from hypothesis import assume, example, given, note
from hypothesis import strategies as st

LARGEST = 2**28  # bytes
# Of letters that the font lacks, and of a long name beside a small picture.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph", "ignore:constrained_layout")


@pytest.fixture(scope="module")
def read():
    clip = clip_with(SD1Tokenizer())
    return lambda text: read_prompt(clip, text)


def in_bounds(picture):
    return picture.isfinite().all() and 0 <= picture.min() and picture.max() <= 1 and picture.nbytes < LARGEST


@many(3)
@given(prompts=two_prompts(), data=st.data())
@example(prompts=("a red rabbit runs " * 125, "a red rabbit runs " * 100 + "a cat " * 60), data=None)
def test_an_alignment_of_any_prompts(read, prompts, data):
    prompts = [answer(read, text[:LONGEST]) for text in prompts]
    assume(None not in prompts)
    weights = data.draw(st.dictionaries(words_of(prompts[1].text), WEIGHTS, max_size=2)) if data else {}
    plan = answer(EditPlan, *prompts, weights=weights)
    assert plan is None or in_bounds(WordEdit(plan, [], []).picture())


@many(12)
@given(data=st.data())
def test_a_sheet_under_any_labels(data):
    clips = data.draw(st.lists(images(2), min_size=1, max_size=3) | st.lists(images(None), max_size=3))
    labels = data.draw(st.lists(texts() | ODD, min_size=len(clips), max_size=len(clips)))
    columns, frame = data.draw(st.integers(-1, 70)), data.draw(st.integers(-2, 5))
    sheet = answer(contact_sheet, [clip.tensor() for clip in clips], labels, columns, frame)
    assert sheet is None or sheet.numel() and in_bounds(sheet)


@many(3)
@given(words=st.lists(texts() | ODD, min_size=1, max_size=3))
def test_a_grid_of_any_words(words):
    note(ascii(words))
    grid = heat_grid(words, [torch.rand(2, 8, 8, 3)] * len(words), "mean of 2 steps")
    assert in_bounds(grid)
