"""Where the clips of a table lie, and what they are called by their content."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import fsspec

from .faults import RowError
from .store import Store, sentence

KNOWN = "clips.json"  # in the results' folder: what was read already


def path_in(folder: Path, name: str) -> str:
    """The path or address of a clip that a cell names, from the table's folder."""
    return name if re.match(r"\w+://", name) else str(folder / name)


def content_of(path: str) -> bytes:
    """Raises RowError where it cannot be read."""
    try:
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
        self.known = json.loads(store.read(KNOWN) or b"{}")
        self.asked: dict[str, str] = {}

    def __call__(self, path: str) -> str:
        if path not in self.asked:
            self.asked[path] = self._digest(path)
        return self.asked[path]

    def _digest(self, path: str) -> str:
        try:
            status = Path(path).stat()
        except OSError:
            return hashlib.sha256(content_of(path)).hexdigest()
        state = f"{status.st_size} {status.st_mtime_ns}"
        if self.known.get(path, ["", ""])[0] != state:
            self.known[path], self.new = [state, hashlib.sha256(content_of(path)).hexdigest()], True
        return self.known[path][1]

    def keep(self) -> None:
        if self.new:
            self.store.write(KNOWN, json.dumps(self.known).encode())
