"""Words, positions and alignments, on a tokenizer spelled out in the test: `|` parts a word into its pieces."""

from itertools import chain
from pathlib import Path

import pytest
import torch
from comfyui_videop2p.tests.parity import g6
from comfyui_videop2p.videop2p_core.edit.alignment import align, pairs_up
from comfyui_videop2p.videop2p_core.edit.prompt import (
    END,
    PAD,
    START,
    Piece,
    Prompt,
    find_word,
    find_word_officially,
    word_tokens,
)
from comfyui_videop2p.videop2p_core.edit.sequence_alignment import global_alignment
from hypothesis import given, settings
from hypothesis import strategies as st

REFERENCE = Path(__file__).parents[1] / "reference"
LENGTH, CASES = g6.read_cases(REFERENCE)


def prompt_of(spelled, chunk=20):
    """A prompt of chunks of `chunk` tokens from its words; `|` parts a word into pieces."""
    pieces = [Piece(text.lower(), text.lower()) for word in spelled.split() for text in word.split("|")]
    room = chunk - 2
    chunks = []
    for first in range(0, max(len(pieces), 1), room):
        inside = pieces[first : first + room]
        padding = [Piece("end", "", PAD)] * (room - len(inside))
        chunks.append((Piece("start", "", START), *inside, Piece("end", "", END), *padding))
    return Prompt(spelled.replace("|", ""), tuple(chunks))


def onto(aligned, target_token):
    """The source tokens that a target token reads, with their shares."""
    column = aligned.source[:, target_token]
    return {int(i): float(column[i]) for i in column.nonzero().flatten()}


# --- words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spelled, word, tokens",
    [
        ("a Spi|der|-|man rides", "Spider-man", (2, 3, 4, 5)),
        ("a red|, shiny car|.", "red", (2,)),
        ("a red|, shiny car|.", "red,", (2,)),
        ("a red|, shiny car|.", "car", (5,)),
        ("red and red|, and RED", "red", (1, 3)),
        ("CAPS and caps", "CAPS", (1,)),
        ("CAPS and Lock", "caps", (1,)),
        ("don|'t stop", "don't", (1, 2)),
        ("a - b", "-", (2,)),
        ("一只|猫 在 跑|。", "一只猫", (1, 2)),
        ("一只|猫 在 跑|。", "跑", (4,)),
        ("ко|т бежит", "КОТ", (1, 2)),
        ("a 🐱 here", "🐱", (2,)),
        ("cafe\u0301 here", "café", (1,)),
        ("an old man sits", "old man", (2, 3)),
        ("old cat and old man", "old man", (4, 5)),
        ("(very|) old", "very", (1,)),
        ("1girl|,|red hair|,|beach", "red hair", (3, 4)),
        ("1girl|,|red hair|,|beach", "beach", (6,)),
        ("sized 1,000|: 12:30|.", "1,000", (2,)),
        ("sized 1,000|: 12:30|.", "12:30", (4,)),
        ("一|只|红色|的|猫|在|沙滩|上", "红色", (3,)),
        ("一|只|红色|的|猫|在|沙滩|上", "红色的猫", (3, 4, 5)),
        ("一|只|红色|的|猫|在|沙滩|上", "沙滩", (7,)),
        ("一|只|红色|的|猫|，|在|沙滩|上", "猫", (5,)),
        ("แมว|สี|แดง", "สี", (2,)),
    ],
)
def test_words_are_found(spelled, word, tokens):
    prompt = prompt_of(spelled)
    assert word_tokens(prompt, word) == tokens


def test_a_word_that_is_not_there_is_named_with_those_that_are():
    prompt = prompt_of("a man drives a motor|bike")
    with pytest.raises(ValueError) as error:
        word_tokens(prompt, "bike", role="source")
    assert str(error.value) == "'bike' is not a word of the source prompt: a, man, drives, a, motorbike"
    for missing in ("", " ", "man a", "motor"):
        assert find_word(prompt, missing) == ()


def test_odd_white_space_parts_words_all_the_same():
    assert [word.text for word in prompt_of(" a\ttab   cat \n").words] == ["a", "tab", "cat"]


