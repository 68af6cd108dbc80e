"""G6: word positions, mappers, windows and weights of the official alignment, exactly."""

import json
from pathlib import Path

import torch

from ...videop2p_core.edit import local_blend as blend
from ...videop2p_core.edit import matrices as edit
from ...videop2p_core.edit import prompt as prompts
from ...videop2p_core.edit.alignment import align
from ...videop2p_core.edit.prompt import END, PAD, START, TEXT, Piece, Prompt
from ..core.published_pairs import refine
from .result import Result

VALUES = 1e-6  # the reference is printed with seven digits


def read_cases(directory):
    """The number of tokens a prompt is padded to, and the prompt pairs."""
    data = json.loads((Path(directory) / "g6_prompt_alignment.json").read_text(encoding="utf-8"))
    return data["max_len"], data["cases"]


def prompts_of(case, length):
    """The pair as the reference's tokenizer read it: one chunk each, padded to `length` tokens."""
    length = max(length, *map(len, case["token_ids"]))  # the reference does not cut a longer prompt

    def prompt(text, ids, pieces):
        kinds = [START, *[TEXT] * (len(ids) - 2), END, *[PAD] * (length - len(ids))]
        ids, pieces = ([*row, *[row[-1]] * (length - len(row))] for row in (ids, pieces))
        chunk = (
            Piece(i, piece if kind == TEXT else "", kind) for i, piece, kind in zip(ids, pieces, kinds, strict=True)
        )
        return Prompt(text, (tuple(chunk),))

    return [
        prompt(*row)
        for row in zip((case["source"], case["target"]), case["token_ids"], case["token_pieces"], strict=True)
    ]


def answered(reference):
    """Whether the reference gave a result; where it raised an exception, ours may answer or say why it does not."""
    return not (isinstance(reference, dict) and "exception" in reference)


def distance(actual, expected):
    return (actual.double() - expected.double()).abs().max().item()


def replacement_error(source, target, reference, length):
    expected = torch.eye(length)
    for i, j, value in reference["diff_from_identity"]:
        expected[i, j] = value
    return distance(align(source, target, "replace", "official").source[:length, :length], expected)


def refinement_error(source, target, reference, length):
    columns, alphas = torch.arange(length), torch.ones(length)
    for j, i in reference["mapper_diff_from_identity"]:
        columns[j] = i
    alphas[reference["alpha_zero_at"]] = 0
    expected, own = refine(columns, alphas, length)
    aligned = align(source, target, "refine", "official")
    return max(distance(aligned.source, expected), distance(aligned.target, own))


def positions_error(prompt, word, reference):
    """The number of token positions on which the two disagree."""
    return len(set(prompts.find_word_officially(prompt, word)) ^ set(reference))


def windows_error(target, row, length):
    result = row["result"]
    windows = row["cross_replace_steps"]
    if isinstance(windows, dict):
        windows = {word: as_window(bounds) for word, bounds in windows.items() if is_known(target, word)}
    else:
        windows = as_window(windows)
    expected = torch.zeros(result["rows"], length)
    for name, tokens in {result["default_range"]: range(length), **result["exceptions"]}.items():
        expected[:, list(tokens)] = 0
        if name != "none":
            first, end = map(int, name.split("-"))
            expected[first:end, list(tokens)] = 1
    actual = edit.word_windows(target, windows, result["rows"], row["num_steps"] + 1, "official")
    return distance(actual[:, :length], expected)


def is_known(prompt, word):
    """The reference passes over a word that is not there; ours would say so."""
    return word == edit.DEFAULT_WINDOW or prompts.find_word_officially(prompt, word)


def as_window(bounds):
    return tuple(bounds) if isinstance(bounds, list) else bounds


def weights_error(target, row, length):
    expected = torch.ones(length)
    for token, value in row["result"]["not_one"]:
        expected[token] = value
    return distance(official_weights(target, row, length), expected)


def official_weights(target, row, length):
    weights = {word: value for word, value in zip(row["words"], row["values"], strict=True) if is_known(target, word)}
    return edit.word_weights(target, weights, 1, "official")[0, :length]


def missing_word_errors(target, case, length):
    """A word that is not there changes no weight and blends no column."""
    row = case["equalizer_missing_word"]
    yield abs(official_weights(target, row, length).sum().item() - row["result"])
    columns = blend.word_columns(length, prompts.find_word_officially(target, row["words"][0]))
    yield abs(columns.sum().item() - case["localblend_missing_word"])


def errors(case, length):
    """(what was compared, error) for everything the reference answered about a pair of prompts."""
    source, target = prompts_of(case, length)
    if answered(case["replacement_mapper"]):
        yield "replacement mapper", replacement_error(source, target, case["replacement_mapper"], length)
    if answered(case["refinement_mapper"]):
        yield "refinement mapper", refinement_error(source, target, case["refinement_mapper"], length)
    for row in case["word_inds"]:
        for prompt, side in ((source, "source"), (target, "target")):
            if answered(row[side]):
                yield "word positions", positions_error(prompt, row["word"], row[side])
    if answered(case["time_words_attention_alpha"]["result"]):
        yield "windows", windows_error(target, case["time_words_attention_alpha"], length)
    if answered(case["equalizer"]["result"]):
        yield "weights", weights_error(target, case["equalizer"], length)
    if "equalizer_missing_word" in case:
        for error in missing_word_errors(target, case, length):
            yield "missing words", error


def check(directory):
    """One Result a kind of comparison: the largest error over all prompt pairs of the directory."""
    length, cases = read_cases(directory)
    worst = {}
    for case in cases:
        for name, error in errors(case, length):
            worst[name] = max(worst.get(name, 0.0), float(error))
    exact = ("word positions", "windows")
    return [Result(f"G6 {name}", error, 0.0 if name in exact else VALUES) for name, error in sorted(worst.items())]
