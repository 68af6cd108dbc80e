"""The edit's two matrices against Prompt-to-Prompt's maps, edited column by column as the papers write it."""

import pytest
import torch
from comfyui_videop2p.tests.core.published_pairs import refine, swap
from comfyui_videop2p.tests.core.test_prompt import prompt_of
from comfyui_videop2p.videop2p_core.edit import matrices as edit
from comfyui_videop2p.videop2p_core.edit.curves import KeyFrames
from comfyui_videop2p.videop2p_core.edit.matrices import DEFAULT_WINDOW, Edit, compile_edit
from comfyui_videop2p.videop2p_core.edit.prompt import word_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

TOLERANCE = 1e-12

# --- the map form: Mhat[:, n], one column at a time -------------------------------------------------------------------


def swapped_map(source, target, mapper):
    columns = [sum(source[:, m] * mapper[m, n] for m in range(source.shape[1])) for n in range(target.shape[1])]
    return torch.stack(columns, 1)


def refined_map(source, target, columns, gain):
    result = target.clone()
    for n, (column, g) in enumerate(zip(columns.tolist(), gain, strict=True)):
        if column >= 0:
            result[:, n] = g * source[:, column] + (1 - g) * target[:, n]
    return result


def reweighted_map(edited, weights):
    return torch.stack([edited[:, n] * weights[n] for n in range(edited.shape[1])], 1)


def windowed_map(edited, target, window):
    return torch.stack([window[n] * edited[:, n] + (1 - window[n]) * target[:, n] for n in range(target.shape[1])], 1)


# --- random edits in both forms --------------------------------------------------------------------------------------


def softmax_maps(rows, tokens, generator):
    return torch.randn(rows, tokens, generator=generator, dtype=torch.float64).mul(3).softmax(1)


def random(*shape, generator):
    return torch.rand(*shape, generator=generator, dtype=torch.float64)


