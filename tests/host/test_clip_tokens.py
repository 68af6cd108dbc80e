from pathlib import Path

import comfy.sd
import pytest
import torch
from comfy.sd1_clip import SD1Tokenizer
from comfy.sdxl_clip import SDXLTokenizer
from comfyui_videop2p.tests.parity import g6
from comfyui_videop2p.videop2p_core.edit.alignment import align
from comfyui_videop2p.videop2p_core.edit.prompt import END, PAD, START, TEXT, find_word, word_tokens
from comfyui_videop2p.videop2p_core.host.prompts.clip_tokens import read_prompt
from safetensors.torch import save_file

REFERENCE = Path(__file__).parents[1] / "reference"


def clip_with(tokenizer):
    clip = comfy.sd.CLIP(no_init=True)
    clip.tokenizer, clip.tokenizer_options = tokenizer, {}
    return clip


@pytest.fixture(scope="module")
def clip():
    return clip_with(SD1Tokenizer())


@pytest.fixture
def read(clip):
    return lambda text: read_prompt(clip, text)


def escaped(text):
    return text.replace("(", "\\(").replace(")", "\\)")


def spelled(prompt, tokens):
    return "".join(prompt.pieces[token].text for token in tokens)


def uncurled(text):
    """The reference's tokenizer straightens typographic quotes first; ComfyUI's does not."""
    return text.replace("“", '"').replace("”", '"')


LENGTH, CASES = g6.read_cases(REFERENCE)
# The reference knows one chunk of 77 tokens only.
SHORT = [case for case in CASES if max(map(len, case["token_ids"])) <= LENGTH]


def test_tokens_are_those_of_the_reference(read):
    for case in SHORT:
        for text, prompt in zip((case["source"], case["target"]), g6.prompts_of(case, LENGTH), strict=True):
            ours = read(escaped(uncurled(text)))
            assert ours.ids(range(LENGTH)) == prompt.ids(range(LENGTH)), text
            assert [piece.kind for piece in ours.pieces] == [piece.kind for piece in prompt.pieces]


def test_mappers_are_those_of_the_reference(read):
    compared = 0
    for case in SHORT:
        source, target = (read(escaped(uncurled(case[side]))) for side in ("source", "target"))
        for key, kind, error in (
            ("replacement_mapper", "replace", g6.replacement_error),
            ("refinement_mapper", "refine", g6.refinement_error),
        ):
            if g6.answered(case[key]):
                assert error(source, target, case[key], LENGTH) <= g6.VALUES, (kind, case["source"], case["target"])
                compared += 1
    assert compared > len(SHORT)


def test_default_word_positions_find_all_that_the_reference_finds(read):
    for case in SHORT:
        for row in case["word_inds"]:
            for side in ("source", "target"):
                # Where the text starts with a space or doubles one, the reference is off by a word.
                if g6.answered(row[side]) and case[side] == " ".join(case[side].split()):
                    prompt, word = read(escaped(uncurled(case[side]))), uncurled(row["word"])
                    of_words = {token for part in prompt.words for token in part.tokens}
                    assert set(row[side]) & of_words <= set(find_word(prompt, word)), (case[side], row)


@pytest.mark.parametrize(
    "text, words",
    [
        ("кот, бежит", ["кот", "бежит"]),
        ("1girl,red hair,beach", ["1girl", "red", "hair", "beach"]),
        ("2boys,(blue umbrella:1.3),rainy street", ["2boys", "blue", "umbrella", "rainy", "street"]),
        ("a red|cat! 1,000.", ["a", "red", "cat", "1,000"]),
        ("a red(cat:1.2)", ["a", "red", "cat"]),
        ("кот бежит", ["кот", "бежит"]),
        ("a 👩‍🚀 on a 🐱", ["a", "👩‍🚀", "on", "a", "🐱"]),
        ("a\ttab  cat", ["a", "tab", "cat"]),
        ("Straße İstanbul CAFÉ", ["Straße", "İstanbul", "CAFÉ"]),
        ("Spider-Man, don't!", ["Spider-Man", "don't"]),
    ],
)
def test_pieces_walk_the_words_of_every_script(read, text, words):
    prompt = read(text)
    assert [word.text for word in prompt.words] == words
    of_words = [token for word in prompt.words for token in word.tokens]
    others = "".join(spelled(prompt, [token]) for token in prompt.content if token not in of_words)
    assert of_words == sorted(of_words) and set(others) <= set(",.!|")
    for word in prompt.words:
        alone = read(word.text)
        assert prompt.ids(word.tokens) == alone.ids(alone.content), word.text