def test_words_go_on_over_the_end_of_a_chunk():
    prompt = prompt_of("one two hip|po|pot|a|mus runs", chunk=6)
    hippo = word_tokens(prompt, "hippopotamus")
    assert hippo == (3, 4, 7, 8, 9) and len(prompt.chunks) == 2
    assert prompt.ids(hippo) == ("hip", "po", "pot", "a", "mus")


def test_characters_may_be_split_over_pieces():
    letters = "猫 犬".split()
    parts = [bytes([byte]) for letter in letters for byte in letter.encode()]
    pieces = tuple(Piece(part, part.decode("utf-8", "surrogateescape")) for part in parts)
    prompt = Prompt("猫 犬", ((Piece("start", "", START), *pieces, Piece("end", "", END)),))
    assert [word.tokens for word in prompt.words] == [(1, 2, 3), (4, 5, 6)]


@pytest.mark.parametrize(
    "text, pieces, words",
    [
        ("a “red” cat", ["a", '"', "red", '"', "cat"], [(1,), (3,), (5,)]),  # quotes straightened
        ("ﬁne … cat", ["fine", "...", "cat"], [(1,), (3,)]),  # ligature and ellipsis spelled out
        ("👩\u200d🚀 cat", ["👩", "🚀", "cat"], [(1, 2), (3,)]),  # joiner dropped
        ("a & b", ["a", "b"], [(1,), (2,)]),  # a word dropped altogether has no tokens
    ],
)
def test_a_tokenizer_may_rewrite_the_text(text, pieces, words):
    prompt = Prompt(text, ((Piece("start", "", START), *(Piece(p, p) for p in pieces), Piece("end", "", END)),))
    assert [word.tokens for word in prompt.words] == words


def test_pieces_that_do_not_say_what_they_spell_get_a_sentence():
    prompt = Prompt("猫", ((Piece("start", "", START), Piece(1, "\ufffd"), Piece(2, "\ufffd"), Piece("end", "", END)),))
    with pytest.raises(ValueError, match="does not say how its pieces spell '猫'"):
        word_tokens(prompt, "猫")


# --- replace ---------------------------------------------------------------------------------------------------------

PIECES = st.lists(st.text("abcdefgh", min_size=1, max_size=3), min_size=1, max_size=4).map("|".join)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(PIECES, PIECES, st.booleans()), min_size=1, max_size=9), st.sampled_from([6, 20, 77]))
def test_replace_keeps_every_unchanged_word_on_itself(words, chunk):
    source = prompt_of(" ".join(before for before, _, _ in words), chunk)
    target = prompt_of(" ".join(after if changed else before for before, after, changed in words), chunk)
    aligned = align(source, target, "replace")
    for before, after in zip(source.words, target.words, strict=True):
        if source.ids(before.tokens) == target.ids(after.tokens):
            for i, j in zip(before.tokens, after.tokens, strict=True):
                assert onto(aligned, j) == {i: 1.0}
        else:
            for j in after.tokens:
                assert set(onto(aligned, j)) <= set(before.tokens)
            # a word's tokens hand over all that its source has
            share = aligned.source[list(before.tokens)][:, list(after.tokens)].sum(1)
            assert torch.allclose(share, torch.ones(len(before.tokens)))
    assert torch.equal(aligned.target == 0, aligned.source.sum(0) > 0)


def test_what_follows_a_swap_of_unlike_length_stays_in_place_unlike_the_reference():
    source, target = prompt_of("a man rides a bike"), prompt_of("a Spi|der|-|Man rides a bike")
    ours, official = (align(source, target, "replace", which) for which in ("default", "official"))
    (bike,), (from_bike,) = word_tokens(target, "bike"), word_tokens(source, "bike")
    assert onto(ours, bike) == {from_bike: 1.0}
    assert onto(official, bike) == {bike: 1.0}  # the reference shifts it onto padding


