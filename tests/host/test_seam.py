"""A ComfyUI that lacks something the pack relies on: one sentence in the log, and all nodes that can do without."""

import json
import re
import subprocess
import sys
from pathlib import Path

import folder_paths
import pytest
from comfyui_version import __version__ as VERSION
from comfyui_videop2p.nodes import NAMES
from comfyui_videop2p.tests.host.hiding import (
    called_as,
    in_another_order,
    in_its_place,
    owner_of,
    with_one_more,
    with_places,
    without,
    without_argument,
    without_key,
    without_module,
)
from comfyui_videop2p.tools.seam import graph
from comfyui_videop2p.tools.seam.write import COMMAND, present, table
from comfyui_videop2p.videop2p_core.host.seam import host_check as seam
from comfyui_videop2p.videop2p_core.host.seam.lookup import Lookup
from comfyui_videop2p.videop2p_core.log import LOG

ROOT = Path(__file__).parents[2]
MODULES, SYMBOLS, KEYS = (seam.TABLE[kind] for kind in ("modules", "symbols", "keys"))
ROUTES = [seam.ROUTES]

# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_is_what_the_code_gives():
    stale = [file.name for file, text in present().items() if file.read_text(encoding="utf-8") != text]
    assert not stale, f"run `{COMMAND}`"


def test_the_table_is_whole():
    assert len(MODULES) > 20 and len(SYMBOLS) > 200 and len(KEYS) > 40
    assert set(seam.PARTS) == {*NAMES, *ROUTES}
    for path in (
        "comfy.model_patcher.ModelPatcher.set_attachments", "comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL",
        "comfy.ldm.modules.attention.BasicTransformerBlock.n_heads", "comfy.context_windows.IndexListContextHandler",
    ):  # fmt: skip
        assert path in SYMBOLS
    clones = SYMBOLS["comfy.model_patcher.ModelPatcher.clone"]["calls"]
    assert [0, "disable_dynamic", "force_deepcopy"] in clones
    assert {"uuids", "cond_or_uncond", "block_index", "patches_replace"} <= KEYS.keys()


def test_this_comfyui_lacks_nothing():
    assert seam.lacks(list(seam.PARTS)) == []


def test_what_a_part_needs_is_what_its_import_brings():
    program = f"""
import importlib, json, runpy, sys, types
pack = runpy.run_path({str(ROOT / "tools" / "pack.py")!r})["load_pack"]().__name__
from comfyui_videop2p.tools.pack import use_host
use_host()
def brought(name):
    for module in [one for one in sys.modules if one.startswith((pack + ".nodes", pack + ".videop2p_core"))]:
        del sys.modules[module]
    bare = sys.modules[pack + ".nodes"] = types.ModuleType(pack + ".nodes")  # which does not bring all others
    bare.__path__ = [{str(ROOT / "nodes")!r}]
    importlib.import_module(f"{{pack}}.{{name}}")
    names = [one.removeprefix(pack + ".").removeprefix("videop2p_core.") for one in sys.modules]
    return sorted(name for name in names if name in {sorted(graph.files())!r})
parts = {{name: "nodes." + name for name in {NAMES!r}}} | dict(routes="videop2p_core.host.routes")
print(json.dumps({{part: brought(name) for part, name in parts.items()}}))
"""
    brought = json.loads(in_a_process("-c", program))
    assert {part: set(seam.PARTS[part]["modules"]) - set(graph.ENTRY) for part in seam.PARTS} == {
        part: set(modules) for part, modules in brought.items()
    }


def in_a_process(*arguments):
    """The last line that a Python program prints."""
    process = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


