"""Names and tooltips in four languages, under the keys that ComfyUI's browser looks for."""

import json
import re

import pytest
from comfyui_videop2p.tools.locales import FILE, FOLDER, as_text, english

TRANSLATED = {"ko": r"[\uac00-\ud7a3]", "zh": r"[\u4e00-\u9fff]", "ja": r"[\u3040-\u30ff]"}


def read(language):
    return json.loads((FOLDER / language / FILE).read_text(encoding="utf-8"))


def leaves(entry, path=()):
    """(path, text) of every text."""
    if isinstance(entry, str):
        return [(path, entry)]
    return [leaf for key, value in entry.items() for leaf in leaves(value, (*path, key))]


def test_english_is_what_the_schemas_say():
    stale = "run `python dev.py locales`"
    assert (FOLDER / "en" / FILE).read_text(encoding="utf-8") == as_text(english()), stale


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_translation_is_complete(language):
    assert [path for path, _ in leaves(read(language))] == [path for path, _ in leaves(english())]


@pytest.mark.parametrize("language, letters", TRANSLATED.items())
def test_sentences_are_translated(language, letters):
    sentences = [(path, text) for path, text in leaves(read(language)) if path[-1] in ("tooltip", "description")]
    assert sentences and not [path for path, text in sentences if not re.search(letters, text)]


def test_the_browser_is_given_them(host):
    given = host.get("/i18n")
    for language in ("en", *TRANSLATED):
        assert given[language]["nodeDefs"]["VP2P_InflateUNet"] == read(language)["VP2P_InflateUNet"]
