"""What ComfyUI's registry asks of a pack: its entry complete, and at run time no network, no pip, no code from text.

https://docs.comfy.org/registry/standards and https://docs.comfy.org/registry/specifications
"""

import ast
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from comfyui_videop2p.tests.repository.test_direction import imported
from comfyui_videop2p.tests.repository.tracked import git, tracked
from comfyui_videop2p.tools import lock
from comfyui_videop2p.tools.environment import ROOT
from PIL import Image

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGE, COMFY = PROJECT["project"], PROJECT["tool"]["comfy"]

# --- what an artist's machine runs ------------------------------------------------------------------------------------

RUN_TIME = [ROOT / "__init__.py", *sorted((ROOT / "nodes").rglob("*.py")), *sorted(ROOT.glob("videop2p_core/**/*.py"))]
# A command of the user's, which starts ComfyUI or talks to it, and which ComfyUI never loads.
BATCH = sorted((ROOT / "batch").glob("*.py"))
# By these a program reaches the network, other programs or code that came as text.
MODULES = {
    "aiohttp", "code", "ctypes", "ensurepip", "ftplib", "http", "httpx", "huggingface_hub", "importlib", "marshal",
    "multiprocessing", "pickle", "pip", "requests", "runpy", "smtplib", "socket", "subprocess", "urllib",
    "urllib3", "websockets",
}  # fmt: skip
BUILTINS = {"__import__", "compile", "eval", "exec"}
ATTRIBUTES = {
    "cached_download", "download_url_to_file", "from_pretrained", "hf_hub_download", "load_state_dict_from_url",
    "load_url", "popen", "snapshot_download", "system", "urlopen", "urlretrieve",
}  # fmt: skip
EXCEPTIONS = {
    # The questions that ComfyUI's own server is taught to answer, to the page that it serves.
    ("videop2p_core/host/prompts/difference_route.py", "imports aiohttp.web"),
    ("videop2p_core/host/cost/cost_route.py", "imports aiohttp.web"),
    # Takes an address apart to name the file that it would have come to; nothing is fetched.
    ("videop2p_core/host/images/lpips.py", "imports urllib.parse.urlparse"),
    # The error of a file that is none: it is caught.
    ("videop2p_core/host/images/lpips.py", "imports pickle.UnpicklingError"),
}


