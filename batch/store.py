"""The folder of results, on this machine or wherever fsspec reaches. What lies in it is whole."""

from __future__ import annotations

import errno
import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from ..videop2p_core.storage import atomic_files
from .faults import BatchError

RESULTS, LOGS, ARTEFACTS = "results", "logs", "artefacts"
BEGUN = ".begun"  # where results lie until they are whole
DONE = "result.json"  # the last file of a result: where it is, the others are


class Store:
    """url: a folder, or an address of fsspec's (s3://bucket/folder)."""

    def __init__(self, url: str) -> None:
        try:
            self.files, self.root = fsspec.core.url_to_fs(url)
            self.url = self.root if isinstance(self.files, LocalFileSystem) else url  # another process is elsewhere
            self.files.makedirs(self.root, exist_ok=True)
        except Exception as error:  # each store has its own
            raise BatchError(f"the results' folder {url} cannot be made ({sentence(error)}): name another") from error

    @property
    def folder(self) -> Path | None:
        """Of this machine's disk."""
        return Path(self.root) if isinstance(self.files, LocalFileSystem) else None

    def read(self, name: str) -> bytes | None:
        try:
            return self.files.cat_file(f"{self.root}/{name}")
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Whole, instead of what has that name."""
        if self.folder is None:
            self.files.pipe_file(f"{self.root}/{name}", content)
            return
        path = self.folder / name
        with full_disk_told(self.url), atomic_files.begun(path.parent) as begun:
            begun.write_bytes(content)
            atomic_files.put(begun, path)

    def append(self, name: str, text: str) -> None:
        if self.folder is None:
            self.write(name, (self.read(name) or b"") + text.encode())
            return
        path = self.folder / name
        with full_disk_told(self.url):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                file.write(text)

    def put_result(self, name: str, files: Mapping[str, bytes]) -> bool:
        """All files of a result or none; whether they were new. In an object store DONE comes last."""
        if self.folder is None:
            if self.has_result(name):
                return False
            for file in sorted(files, key=lambda file: file == DONE):
                self.files.pipe_file(f"{self.root}/{RESULTS}/{name}/{file}", files[file])
            return True
        try:
            (self.folder / RESULTS).mkdir(exist_ok=True)
            # Beside the results: in their own folder, thousands of them would be looked through each time.
            with full_disk_told(self.url), atomic_files.begun(self.folder / BEGUN) as begun:
                begun.mkdir()
                for file, content in files.items():
                    (begun / file).write_bytes(content)
                    atomic_files.sync(begun / file)
                atomic_files.put_new(begun, self.folder / RESULTS, [name])
        except FileExistsError:
            return False
        return True

    def has_result(self, name: str) -> bool:
        self.files.invalidate_cache(f"{self.root}/{RESULTS}/{name}")
        return self.files.exists(f"{self.root}/{RESULTS}/{name}/{DONE}")

    def results(self) -> set[str]:
        """The names of all that there are."""
        return {path.split("/")[-2] for path in self.paths(f"{RESULTS}/*/{DONE}")}

    def paths(self, pattern: str) -> list[str]:
        """Of the files that a pattern names, other processes' too: an object store's listing may be an old one."""
        self.files.invalidate_cache()
        try:
            return self.files.glob(f"{self.root}/{pattern}")
        except FileNotFoundError:
            return []

    def result(self, name: str) -> dict[str, Any]:
        return json.loads(self.read(f"{RESULTS}/{name}/{DONE}") or b"{}")


def sentence(error: BaseException) -> str:
    """The first line of what an error says."""
    first, *_ = str(error).strip().splitlines() or [type(error).__name__]
    return first.rstrip(".")[:300]


@contextmanager
def full_disk_told(url: str) -> Generator[None, None, None]:
    """A full disk stops the run, in a sentence: nothing that is made from then on could be kept."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BatchError(f"the disk of {url} is full: free some of it and run the same command again") from error
