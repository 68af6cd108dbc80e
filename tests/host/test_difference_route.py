"""POST /videop2p/difference: what it answers, and what it lets nobody ask."""

import asyncio
import json
import re
import threading
import time
import urllib.error
import urllib.request

import comfy.sd
import folder_paths
import pytest
import torch
from comfy.sd1_clip import SD1Tokenizer
from comfyui_videop2p.tests.host.calls import SOURCE, TARGET
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.host import LOCAL
from comfyui_videop2p.videop2p_core.host.demo_model import load_text_encoder
from comfyui_videop2p.videop2p_core.host.prompts import difference_route as routes
from comfyui_videop2p.videop2p_core.host.prompts.browser_tokenizer import typing_clip
from comfyui_videop2p.videop2p_core.host.prompts.clip_tokens import read_prompt
from comfyui_videop2p.videop2p_core.host.prompts.difference_route import (
    FIELDS,
    LARGEST,
    LONGEST,
    PATH,
    Turns,
    checked,
    compared,
)
from safetensors.torch import save_file

QUESTION = {"source_prompt": SOURCE, "target_prompt": TARGET}


def ask(host, body, **headers):
    """(status, answer) of a question; an answer that is no JSON is None."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): text for name, text in headers.items()}
    try:
        with LOCAL.open(urllib.request.Request(host.url + PATH, data, headers), timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if error.headers.get_content_type() == "application/json" else None


def changed(answer):
    return {word["text"]: word["change"] for word in answer["difference"]["target"] if word["change"] != "kept"}


# --- what is said -----------------------------------------------------------------------------------------------------


def test_the_words_are_those_that_the_clip_would_read():
    answer = compared(
        checked({"source_prompt": "a red rabbit, bouncing", "target_prompt": "a red (star:1.2), bouncing"})
    )
    assert [word["text"] for word in answer["difference"]["target"]] == ["a", "red", "star", "bouncing"]
    assert changed(answer) == {"star": "swapped"} and answer["weights"] == [1, 1, 1, 1]


def test_what_a_question_leaves_out_is_empty():
    assert checked({}) == dict.fromkeys(FIELDS, "") | {"edit": "auto"}
    assert compared(checked({}))["difference"] == {"kind": "replace", "source": (), "target": ()}


def test_words_that_the_demo_model_never_learnt_are_told_where_its_clip_is_wired():
    asked = QUESTION | {"target_prompt": "a (velvet:1.2) zeppelin on the beach"}
    answer = compared(checked(asked | {"clip": "VP2P_LoadDemoModel"}))
    (fault,) = answer["faults"]["target_prompt"]
    assert (
        fault.startswith("the demo model never learnt 'velvet'; it knows: a, ")
        and not answer["faults"]["source_prompt"]
    )
    with pytest.raises(ValueError) as refused:
        load_text_encoder().tokenize(asked["target_prompt"])
    assert str(refused.value) == fault
    assert compared(checked(asked | {"clip": "CheckpointLoaderSimple"}))["faults"]["target_prompt"] == []


@pytest.mark.parametrize("text", ["../../etc/passwd", "embedding:", "<img src=x onerror=alert>", "a\0b"])
def test_any_text_is_only_text(text):
    answer = compared(checked({"source_prompt": f"a {text}", "target_prompt": f"{text} {text}", "blend_source": text}))
    read = "" if text == "embedding:" else text  # without a name it is passed over by the host as well
    assert "".join(word["text"] for word in answer["difference"]["source"]) == "a" + re.sub(r"[\s<>]", "", read)


@pytest.fixture
def inversions(tmp_path, monkeypatch):
    """A folder of embeddings, which the host has not listed yet: two files that hold no vectors."""
    for name in ("mystyle.safetensors", "deep/other.pt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "embeddings", ([str(tmp_path)], {".safetensors", ".pt"}))
    monkeypatch.delitem(folder_paths.filename_list_cache, "embeddings", raising=False)
    yield tmp_path
    folder_paths.filename_list_cache.pop("embeddings", None)


@pytest.mark.parametrize("written", ["{}", "({}:1.2)", "{},"])
@pytest.mark.parametrize("name", ["mystyle", "mystyle.safetensors", "other", "deep/other"])
def test_a_textual_inversion_is_one_word(inversions, written, name):
    style = written.format(f"embedding:{name}")
    answer = compared(checked({"source_prompt": f"a cat {style} red", "target_prompt": f"a dog {style} red"}))
    spelt = f"embedding:{name}"
    assert [word["text"] for word in answer["difference"]["target"]] == ["a", "dog", spelt, "red"]
    assert changed(answer) == {"dog": "swapped"} and answer["faults"]["target_prompt"] == []


def test_textual_inversions_of_like_names_share_nothing(inversions):
    """As text they would share the word embedding and the colon, and so be bound to each other."""
    answer = compared(
        checked({"source_prompt": "a embedding:mystyle", "target_prompt": "a big embedding:other", "edit": "refine"})
    )
    assert changed(answer) == {"big": "added", "embedding:other": "added"}
    same = {"source_prompt": "a embedding:mystyle", "target_prompt": "a big embedding:mystyle.safetensors"}
    assert changed(compared(checked(same))) == {"big": "added"}


@pytest.mark.parametrize("name", ["mystyl", "../mystyle", "/etc/passwd", "deep", "mystyle.pt"])
def test_one_that_is_not_installed_is_no_word_and_said_so(inversions, caplog, name):
    answer = compared(checked({"source_prompt": f"a cat embedding:{name}, red", "target_prompt": "a dog red"}))
    assert [word["text"] for word in answer["difference"]["source"]] == ["a", "cat", "red"]
    assert answer["faults"]["source_prompt"] == [f"'embedding:{name}' is not installed, so ComfyUI passes it over"]
    assert not caplog.records


def test_words_are_those_of_the_clip_that_has_the_inversion(inversions):
    save_file({"emb_params": torch.arange(3 * 768.0).reshape(3, 768)}, inversions / "mystyle.safetensors")
    clip = comfy.sd.CLIP(no_init=True)
    clip.tokenizer, clip.tokenizer_options = SD1Tokenizer(embedding_directory=[str(inversions)]), {}
    text = "a (cat:1.2), embedding:mystyle, red embedding:nothere dog"
    words = [[word.text for word in read_prompt(reader, text).words] for reader in (clip, typing_clip())]
    assert words[0] == words[1] == ["a", "cat", "embedding:mystyle", "red", "dog"]


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ([], "an object of"),
        ("source_prompt", "an object of"),
        (None, "an object of"),
        ({"path": "x"}, "an object of"),
        ({"source_prompt": 1}, "is a text"),
        ({"source_prompt": None}, "is a text"),
        ({"word_weights": ["a: 2"]}, "is a text"),
        ({"edit": "swap"}, "auto, replace, refine"),
        ({"source_prompt": "\ud83d"}, "surrogates not allowed"),
    ],
)
def test_a_question_of_another_shape_is_refused(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        checked(asked)


# --- over the wire ----------------------------------------------------------------------------------------------------


def test_the_server_answers(host):
    status, answer = ask(host, QUESTION | {"blend_source": "bal", "word_weights": "blue: 2"})
    assert status == 200 and answer["difference"]["kind"] == "replace" and changed(answer) == {"blue": "swapped"}
    assert answer["weights"] == [1, 2, 1, 1, 1, 1]
    assert answer["faults"]["blend_source"] == [
        "'bal' is not a word of the source prompt: a, red, rabbit, on, the, beach"
    ]


def test_a_kind_that_does_not_fit_is_a_sentence(host):
    status, answer = ask(host, QUESTION | {"target_prompt": "a rabbit", "edit": "replace"})
    assert status == 400 and answer["error"].endswith("use refine.")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"\xff\xfe\xfd", b"[" * 20_000, b'{"source_prompt": "\\ud83d"}', {"source_prompt": 1}, {"path": "x"},
        [],
    ],
)  # fmt: skip
def test_nonsense_is_a_bad_request(host, body):
    status, answer = ask(host, body)
    assert status == 400 and answer["error"]


def test_an_unknown_charset_is_no_matter(host):
    assert ask(host, QUESTION, Content_Type="application/json; charset=klingon")[0] == 200


def test_a_long_prompt_is_told_to_be_too_long_to_be_followed(host):
    status, answer = ask(host, QUESTION | {"target_prompt": "x " * (LONGEST // 2) + "x"})
    assert status == 413 and answer["error"] == (
        "the target prompt is too long to be followed while you type; the node itself reads all of it"
    )
    assert ask(host, QUESTION | {"target_prompt": "x " * (LONGEST // 2)})[0] == 200


@pytest.mark.parametrize(
    "source, target",
    [("a b ", "b a d c "), ("一只猫在跑", "猫跑在一只 "), ("👩‍🚀", "🐱"), ("\U00020001\U00020302", "\U00020abc")],
)
def test_the_longest_prompts_are_answered_while_one_types(source, target):
    asked = {"source_prompt": source * LONGEST, "target_prompt": target * LONGEST}
    asked = {name: text[:LONGEST] for name, text in asked.items()} | {
        name: ",".join(f"{i:x}" for i in range(LONGEST))[:LONGEST] for name in ("blend_source", "subtract")
    }
    body = len(json.dumps(asked, ensure_ascii=False).encode())
    started = time.process_time()
    compared(checked(asked))
    assert time.process_time() - started < 5 and body < LARGEST  # about one second on a machine of its own


def test_a_question_has_a_size(host):
    assert ask(host, QUESTION | {"subtract": "x" * LARGEST})[0] == 413
    chunked = urllib.request.Request(host.url + PATH, iter([b"{}"]), {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        LOCAL.open(chunked, timeout=30)
    assert refused.value.code == 413


def test_a_page_of_another_origin_cannot_ask(host):
    assert ask(host, QUESTION, Origin="http://elsewhere.example")[0] == 403
    assert ask(host, QUESTION, Sec_Fetch_Site="cross-site")[0] == 403
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):  # sent without asking first
        assert ask(host, QUESTION, Content_Type=kind)[0] == 415
    assert ask(host, QUESTION, Origin=host.url)[0] == 200


# --- as an attacker would ask -----------------------------------------------------------------------------------------


def test_questions_are_answered_one_after_the_other(monkeypatch):
    working, most, gate = [], [], threading.Event()

    def slowly(fields):
        working.append(fields)
        most.append(len(working))
        gate.wait(10)
        working.remove(fields)
        if fields == 1:
            raise ValueError("one that fails")
        return fields

    async def all_at_once():
        turns = Turns()
        asked = [asyncio.create_task(turns(i)) for i in range(3)]
        await asyncio.sleep(0.1)
        gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return answers, await turns(3)

    monkeypatch.setattr(routes, "compared", slowly)
    monkeypatch.setattr(routes, "MOST", 2)
    (first, failed, refused), later = asyncio.run(all_at_once())
    assert (first, later) == (0, 3) and most == [1, 1, 1]
    assert isinstance(failed, ValueError) and isinstance(refused, asyncio.QueueFull)


def test_the_folder_that_is_served_leads_nowhere_else():
    assert not [path for path in (ROOT / "web").rglob("*") if path.is_symlink()]
