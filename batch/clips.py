"""Where the clips of a table lie, and what they are called by their content."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import fsspec

from .faults import RowError
from .frames import as_clip, frames_in
from .store import Store, sentence

DIGESTS = "clips.json"  # in the results' folder: what was read already


def path_in(folder: Path, name: str) -> str:
    """The path or address of a clip that a cell names, from the table's folder."""
    return name if re.match(r"\w+://", name) else str(folder / name)


def content_of(path: str) -> bytes:
    """Raises RowError where it cannot be read."""
    try:
        if Path(path).is_dir():
            return as_clip(Path(path))
        with fsspec.open(path, "rb") as file:
            return file.read()
    except FileNotFoundError as error:
        raise RowError(f"there is no clip {path}: correct its path") from error
    except Exception as error:  # each store has its own
        raise RowError(f"the clip {path} cannot be read ({sentence(error)}): see to it that it can") from error


class Digests:
    """sha256 of clips, each read once: those of this machine are remembered by their size and time from run to run."""

    def __init__(self, store: Store) -> None:
        self.store, self.new = store, False
        self.digests = json.loads(store.read(DIGESTS) or b"{}")
        self.digest_of: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        if path not in self.digest_of:
            self.digest_of[path] = self._digest(path)
        return self.digest_of[path]

    def _digest(self, path: str) -> str:
        local = Path(path)
        try:
            files = frames_in(local) if local.is_dir() else [local]
            state = " ".join(f"{status.st_size} {status.st_mtime_ns}" for status in (file.stat() for file in files))
        except OSError:  # it is elsewhere, or nowhere
            return hashlib.sha256(content_of(path)).hexdigest()
        if self.digests.get(path, ["", ""])[0] != state:
            content = hashlib.sha256()
            for file in files:
                content.update(content_of(str(file)))
            self.digests[path], self.new = [state, content.hexdigest()], True
        return self.digests[path][1]

    def keep(self) -> None:
        if self.new:
            self.store.write(DIGESTS, json.dumps(self.digests).encode())
