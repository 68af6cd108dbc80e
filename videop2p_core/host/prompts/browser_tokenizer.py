"""Prompts read while they are typed, as the CLIP of a graph would, which is loaded only when the graph runs."""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any

import folder_paths
import torch
from comfy.sd1_clip import SD1Tokenizer, SDTokenizer

from .clip_tokens import EMBEDDING, inversions_in

IDENTIFIER = "embedding:"
SUFFIXES = (".safetensors", ".pt", ".bin")  # that the host tries where a name has none


@cache
def typing_clip() -> Any:
    """For `read_prompt`: the words are those that any CLIP of SD1.x reads."""
    tokenizer = SD1Tokenizer(embedding_directory=[], tokenizer=_Tokenizer)
    return SimpleNamespace(tokenize=tokenizer.tokenize_with_weights, tokenizer=tokenizer)


def tokens_of(word: str) -> list[int]:
    """CLIP's tokens of a word, with those around it."""
    (chunks,) = typing_clip().tokenize(word).values()
    return [token for chunk in chunks for token, _ in chunk]


def unknown_inversions(text: str) -> list[str]:
    """A sentence for each textual inversion of a prompt that is not installed, once."""
    names = dict.fromkeys(inversions_in(text))
    return [f"'{name}' is not installed, so ComfyUI passes it over" for name in names if _file_of(name) is None]


class _Tokenizer(SDTokenizer):
    """A textual inversion is a single token here: where its file lies tells it from others, the file stays closed."""

    def _try_get_embedding(self, embedding_name: str) -> tuple[torch.Tensor, str, str]:
        """(vectors, name, the text after it), as the host asks for them."""
        text = embedding_name.lstrip()
        match = EMBEDDING.match(IDENTIFIER + text)
        name = match[0].removeprefix(IDENTIFIER) if match else ""
        file = _file_of(name)
        # No vectors, instead of None, which the host would complain of in its log at every letter typed.
        vectors = torch.empty(0, 1) if file is None else torch.tensor([list(file.encode())])
        return vectors, name, text.removeprefix(name).lstrip()


def _file_of(name: str) -> str | None:
    names = _names(tuple(folder_paths.get_filename_list("embeddings")))
    return names.get(PurePath(name.removeprefix(IDENTIFIER)).parts)


@lru_cache(maxsize=1)
def _names(files: tuple[str, ...]) -> dict[tuple[str, ...], str]:
    """Every name by which the host finds a file: it looks in the folders of embeddings and in all below them."""
    names = {}
    for file in files:
        path = PurePath(file)
        for written in (path, path.with_suffix("")) if path.suffix in SUFFIXES else (path,):
            for i in range(len(path.parts)):
                names.setdefault(written.parts[i:], file)
    return names