@st.composite
def edits(draw):
    """(source map, target map, values, pair, edited map) of a random chain of edits."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    rows, source_tokens, target_tokens = draw(st.integers(1, 6)), draw(st.integers(1, 12)), draw(st.integers(1, 12))
    source = softmax_maps(rows, source_tokens, generator)
    target = softmax_maps(rows, target_tokens, generator)
    values = torch.randn(target_tokens, 5, generator=generator, dtype=torch.float64)

    if draw(st.booleans()):
        mapper = random(source_tokens, target_tokens, generator=generator)
        pair, edited = swap(mapper), swapped_map(source, target, mapper)
    else:
        columns = torch.randint(-1, source_tokens, (target_tokens,), generator=generator)
        gain = random(target_tokens, generator=generator) * (columns >= 0)
        pair, edited = refine(columns, gain, source_tokens), refined_map(source, target, columns, gain)

    for step in draw(st.lists(st.sampled_from(["weights", "window", "binary window"]), max_size=4)):
        factor = random(target_tokens, generator=generator)
        if step == "weights":
            pair, edited = edit.reweight(pair, 8 * factor - 3), reweighted_map(edited, 8 * factor - 3)
        else:
            window = factor.round() if step == "binary window" else factor
            pair, edited = edit.in_window(pair, window), windowed_map(edited, target, window)
    return source, target, values, pair, edited


@settings(max_examples=200, deadline=None)
@given(edits())
def test_the_pair_is_the_map_form(case):
    source, target, values, (taken, kept), edited = case
    actual = source @ (taken @ values) + target @ (kept[:, None] * values)
    assert (actual - edited @ values).abs().max() <= TOLERANCE * max(1, edited.abs().max() * values.abs().max())


@settings(max_examples=50, deadline=None)
@given(edits())
def test_a_closed_window_is_no_edit_bit_for_bit(case):
    source, target, values, pair, _ = case
    taken, kept = edit.in_window(pair, torch.zeros_like(pair[1]))
    assert torch.equal(taken, torch.zeros_like(taken)) and torch.equal(kept, torch.ones_like(kept))


# --- from words ------------------------------------------------------------------------------------------------------

MAN, SPIDER = prompt_of("a man is driving"), prompt_of("a Spi|der|-|Man is driving")
PENGUIN, CROCHET = prompt_of("a penguin is running"), prompt_of("a crochet penguin is running")


@pytest.mark.parametrize("step, inside", [(0, True), (4, True), (5, True), (6, False), (9, False)])
def test_a_compiled_swap_is_the_map_form(step, inside):
    compiled = compile_edit(MAN, SPIDER, steps=10, cross=0.6, weights={"Spider-Man": 4.0})
    generator = torch.Generator().manual_seed(step)
    maps = softmax_maps(3, len(MAN), generator), softmax_maps(3, len(SPIDER), generator)
    values = torch.randn(len(SPIDER), 4, generator=generator, dtype=torch.float64)

    mapper = torch.zeros(len(MAN), len(SPIDER), dtype=torch.float64)
    shift = 3  # "Spi der - Man" has three tokens more than "man"
    mapper[0, 0] = mapper[1, 1] = 1
    mapper[2, 2:6] = 1 / 4
    for n in range(6, len(SPIDER)):
        mapper[min(n - shift, len(MAN) - 1), n] = 1
    weights = torch.ones(len(SPIDER), dtype=torch.float64)
    weights[2:6] = 4
    window = torch.full((len(SPIDER),), float(inside), dtype=torch.float64)
    expected = windowed_map(reweighted_map(swapped_map(*maps, mapper), weights), maps[1], window) @ values

    taken, kept = compiled.values(step, values)
    assert (maps[0] @ taken + maps[1] @ kept - expected).abs().max() < 1e-6  # an Edit is stored in float32
    assert compiled.is_identity(step) != inside


def test_a_compiled_refinement_is_the_map_form():
    compiled = compile_edit(
        PENGUIN,
        CROCHET,
        steps=4,
        cross={DEFAULT_WINDOW: 1.0, "running": 0.0},
        weights={"crochet": KeyFrames(((0, 1), (1, 4)))},
    )
    (crochet,), (running,) = word_tokens(CROCHET, "crochet"), word_tokens(CROCHET, "running")
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        maps = softmax_maps(3, len(PENGUIN), generator), softmax_maps(3, len(CROCHET), generator)
        values = torch.randn(len(CROCHET), 4, generator=generator, dtype=torch.float64)
        columns = torch.tensor([0, 1, -1, 2, 3, 4, 5, *range(7, len(CROCHET))])
        weights, window = torch.ones(2, len(CROCHET), dtype=torch.float64)
        weights[crochet] = 1 + step
        window[running] = 0
        edited = reweighted_map(refined_map(*maps, columns, (columns >= 0).double()), weights)
        expected = windowed_map(edited, maps[1], window) @ values
        taken, kept = compiled.values(step, values)
        assert (maps[0] @ taken + maps[1] @ kept - expected).abs().max() < 1e-6


def test_an_edit_of_nothing_is_exactly_no_edit():
    compiled = compile_edit(MAN, SPIDER, steps=5, cross=0.0, temporal=0.0, weights={"driving": 3.0})
    assert torch.equal(compiled.source, torch.zeros_like(compiled.source))
    assert torch.equal(compiled.target, torch.ones_like(compiled.target))
    assert all(compiled.is_identity(step) for step in range(5)) and not compiled.temporal.any()


def test_windows_are_counted_as_the_reference_counts_them():
    compiled = compile_edit(MAN, SPIDER, steps=50, cross=0.8, temporal=(0.1, 0.5))
    assert [compiled.is_identity(step) for step in range(50)] == [False] * 40 + [True] * 10
    assert compiled.temporal.tolist() == [False] * 5 + [True] * 20 + [False] * 25
    # int(b (N + 1)) and int(b N) differ: 0.5 of 9 steps
    compiled = compile_edit(MAN, SPIDER, steps=9, cross=0.5, temporal=0.5)
    assert sum(not compiled.is_identity(step) for step in range(9)) == 5 and compiled.temporal.sum() == 4


def test_a_word_has_a_window_of_its_own_and_the_rest_is_open():
    compiled = compile_edit(MAN, SPIDER, steps=10, cross={"driving": (0.2, 0.4)})
    (driving,) = word_tokens(SPIDER, "driving")
    assert (compiled.target[:, driving] == 0).nonzero().flatten().tolist() == [2, 3]
    assert not compiled.target[:, 1].any()


def test_key_framed_windows_fade():
    compiled = compile_edit(MAN, SPIDER, steps=3, cross=KeyFrames(((0.0, 1.0), (1.0, 0.0))))
    assert compiled.target[:, 1].tolist() == [0.0, 0.5, 1.0] and compiled.source[:, 1, 1].tolist() == [1.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "points, curve",
    [
        (((0.5, 4),), [4, 4, 4, 4, 4]),
        (((0, 1), (0.5, 3), (1, 0)), [1, 2, 3, 1.5, 0]),
        (((0.25, 1), (0.75, 2)), [1, 1, 1.5, 2, 2]),
    ],
)
def test_key_frames_are_straight_lines(points, curve):
    assert KeyFrames(points).curve(5).tolist() == curve


def test_one_step_reads_the_first_key_frame():
    assert KeyFrames(((0, 2), (1, 5))).curve(1).tolist() == [2]


def test_prompts_of_unlike_length_of_embedding():
    long = prompt_of("a Spi|der|-|Man is driving", chunk=8)
    compiled = compile_edit(MAN, long, steps=2, cross=1.0)
    assert compiled.source.shape == (2, len(MAN), len(long)) and len(long) != len(MAN)
    (driving,) = word_tokens(long, "driving")
    assert compiled.source[0, word_tokens(MAN, "driving")[0], driving] == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weights": {"bike": 2.0}}, "'bike' is not a word of the target prompt: a, Spider-Man, is, driving"),
        ({"weights": {"man": 2.0}}, "'man' is not a word of the target prompt"),
        ({"cross": {"bike": 0.4}}, "'bike' is not a word of the target prompt"),
        ({"cross": (0.6, 0.2)}, "a window lies between 0 and 1"),
        ({"cross": 1.2}, "a window lies between 0 and 1"),
        ({"steps": 0}, "at least one step"),
        ({"kind": "swap"}, "'swap'"),
    ],
)
def test_bad_input_gets_a_sentence(settings, message):
    with pytest.raises(ValueError, match=message):
        compile_edit(MAN, SPIDER, **{"steps": 5, **settings})


def test_key_frames_must_rise():
    for points in ((), ((0.5, 1), (0.5, 2)), ((0.6, 1), (0.2, 1)), ((0, 1), (1.5, 1))):
        with pytest.raises(ValueError, match="rising positions"):
            KeyFrames(points)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="needs target"):
        Edit(torch.zeros(2, 3, 4), torch.zeros(2, 5), torch.zeros(2, dtype=torch.bool))