def test_the_end_belongs_to_the_end_and_padding_follows_it():
    source, target = prompt_of("a hip|po|pot"), prompt_of("a cat")
    aligned = align(source, target, "replace")
    assert onto(aligned, 0) == {0: 1.0} and onto(aligned, 3) == {5: 1.0}
    assert [onto(aligned, j) for j in (4, 5, 17, 18, 19)] == [{i: 1.0} for i in (6, 7, 19, 19, 19)]


def test_a_chunk_that_the_source_lacks_keeps_its_own_maps():
    source, target = prompt_of("a b c", chunk=6), prompt_of("a x|y|z|w c", chunk=6)
    aligned = align(source, target, "replace")
    assert len(target.chunks) == 2
    assert [int(j) for j in aligned.target.nonzero()] == [6, 9, 10, 11]  # start, end and padding of the second chunk


def test_replace_needs_as_many_words():
    with pytest.raises(ValueError, match="source prompt has 2 words and the target prompt 3: use refine"):
        align(prompt_of("a cat"), prompt_of("a red cat"), "replace")
    with pytest.raises(ValueError, match="source prompt has 2 words and the target prompt 3: use refine"):
        align(prompt_of("a cat"), prompt_of("a red cat"), "replace", "official")


def test_the_official_alignment_knows_one_chunk():
    with pytest.raises(ValueError, match="one chunk only"):
        align(prompt_of("a b c d e", chunk=6), prompt_of("a b x d e", chunk=6), "replace", "official")


# --- refine ----------------------------------------------------------------------------------------------------------


def test_refine_pairs_equal_tokens_and_leaves_the_new_ones_alone():
    source, target = prompt_of("a cat sits"), prompt_of("a hip|py cat in Rome sits")
    aligned = align(source, target, "refine")
    for word in ("a", "cat", "sits"):
        assert onto(aligned, word_tokens(target, word)[0]) == {word_tokens(source, word)[0]: 1.0}
    new = [*word_tokens(target, "hippy"), *word_tokens(target, "in"), *word_tokens(target, "Rome")]
    assert [int(j) for j in aligned.target.nonzero()] == new and not aligned.source[:, new].any()


@settings(max_examples=100, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=8), st.lists(PIECES, max_size=8), st.data())
def test_refine_loses_no_word_of_a_longer_prompt(words, added, data):
    mixed = list(words)
    for word in added:
        mixed.insert(data.draw(st.integers(0, len(mixed))), word)
    source, target = prompt_of(" ".join(words)), prompt_of(" ".join(mixed), chunk=77)
    aligned = align(source, target, "refine")
    content = list(target.content)
    taken = aligned.source[:, content]
    assert taken.sum() == len(source.content)  # every source token is read once ...
    rows = [int(i) for i in taken.T.nonzero()[:, 1]]
    assert rows == sorted(rows)  # ... and in order
    for j in content:
        assert all(source.pieces[i].id == target.pieces[j].id for i in onto(aligned, j))


def test_refine_over_several_chunks():
    source, target = prompt_of("a b c d e f", chunk=6), prompt_of("new a b c d e f", chunk=6)
    aligned = align(source, target, "refine")
    for word in "abcdef":
        assert onto(aligned, word_tokens(target, word)[0]) == {word_tokens(source, word)[0]: 1.0}
    assert onto(aligned, 6) == {6: 1.0} and onto(aligned, 11) == {11: 1.0}


def longest_common_subsequence(x, y):
    """By trying: the most items that can be kept in order."""
    if not x or not y:
        return 0
    skip = max(longest_common_subsequence(x[1:], y), longest_common_subsequence(x, y[1:]))
    return max(skip, 1 + longest_common_subsequence(x[1:], y[1:])) if x[0] == y[0] else skip


@settings(max_examples=100, deadline=None)
@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_the_global_alignment_keeps_as_many_as_can_be_kept(x, y):
    partners = global_alignment(x, y)
    kept = [(i, j) for j, i in enumerate(partners) if i >= 0]
    assert len(partners) == len(y) and len(kept) == longest_common_subsequence(x, y)
    assert all(x[i] == y[j] for i, j in kept) and kept == sorted(set(kept))