def forbidden(source):
    """What a file does that it must not, in words."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = []
        yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Name) and node.id in BUILTINS:
            yield f"names {node.id}"
        if isinstance(node, ast.Attribute) and node.attr in ATTRIBUTES:
            yield f"names {ast.unparse(node)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.hub.load", "numpy.load"):
            safe = any(word.arg == "weights_only" and ast.unparse(word.value) == "True" for word in node.keywords)
            if not safe:
                yield f"calls {ast.unparse(node)}"


def test_the_pack_reaches_no_network_no_program_and_no_code_from_text():
    found = {
        (file.relative_to(ROOT).as_posix(), deed)
        for file in RUN_TIME
        for deed in forbidden(file.read_text(encoding="utf-8"))
    }
    assert found <= EXCEPTIONS, found - EXCEPTIONS


@pytest.mark.parametrize(
    "line, deed",
    [
        ("import requests", "imports requests"),
        ("def late():\n    import urllib.request", "imports urllib.request"),
        ("from http import client", "imports http.client"),
        ("import os, subprocess", "imports subprocess"),
        ("from pip._internal import main", "imports pip._internal.main"),
        ("import importlib", "imports importlib"),
        ("eval('1')", "names eval"),
        ("run = exec", "names exec"),
        ("__import__(name)", "names __import__"),
        ("os.system('pip install x')", "names os.system"),
        ("CLIPModel.from_pretrained('x')", "names CLIPModel.from_pretrained"),
        ("torch.load(path)", "calls torch.load(path)"),
        ("torch.load(path, weights_only=False)", "calls torch.load(path, weights_only=False)"),
    ],
)
def test_what_is_forbidden_is_found(line, deed):
    assert list(forbidden(line)) == [deed]


def test_harmless_lines_are_not_found():
    assert not list(forbidden("re.compile('x'); plan.compile(3); torch.load(path, weights_only=True); model.eval()"))


def test_nothing_runs_when_the_pack_is_installed_or_comfyui_starts():
    assert not [name for name in ("install.py", "prestartup_script.py", "setup.py") if (ROOT / name).exists()]


def test_the_browser_side_asks_its_own_server_alone():
    for script in (ROOT / "web").rglob("*.js"):
        assert not re.search(r"https?://|\beval\(|new Function|\bimport\(", script.read_text(encoding="utf-8"))


def test_the_linter_has_nothing_to_say():
    checked = subprocess.run([sys.executable, "-m", "ruff", "check", "."], cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert {"E", "S102", "S307"} <= set(PROJECT["tool"]["ruff"]["lint"]["select"])  # E702 is one of E
    assert not {"E702", "S102", "S307"} & set(PROJECT["tool"]["ruff"]["lint"]["ignore"])


# --- the entry --------------------------------------------------------------------------------------------------------


def test_the_entry_is_complete():
    assert re.fullmatch(r"(?!.*comfyui)[a-z][a-z0-9]*([-_.][a-z0-9]+)*", PACKAGE["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", PACKAGE["version"])
    assert PACKAGE["description"] and (ROOT / PACKAGE["license"]["file"]).is_file()
    assert COMFY["PublisherId"] and COMFY["DisplayName"]


def test_the_requirements_are_said_once():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert PACKAGE["dependencies"] == [line for line in lines if line and not line.startswith("#")]


def test_the_oldest_python_is_the_one_that_is_tested():
    (step,) = [step for step in jobs("tests")["test"]["steps"] if "setup-python" in step.get("uses", "")]
    oldest = step["with"]["python-version"]
    assert PACKAGE["requires-python"] == f">={oldest}"
    assert lock.OLDEST_PYTHON == oldest
    assert f"sys.version_info < ({oldest.replace('.', ', ')})" in (ROOT / "dev.py").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"With Python {oldest} or newer" in readme and f"the Python that runs ComfyUI, {oldest} or newer" in readme


def at(url):
    """The repository's file that is at an address."""
    raw = PACKAGE["urls"]["Repository"].replace("https://github.com/", "https://raw.githubusercontent.com/")
    assert url.startswith(f"{raw}/main/")
    return ROOT / url.removeprefix(f"{raw}/main/")


def test_the_icon_is_a_small_square():
    with Image.open(at(COMFY["Icon"])) as icon:
        assert icon.width == icon.height <= 400


def test_the_banner_is_21_to_9():
    with Image.open(at(COMFY["Banner"])) as banner:
        assert banner.width * 9 == banner.height * 21


# --- the archive ------------------------------------------------------------------------------------------------------

IGNORED = ROOT / ".comfyignore"
TOP_LEVEL = {
    "CHANGELOG.md", "LICENSE", "README.md", "__init__.py", "batch", "batch.py", "demo", "docs", "locales", "nodes",
    "pyproject.toml", "requirements.txt", "subgraphs", "tools", "videop2p_core", "web", "workflows",
}  # fmt: skip


def archived(ignored=IGNORED):
    """The tracked files that the registry's archive holds."""
    paths = tracked()
    asked = "".join(f"{path}\0" for path in paths)
    left_out = git("-c", f"core.excludesFile={ignored}", "check-ignore", "--no-index", "--stdin", "-z", input=asked)
    return set(paths).difference(left_out.split("\0"))


def needed():
    """What is read at run time: all that the pack's __init__.py and its command lead to by imports, the data that these
    files name, and what ComfyUI takes from the folders of a pack."""
    files, waiting = set(), ["__init__.py", "batch.py", *(f"batch/{file.name}" for file in BATCH)]
    while waiting:
        file = waiting.pop()
        if file not in files:
            files.add(file)
            waiting += [path for name in imported(ROOT / file) if name.startswith(".") for path in modules(name)]
    texts = set(texts_in(files))
    data = [path for path in tracked() if path.split("/")[-1] in texts and not path.endswith(".py")]
    folders = ("demo/clips/", "locales/", "subgraphs/", "web/", "workflows/")
    return files.union(data, (path for path in tracked() if path.startswith(folders)))


def modules(name):
    """The files that an import of '.package.module.name' runs."""
    parts = name[1:].split(".")
    paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    every = [file for path in paths for file in (f"{path}.py", f"{path}/__init__.py")]
    return [file for file in every if (ROOT / file).is_file()]