def test_a_new_use_is_found_and_an_unknown_one_refused():
    texts = {name: file.read_text(encoding="utf-8") for name, file in graph.files().items()}
    late = "\n\ndef late(thing, options):\n    "
    found = table(
        texts
        | {"host.images.frames": texts["host.images.frames"] + f"{late}import nodes\n    return nodes.MAX_RESOLUTION"}
    )
    assert found["symbols"]["nodes.MAX_RESOLUTION"] == {"by": ["host.images.frames"]} and "nodes" in found["modules"]
    for line, sentence in (
        ("thing.add_object_patch()", "thing.add_object_patch may be the host's"),
        ("thing['positive']", r"thing\['positive'\] may be the host's"),
        ("options['nobody has that']", "no module of KEY_OWNERS names 'nobody has that'"),
        ("import comfy.sd; comfy.sd.NOTHING", "comfy.sd.NOTHING would be .* which this ComfyUI has not"),
    ):
        with pytest.raises(ValueError, match=sentence):
            table(texts | {"host.images.frames": f"{texts['host.images.frames']}{late}{line}\n"})
    with pytest.raises(ValueError, match="no code needs the hint NAMED_IN: host.model.gradients ff"):
        table(texts | {"host.model.gradients": texts["host.model.gradients"].replace('{block}.ff"', '{block}"')})


# --- each thing hidden in turn ----------------------------------------------------------------------------------------


@pytest.fixture
def start(monkeypatch):
    """start(): (the parts that are left, the sentences in the log)."""

    def started():
        sentences = []
        monkeypatch.setattr(LOG, "warning", sentences.append)
        return seam.imported(NAMES, lambda name: name) + seam.imported(ROUTES, lambda name: name), sentences

    return started


@pytest.fixture(autouse=True)
def read_once(monkeypatch):
    """The host's files, for hundreds of looks at them; and its server, before something is hidden that it needs."""
    import server  # noqa: F401

    texts, read = {}, Lookup.text

    def text(self, module):
        if module not in texts:
            texts[module] = read(self, module)
        return texts[module]

    monkeypatch.setattr(Lookup, "text", text)


def without_nodes(parts):
    return {node for part in parts for node in seam.PARTS[part]["nodes"]}


def wrong(started, need, *named):
    """What is wrong with a start without something that is needed, which the log is to name; None for nothing."""
    needed_by = {part for part in seam.PARTS if set(need["by"]) & set(seam.PARTS[part]["modules"])}
    left, sentences = started
    if not needed_by or set(left) != seam.PARTS.keys() - needed_by:
        return f"{named}: {left} are left, though {needed_by} need it"
    if len(sentences) != 1 or not all(word in sentences[0] for word in (f"ComfyUI {VERSION} has no ", *named)):
        return f"{named}: {sentences}"
    if set(re.findall(r"VP2P_\w+", sentences[0])) != without_nodes(needed_by):
        return f"{named}: {sentences[0]}"
    if ("words are not compared" in sentences[0]) != (seam.ROUTES in needed_by):
        return f"{named}: {sentences[0]}"
    return None


def test_without_a_module(start):
    found = []
    for name, need in MODULES.items():
        with without_module(name):
            found.append(wrong(start(), need, f"{name} (ModuleNotFoundError"))
    assert not any(found), sentences_of(found)


def test_without_a_symbol(start):
    found = []
    for path, need in SYMBOLS.items():
        with without(path):
            found.append(wrong(start(), need, f"{path}, so"))
    assert not any(found), sentences_of(found)


def test_with_a_symbol_that_cannot_be_made(start):
    def late(_):
        raise RuntimeError("not now")

    path = "folder_paths.models_dir"
    with without(path), in_its_place(folder_paths, "__getattr__", late):
        assert not wrong(start(), SYMBOLS[path], f"{path}, so")


def test_a_signature_that_cannot_be_read_is_no_fault(start):
    class Odd:
        __signature__ = "none"

        def __call__(self):
            pass

    with in_its_place(folder_paths, "get_full_path", Odd()):
        assert start() == ([*NAMES, *ROUTES], [])


def test_without_a_key(start):
    found = []
    for key, need in KEYS.items():
        with without_key(key):
            found.append(wrong(start(), need, f"'{key}' in {need['of']}"))
    assert not any(found), sentences_of(found)


def test_without_a_keyword(start):
    found = []
    for path, need in called():
        for _, *keywords in need["calls"]:
            for keyword in keywords:
                others = {other for _, *call in need["calls"] for other in call} - {keyword}
                with called_as(path, without_argument(keyword, others)):
                    found.append(wrong(start(), need, f"{path} that takes", f"keyword argument '{keyword}'"))
    assert len(found) > 100 and not any(found), sentences_of(found)


