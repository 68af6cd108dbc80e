"""The ComfyUIs that do the work: one that this process starts, or one that runs already."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from ..tools.client import Ran, run_graph, shown_files
from ..tools.host import LOCAL, Host, HostError, link
from ..tools.pack import ROOT
from .columns import LOADERS
from .faults import START, BatchError, LostError, RowError
from .graph import Graph, Place, is_link, title_of
from .store import ARTEFACTS, Store, full_disk_told
from .template import ARTEFACT_NODES

PREFIX = "batch"  # the folder of kept work below models/videop2p/KIND
SHOWN = ("images", "gifs")  # where output nodes tell of their files
Progress = Callable[[str, int, int], None]


class RunningServer:
    """A ComfyUI at an address, with all that batch asks of it. What it keeps stays with it."""

    def __init__(self, url: str) -> None:
        self.url, self.prompt = url.rstrip("/"), ""

    @property
    def label(self) -> str:
        """As logs call it."""
        return f"ComfyUI at {self.url}"

    def start(self) -> None:
        """Raises LostError where there is no ComfyUI."""
        self.get("/system_stats")

    def stop(self) -> None:
        """End the graph that runs for us, and leave others' alone."""
        if self.prompt:
            with suppress(LostError):
                self._post("/queue", {"delete": [self.prompt]})
                self._post("/interrupt", {"prompt_id": self.prompt})

    def comes_back(self) -> bool:
        """After it was lost."""
        try:
            self.start()
        except LostError:
            return False
        return True

    def run(self, graph: Graph, progress: Progress) -> Ran:
        """Raises GraphError, ConnectionLostError among them."""
        try:
            return run_graph(self.url, graph, progress, self._queued)
        finally:
            self.prompt = ""

    def files(self, output: Mapping[str, Any]) -> list[tuple[str, bytes]]:
        """(name, content) of what an output node showed."""
        shown = next((output[kind] for kind in SHOWN if kind in output), [])
        names = [{key: file[key] for key in ("filename", "subfolder", "type")} for file in shown]
        try:
            contents = shown_files(self.url, {"images": names})
            return [(file["filename"], content) for file, content in zip(names, contents, strict=True)]
        except OSError as error:
            raise LostError(f"ComfyUI at {self.url} does not hand over what it made ({error})") from error

    def check(self, graph: Graph, set_elsewhere: set[Place]) -> None:
        """Raises BatchError where this ComfyUI lacks a node or a file that the graph names."""
        info = self.get("/object_info")
        for node, entry in graph.items():
            title, class_info = title_of(entry), info.get(entry["class_type"])
            if class_info is None:
                raise BatchError(
                    f"ComfyUI at {self.url} has no node {entry['class_type']} ('{title}'): install its pack"
                )
            for name, value in entry["inputs"].items():
                choices = options(class_info, name)
                set_here = (node, name) not in set_elsewhere and LOADERS.get(entry["class_type"]) != name
                if set_here and choices and not is_link(value) and value not in choices:
                    raise BatchError(
                        f"ComfyUI at {self.url} has no '{value}' for {name} of '{title}': put it there, or choose in "
                        f"the graph among {', '.join(map(str, choices[:5]))}"
                    )

    def give_clip(self, file: str, content: bytes) -> None:
        if self._answers(f"/view?{urlencode({'filename': file, 'type': 'input'})}"):
            return
        boundary = uuid4().hex
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{file}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        try:
            self._send("/upload/image", body, f"multipart/form-data; boundary={boundary}")
        except BatchError as error:
            size = len(content) / 2**20
            raise RowError(f"{error}; the clip has {size:.0f} MiB: start it with a larger --max-upload-size") from error

    def artefact_name(self, class_type: str, key: str) -> str | None:
        """What the loader of a source calls its work, where it is kept."""
        nodes = ARTEFACT_NODES[class_type]
        names = options(self.get(f"/object_info/{nodes.load}")[nodes.load], nodes.name)
        return next((name for name in names if name.replace("\\", "/").startswith(f"{PREFIX}/{key}_")), None)

    def keep(self, class_type: str, name: str) -> None:
        """After a work was saved."""

    def tidy(self) -> None:
        """After a job."""

    def get(self, path: str) -> Any:
        return json.loads(self._send(path))

    def _queued(self, prompt: str) -> None:
        self.prompt = prompt

    def _post(self, path: str, body: Mapping[str, Any]) -> None:
        self._send(path, json.dumps(body).encode(), "application/json")

    def _answers(self, path: str) -> bool:
        try:
            with LOCAL.open(self.url + path, timeout=30) as answer:
                return answer.status == 200
        except urllib.error.HTTPError:
            return False
        except OSError as error:
            raise LostError(f"ComfyUI at {self.url} does not answer ({error})") from error

    def _send(self, path: str, body: bytes | None = None, kind: str = "") -> bytes:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": kind} if kind else {})
        try:
            with LOCAL.open(request, timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            raise BatchError(
                f"ComfyUI at {self.url} refuses {path.partition('?')[0]} ({error}): see its log"
            ) from error
        except (OSError, ValueError) as error:
            raise LostError(f"ComfyUI at {self.url} does not answer ({error})") from error


class OwnServer(RunningServer):
    """A ComfyUI that runs while this process does, in a folder of its own; kept work goes into the store.

    comfyui: the folder whose code, models and other packs it has; folder: its input, output and user folders.
    """

    def __init__(self, comfyui: Path, folder: Path, store: Store) -> None:
        super().__init__("")
        self.comfyui, self.folder, self.store = comfyui, folder, store
        self.artefacts = folder / "models" / "videop2p"
        self.host: Host | None = None

    @property
    def label(self) -> str:
        return f"{super().label}, process {self.host.process.pid if self.host else None}"

    def start(self) -> None:
        if not (self.comfyui / "main.py").is_file():
            raise BatchError(f"no ComfyUI in {self.comfyui}: name its folder with --comfyui, or in COMFYUI_PATH")
        with full_disk_told(str(self.folder)):
            self._make_folders()
        paths = self.folder / "models.yaml"
        others = {f"videop2p_{nodes.kind}": nodes.kind for nodes in ARTEFACT_NODES.values()}
        section = {"base_path": str(self.comfyui / "models" / "videop2p")} | others
        paths.write_text(json.dumps({"artists_own": section}), encoding="utf-8")  # which YAML reads
        packs = [path for path in (self.comfyui / "custom_nodes").glob("*") if _is_other_pack(path)]
        flags = ["--extra-model-paths-config", str(paths)]
        host = Host(self.comfyui, self.folder, flags, models=self.folder / "models", packs=packs, tied=True)
        try:
            self.host = host.__enter__()
        except HostError as error:
            raise LostError(str(error), START) from error
        self.url = host.url

    def stop(self) -> None:
        if self.host is not None:
            self.host.stop()
            self.host = None

    def comes_back(self) -> bool:
        return True  # it is started with the next job

    def give_clip(self, file: str, content: bytes) -> None:
        path = self.folder / "input" / file
        if not path.is_file():
            with full_disk_told(str(self.folder)):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def artefact_name(self, class_type: str, key: str) -> str | None:
        kind = ARTEFACT_NODES[class_type].kind
        folder = self.artefacts / kind / PREFIX
        if self.store.folder is None and not any(folder.glob(f"{key}_*")):
            for path in self.store.paths(f"{ARTEFACTS}/{kind}/{PREFIX}/{key}_*"):
                folder.mkdir(parents=True, exist_ok=True)
                whole = folder / path.rpartition("/")[2]
                self.store.files.get_file(path, str(begun := whole.with_suffix(".begun")))
                os.replace(begun, whole)
        return next((f"{PREFIX}/{path.name}" for path in folder.glob(f"{key}_*.safetensors")), None)

    def keep(self, class_type: str, name: str) -> None:
        if self.store.folder is None:
            kind = ARTEFACT_NODES[class_type].kind
            path = f"{self.store.root}/{ARTEFACTS}/{kind}/{name.replace(os.sep, '/')}"
            self.store.files.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.store.files.put_file(str(self.artefacts / kind / name), path)

    def tidy(self) -> None:
        for name in ("output", "temp", "input"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(exist_ok=True)

    def _make_folders(self) -> None:
        """A models folder that shows ComfyUI's own, and the store's kept work."""
        models = self.folder / "models"
        models.mkdir(parents=True, exist_ok=True)
        for path in (self.comfyui / "models").glob("*"):
            if path.is_dir() and path.name != "videop2p":
                link(path, models / path.name)
        if self.store.folder is not None:
            artefacts = self.store.folder / ARTEFACTS
            artefacts.mkdir(exist_ok=True)
            link(artefacts, self.artefacts)


def options(info: Mapping[str, Any], name: str) -> list[Any]:
    """The choices of a node's input, from /object_info; empty for one that has none."""
    for inputs in info["input"].values():
        match inputs.get(name) if isinstance(inputs, dict) else None:
            case [list() as choices, *_] | ["COMBO", {"options": choices}, *_]:
                return choices
    return []


def _is_other_pack(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith((".", "__")) and path.resolve() != ROOT


def comfyui_folder(named: str | None) -> Path:
    """That which was named, COMFYUI_PATH's, or the one that this pack lies in."""
    folder = (
        named or os.environ.get("COMFYUI_PATH") or (ROOT.parents[1] if ROOT.parent.name == "custom_nodes" else None)
    )
    if folder is None:
        raise BatchError(
            "there is no telling which ComfyUI to start: name its folder with --comfyui or in COMFYUI_PATH"
        )
    return Path(folder).expanduser().resolve()