def texts_in(files):
    for file in files:
        for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_the_archive_holds_what_the_pack_reads_and_nothing_of_its_development():
    files = archived()
    assert needed() <= files, needed() - files
    assert {path.split("/")[0] for path in files} == TOP_LEVEL
    assert {path for path in files if path.startswith("demo/") and not path.startswith("demo/clips/")} == {
        "demo/videop2p_demo.safetensors",
        "demo/videop2p_demo_lcm.safetensors",
    }


def test_what_the_pack_reads_is_found():
    assert needed() >= {
        "videop2p_core/edit/matrices.py",
        "videop2p_core/host/families/wan.py",
        "videop2p_core/host/prompts/difference_route.py",
        "videop2p_core/host/seam/seam.json",
        "demo/videop2p_demo.safetensors",
        "demo/clips/a_red_rabbit_on_the_beach.mp4",
        "web/videop2p.js",
        "batch/command.py",
        "tools/client.py",
    }
    assert {file.relative_to(ROOT).as_posix() for file in RUN_TIME} <= needed()


@pytest.mark.parametrize("pattern", ["*.json", "/demo/", "/videop2p_core/edit/", "matrices.py", "/tools/"])
def test_an_archive_that_lacks_something_is_found(tmp_path, pattern):
    ignored = tmp_path / "ignored"
    ignored.write_text(f"{IGNORED.read_text(encoding='utf-8')}\n{pattern}\n", encoding="utf-8")
    assert needed() - archived(ignored)


# --- publishing -------------------------------------------------------------------------------------------------------


def jobs(name):
    return yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))["jobs"]


def test_what_is_published_passed_the_readmes_tests():
    test = jobs("tests")["test"]
    command = "python dev.py test"
    assert command in [step.get("run") for step in test["steps"]]
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    publishing = jobs("publish")
    assert publishing["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert publishing["publish"]["needs"] == "tests"
    *_, action = publishing["publish"]["steps"]
    assert action["uses"].startswith("Comfy-Org/publish-node-action@")
    assert re.fullmatch(r"\$\{\{ secrets\.\w+ \}\}", action["with"]["personal_access_token"])


def test_the_engine_is_tested_by_itself():
    commands = [step.get("run", "") for step in jobs("tests")["engine"]["steps"]]
    assert commands[-1] == "python -m pytest tests/core" and "comfyui" not in " ".join(commands).lower()


@pytest.mark.skipif(sys.platform == "win32", reason="the workflow's steps are for a shell")
@pytest.mark.parametrize("file, text", [("pyproject.toml", "PUBLISHER"), ("README.md", "github.com/OWNER/comfyui")])
def test_nothing_is_published_while_an_address_is_to_be_filled_in(tmp_path, file, text):
    (check,) = [step["run"] for step in jobs("publish")["publish"]["steps"] if "filled in" in step.get("name", "")]

    def passes():
        return subprocess.run(["bash", "-e", "-c", check], cwd=tmp_path, capture_output=True).returncode == 0

    for name in ("pyproject.toml", "README.md"):
        (tmp_path / name).write_text("all is filled in, and the owner known")
    assert passes()
    (tmp_path / file).write_text(text)
    assert not passes()


def messages(file):
    """(line, text) of what a file raises, {} for each value in it."""

    def text(node):
        if isinstance(node, ast.JoinedStr):
            return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""

    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            yield node.lineno, text(node.exc.args[0])


NAMES = (
    "EasyCache",
    "AnimateDiff-Evolved",
    "ComfyUI",
    "Ray",
    "Adaptive",
    "Decoupled",
    "LPIPS",
    "Video-P2P",
)  # that sentences begin with


def ill_written(file):
    return [
        f"{file.name}:{line}: {said}"
        for line, said in messages(file)
        if said.rstrip().endswith(".") or (said[:1].isupper() and not said.startswith(NAMES))
    ]


def test_what_is_raised_is_written_in_one_way():
    """Lower case, no full stop: what is wrong, and behind a colon what to do."""
    assert not [line for file in RUN_TIME + BATCH for line in ill_written(file)]


@pytest.mark.parametrize("message, wrong", [("A fault", True), ("a fault.", True), ("a fault: mend it", False)])
def test_another_way_is_found(tmp_path, message, wrong):
    (tmp_path / "file.py").write_text(f"raise ValueError('{message}')")
    assert bool(ill_written(tmp_path / "file.py")) is wrong