def test_words_of_a_script_without_spaces_are_found_by_their_characters(read):
    prompt = read("一只红色的猫，在沙滩上")
    assert [word.text for word in prompt.words] == list("一只红色的猫在沙滩上")
    for part in ("猫", "红色", "红色的猫", "沙滩", "猫在"):
        spelt = spelled(prompt, word_tokens(prompt, part))
        assert spelt.encode("utf-8", "surrogateescape").decode() == part
    with pytest.raises(ValueError, match="'狗' is not a word of the prompt: 一只红色的猫, 在沙滩上"):
        word_tokens(prompt, "狗")


@pytest.mark.parametrize(
    "text, words", [("夕焼けの海、白い船", [*"夕焼けの海白い船"]), ("a boat（red）；sea", ["a", "boat", "red", "sea"])]
)
def test_words_end_at_full_width_punctuation(read, text, words):
    assert [word.text for word in read(text).words] == words


def test_weights_are_no_words(read):
    prompt = read("a (red:1.2) car, ((shiny)) \\(new\\)")
    assert prompt.text == "a red car, shiny (new)"
    assert spelled(prompt, word_tokens(prompt, "red")) == "red"
    assert spelled(prompt, word_tokens(prompt, "shiny")) == "shiny"
    assert spelled(prompt, word_tokens(prompt, "new")) == "new"


def test_a_weighted_phrase_keeps_its_words(read):
    prompt = read("an (old man:1.3) sits")
    assert [word.text for word in prompt.words] == ["an", "old", "man", "sits"]


def test_a_text_without_markup_is_the_prompts(read):
    assert read("a man, riding").text == "a man, riding"


def test_long_prompts_have_several_chunks(read):
    text = " ".join(f"word{i % 7}" for i in range(100)) + " tiger"
    prompt = read(text)
    assert len(prompt.chunks) > 1 and len(prompt) == LENGTH * len(prompt.chunks)
    (tiger,) = word_tokens(prompt, "tiger")
    assert prompt.pieces[tiger].text == "tiger" and tiger > LENGTH
    assert [chunk[0].kind for chunk in prompt.chunks] == [START] * len(prompt.chunks)
    assert all(TEXT in kinds and END in kinds for kinds in ({piece.kind for piece in c} for c in prompt.chunks))


def test_a_swap_in_a_long_prompt(read):
    text = " ".join(["word"] * 80)
    source, target = read(text + " cat runs"), read(text + " hippopotamus runs")
    aligned = align(source, target, "replace")
    (cat,), hippo = word_tokens(source, "cat"), word_tokens(target, "hippopotamus")
    assert aligned.source[cat, list(hippo)].tolist() == pytest.approx([1 / len(hippo)] * len(hippo))
    assert aligned.source[word_tokens(source, "runs")[0], word_tokens(target, "runs")[0]] == 1


def test_an_empty_prompt(read):
    prompt = read("")
    assert prompt.words == () and [piece.kind for piece in prompt.pieces[:3]] == [START, END, PAD]
    with pytest.raises(ValueError, match="'cat' is not a word of the prompt: it is empty"):
        word_tokens(prompt, "cat")


def test_sdxl_reads_as_sd1_does(read):
    text = "a (Spider-Man:1.2) drives"
    sdxl = read_prompt(clip_with(SDXLTokenizer()), text)
    assert sdxl.words == read(text).words


def test_streams_that_disagree_are_refused(clip):
    class TwoStreams(SD1Tokenizer):
        def tokenize_with_weights(self, text, return_word_ids=False, **kwargs):
            tokens = super().tokenize_with_weights(text, return_word_ids, **kwargs)
            return {**tokens, "other": super().tokenize_with_weights(text + " more", return_word_ids, **kwargs)["l"]}

    with pytest.raises(ValueError, match="split the prompt into different tokens"):
        read_prompt(clip_with(TwoStreams()), "a cat")


def test_textual_inversions_are_words(tmp_path):
    vectors = torch.arange(3 * 768.0).reshape(3, 768)
    save_file({"emb_params": vectors}, tmp_path / "mystyle.safetensors")
    clip = clip_with(SD1Tokenizer(embedding_directory=[str(tmp_path)]))
    prompt = read_prompt(clip, "a cat, embedding:nothere in embedding:mystyle, red")
    assert [word.text for word in prompt.words] == ["a", "cat", "in", "embedding:mystyle", "red"]
    style = word_tokens(prompt, "embedding:mystyle")
    assert style == tuple(range(style[0], style[0] + 3)) and len(set(prompt.ids(style))) == 3
    bare = read_prompt(clip, "embedding:mystyle red")
    assert word_tokens(bare, "embedding:mystyle") == (1, 2, 3) and word_tokens(bare, "red") == (4,)
    target = read_prompt(clip, "a dog, embedding:mystyle, red")
    assert align(prompt, target, "refine").target[list(word_tokens(target, "embedding:mystyle"))].sum() == 0
