"""POST /videop2p/difference: what it answers, and what it lets nobody ask."""

import json
import urllib.error
import urllib.request

import pytest
from comfyui_videop2p.tests.host.calls import SOURCE, TARGET
from comfyui_videop2p.tools.host import LOCAL
from comfyui_videop2p.videop2p_core.host.routes import FIELDS, LARGEST, LONGEST, PATH, checked, told

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
    answer = told(checked({"source_prompt": "a red ball, bouncing", "target_prompt": "a red (star:1.2), bouncing"}))
    assert [word["text"] for word in answer["difference"]["target"]] == ["a", "red", "star,", "bouncing"]
    assert changed(answer) == {"star,": "swapped"} and answer["weights"] == [1, 1, 1, 1]


def test_what_a_question_leaves_out_is_empty():
    assert checked({}) == dict.fromkeys(FIELDS, "") | {"edit": "auto"}
    assert told(checked({}))["difference"] == {"kind": "replace", "source": (), "target": ()}


@pytest.mark.parametrize("text", ["../../etc/passwd", "embedding:../../secret", "<img src=x onerror=alert>", "a\0b"])
def test_any_text_is_only_text(text):
    answer = told(checked({"source_prompt": text, "target_prompt": f"{text} {text}", "blend_source": text}))
    assert "".join(word["text"] for word in answer["difference"]["source"]) == "".join(text.split())


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
        ({"subtract": "x" * (LONGEST + 1)}, "at most 1000 characters"),
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
        "'bal' is not a word of the source prompt: a, red, ball, on, the, beach"
    ]


def test_a_kind_that_does_not_fit_is_a_sentence(host):
    status, answer = ask(host, QUESTION | {"target_prompt": "a ball", "edit": "replace"})
    assert status == 400 and answer["error"].endswith("use refine.")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"", b"\xff\xfe\xfd", b"[" * 20_000, b'{"source_prompt": "\\ud83d"}', {"source_prompt": 1}, {"path": "x"},
        {"subtract": "x" * (LONGEST + 1)}, [],
    ],
)  # fmt: skip
def test_nonsense_is_a_bad_request(host, body):
    status, answer = ask(host, body)
    assert status == 400 and answer["error"]


def test_an_unknown_charset_is_no_matter(host):
    assert ask(host, QUESTION, Content_Type="application/json; charset=klingon")[0] == 200


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