def test_with_an_argument_that_the_pack_does_not_give(start):
    found = []
    for path, need in called():
        if any(number is not None for number, *_ in need["calls"]):
            with called_as(path, with_one_more):
                found.append(wrong(start(), need, f"{path} that takes", "missing a required", "'one_more'"))
    assert len(found) > 100 and not any(found), sentences_of(found)


def test_with_an_argument_that_the_packs_own_method_does_not_take(start):
    found = []
    for path, need in SYMBOLS.items():
        if "takes" in need:
            with called_as(path, with_places(need["takes"])):
                assert not start()[1]
            with called_as(path, with_places(need["takes"] + 1)):
                found.append(wrong(start(), need, f"{path} that hands on {need['takes']} arguments at most"))
    assert len(found) > 5 and not any(found), sentences_of(found)


def test_with_arguments_in_another_order(start):
    found = []
    for path, need in SYMBOLS.items():
        if "places" in need:
            with called_as(path, in_another_order):
                found.append(wrong(start(), need, f"{path} with transformer_options as argument 6"))
    assert len(found) == 2 and not any(found), sentences_of(found)


def called():
    """Symbols that are called on the class or in the module where they stand."""
    for path, need in SYMBOLS.items():
        owner, name = owner_of(path)
        if "calls" in need and hasattr(owner, name):
            yield path, need


def sentences_of(found):
    return "\n".join(filter(None, found))


# --- ComfyUI's own loader ---------------------------------------------------------------------------------------------

ALL = without_nodes(seam.PARTS)


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """What ComfyUI made of the pack, with one thing or another hidden."""
    folder = tmp_path_factory.mktemp("custom_nodes")
    return json.loads(in_a_process(ROOT / "tools" / "pack.py", "tests.host.starting", folder))


def needing(path):
    need = (SYMBOLS | MODULES)[path]
    return without_nodes(part for part in seam.PARTS if set(need["by"]) & set(seam.PARTS[part]["modules"]))


def test_a_start_with_everything_says_nothing(starts):
    assert starts["whole"] == {"loaded": True, "nodes": sorted(ALL), "log": []}


@pytest.mark.parametrize(
    "start, path",
    [
        ("module", "comfy.clip_model"),
        ("class", "comfy.context_windows.IndexListContextHandler"),
        ("keyword", "comfy.model_patcher.ModelPatcher.clone"),
        ("routes", "server.PromptServer"),
    ],
)
def test_a_start_without_something_leaves_out_what_needs_it(starts, start, path):
    (sentence,) = starts[start]["log"]
    assert sentence.startswith(f"ComfyUI {VERSION} has no {path}")
    assert starts[start]["loaded"] is True and starts[start]["nodes"] == sorted(ALL - needing(path))
    assert needing(path) < ALL


def test_a_start_without_a_base_of_all_nodes_ends_in_a_sentence(starts):
    sentence, *hosts_own = starts["extension"]["log"]
    assert sentence.startswith(f"ComfyUI {VERSION} has no comfy_api.latest.ComfyExtension, so these nodes")
    assert starts["extension"]["nodes"] == [] and all("did not return a ComfyExtension" in line for line in hosts_own)


def test_what_nobody_foresaw_leaves_out_what_it_strikes(starts):
    alone = {"clip", "compare", "composite", "crop", "demo", "region"}
    assert starts["import"]["nodes"] == sorted(without_nodes(alone))
    assert len(starts["import"]["log"]) == len(NAMES) - len(alone)
    for sentence in starts["import"]["log"]:
        assert re.match(
            rf"ComfyUI {VERSION} is no host for \w+\.py \(TypeError: it is final\), so these nodes", sentence
        )
    assert starts["schema"]["nodes"] == sorted(ALL - {"VP2P_EditMetrics"})
    (sentence,) = starts["schema"]["log"]
    assert "refuses EditMetrics of Video-P2P (ValueError: it has too many inputs)" in sentence
