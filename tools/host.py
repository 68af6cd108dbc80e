"""A ComfyUI server with this pack linked in, that keeps all it writes in a folder of its own."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from .pack import ROOT, host_flags

PACK = "comfyui-videop2p"
TIED = Path(__file__).with_name("tied.py")
# A proxy set for the outside world must not stand between us and this machine.
LOCAL = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class HostError(Exception):
    """The server does not run as it should; the message says why."""


class Host:
    """`with Host(comfyui, folder) as host: host.get("/object_info")`

    comfyui: the ComfyUI folder; nothing is written there.
    folder: becomes ComfyUI's base directory (custom_nodes, input, output, user, and the log, host.log).
    flags: more of ComfyUI's command-line flags.
    models: the models folder, by default the ComfyUI folder's own.
    packs: folders of other node packs to link in as well.
    python: the interpreter that has ComfyUI's requirements.
    tied: whether it ends with this process, however that ends.
    """

    def __init__(
        self, comfyui, folder, flags=(), port=None, python=sys.executable, patience=180, models=None, packs=(),
        tied=False,
    ):  # fmt: skip
        self.comfyui = Path(comfyui).resolve()
        self.folder = Path(folder).resolve()
        self.flags = list(flags)
        self.models = Path(models).resolve() if models else self.comfyui / "models"
        self.packs = [Path(pack).resolve() for pack in packs]
        self.port = port
        self.python = str(python)
        self.patience = patience  # seconds until it has to answer
        self.tied = tied
        self.log = self.folder / "host.log"

    def __enter__(self):
        main = self.comfyui / "main.py"
        if not main.is_file():
            raise HostError(f"no ComfyUI in {self.comfyui}: set COMFYUI_PATH to the folder that holds its main.py")
        link(ROOT, self.folder / "custom_nodes" / PACK)
        for pack in self.packs:
            link(pack, self.folder / "custom_nodes" / pack.name)
        self.port = free_port() if self.port is None else checked_port(self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        program = [str(TIED), str(main)] if self.tied else [str(main)]
        command = [
            self.python, *program, "--port", str(self.port), "--base-directory", str(self.folder),
            "--database-url", "sqlite:///:memory:", "--disable-auto-launch", "--disable-api-nodes",
            *([] if has_accelerator(self.python) else ["--cpu"]), *frontend_flags(), *host_flags(), *self.flags,
        ]  # fmt: skip
        if self.models.is_dir():
            command += ["--models-directory", str(self.models)]
        with self.log.open("wb") as log:
            stdin = subprocess.PIPE if self.tied else subprocess.DEVNULL
            self.process = subprocess.Popen(command, cwd=self.folder, stdin=stdin, stdout=log, stderr=subprocess.STDOUT)
        try:
            self.wait_until_it_answers()
            self.check_pack()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def wait_until_it_answers(self):
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise HostError(f"ComfyUI ended while starting; the end of {self.log}:\n{self.log_tail()}")
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise HostError(f"ComfyUI did not answer within {self.patience} s; the end of {self.log}:\n{self.log_tail()}")

    def check_pack(self):
        # To ComfyUI a pack that fails is only a warning.
        if re.search(rf"IMPORT FAILED.*{PACK}", self.log_text()):
            raise HostError(f"ComfyUI could not load this pack; the end of {self.log}:\n{self.log_tail()}")

    def pack_nodes(self):
        """Ids of the nodes that this pack registered."""
        info = self.get("/object_info")
        return sorted(name for name, node in info.items() if node["python_module"] == f"custom_nodes.{PACK}")

    def get(self, path):
        with LOCAL.open(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def log_text(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines=30):
        return "\n".join(self.log_text().splitlines()[-lines:])

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def frontend_flags():
    """For the frontend in the folder VP2P_FRONTEND, where there is no such variable for the installed one."""
    folder = os.environ.get("VP2P_FRONTEND")
    return ["--front-end-root", folder] if folder else []


def peers():
    """Checkouts of other packs to be tested beside: the folders in VP2P_PEERS."""
    folder = os.environ.get("VP2P_PEERS")
    return sorted(path for path in Path(folder).iterdir() if path.is_dir()) if folder else []


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def checked_port(port):
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise HostError(f"port {port} is taken: name another one, or none for a free one")
    return port


def has_accelerator(python):
    question = "import sys, torch; sys.exit(0 if torch.accelerator.is_available() else 3)"
    return subprocess.run([python, "-c", question]).returncode == 0


def link(source, target):
    """Make the folder `target` show the folder `source`, replacing an older link."""
    source, target = Path(source), Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        if target.exists() and target.samefile(source):
            return
        os.unlink(target)
    if sys.platform == "win32":
        # A junction, because a symbolic link needs a privilege there.
        import _winapi

        _winapi.CreateJunction(str(source), str(target))
    else:
        target.symlink_to(source, target_is_directory=True)