# --- auto ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source, target, kind",
    [
        ("a man is driving", "a Spi|der|-|Man is driving", "replace"),
        ("a cat", "a dog", "replace"),
        ("cat", "dog", "replace"),
        ("a cat", "a cat", "replace"),
        ("a man sits", "an old man sits", "refine"),
        ("a red cat sits", "a cat sits quietly", "refine"),  # as many words, but shifted
        ("a man in the forest", "in the forest a man", "refine"),
    ],
)
def test_auto_replaces_where_the_words_pair_up(source, target, kind):
    source, target = prompt_of(source), prompt_of(target)
    assert align(source, target).kind == kind and pairs_up(source, target) == (kind == "replace")


def test_an_unknown_kind_gets_a_sentence():
    for wrong in ({"kind": "swap"}, {"alignment": "best"}):
        with pytest.raises(ValueError, match="is no edit or .* no alignment: choose auto, replace, refine"):
            align(prompt_of("a"), prompt_of("a"), **wrong)


# --- the default beside the reference --------------------------------------------------------------------------------


def single_spaced(case):
    return all(text == " ".join(text.split()) for text in sides(case))


def sides(case):
    return case["source"], case["target"]


READABLE = [case for case in CASES if "\ufffd" not in "".join(chain(*case["token_pieces"]))]


def test_default_replace_differs_from_the_reference_only_after_a_swap_of_unlike_length():
    same = different = 0
    for case in READABLE:
        if not g6.answered(case["replacement_mapper"]) or not single_spaced(case):
            continue
        source, target = g6.prompts_of(case, LENGTH)
        official, ours = align(source, target, "replace", "official"), align(source, target, "replace")
        uneven = [
            n for n, (a, b) in enumerate(zip(source.words, target.words, strict=True)) if len(a.tokens) != len(b.tokens)
        ]
        before = source.words[uneven[0]].tokens[0] if uneven else len(source)
        assert torch.equal(official.source[:, :before], ours.source[:, :before]), sides(case)
        swapped = list(target.words[uneven[0]].tokens) if uneven else []
        assert torch.equal(official.source[:, swapped], ours.source[:, swapped])
        same, different = same + (not uneven), different + bool(uneven)
    assert same > 10 and different > 10


def test_default_refine_is_the_reference_wherever_it_has_an_answer():
    compared = 0
    for case in READABLE:
        if g6.answered(case["refinement_mapper"]):
            source, target = g6.prompts_of(case, LENGTH)
            assert g6.refinement_error(source, target, case["refinement_mapper"], LENGTH) == 0
            compared += 1
    assert compared > 100


def test_default_positions_are_the_references_plus_words_it_does_not_find():
    """But for punctuation, which the reference takes for a part of the word before it."""
    more = 0
    for case in READABLE:
        for prompt, side in zip(g6.prompts_of(case, LENGTH), ("source", "target"), strict=True):
            for row in case["word_inds"]:
                if g6.answered(row[side]) and single_spaced(case):
                    of_words = {token for word in prompt.words for token in word.tokens}
                    assert set(row[side]) & of_words <= set(find_word(prompt, row["word"])), (case[side], row)
                    more += set(row[side]) < set(find_word(prompt, row["word"]))
    assert more > 0


def test_the_reference_does_not_find_red_before_a_comma_and_ours_does():
    prompt = prompt_of("A red|, shiny car|.")
    assert find_word_officially(prompt, "red") == () and find_word(prompt, "red") == (2,)


def test_the_official_search_fails_with_a_sentence_where_the_reference_crashes():
    failures = 0
    for case in CASES:
        for prompt, side in zip(g6.prompts_of(case, LENGTH), ("source", "target"), strict=True):
            for row in case["word_inds"]:
                if not g6.answered(row[side]):
                    with pytest.raises(ValueError, match="cannot count off"):
                        find_word_officially(prompt, row["word"])
                    failures += 1
    assert failures == sum(
        not g6.answered(row[side]) for c in CASES for row in c["word_inds"] for side in ("source", "target")
    )
