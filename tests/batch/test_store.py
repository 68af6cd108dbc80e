"""Results that are whole or not there, on a disk and in an object store."""

import errno

import pytest
from comfyui_videop2p.batch.faults import BatchError
from comfyui_videop2p.batch.store import DONE, Store
from comfyui_videop2p.videop2p_core.storage import atomic_files
from fsspec.implementations.memory import MemoryFileSystem

FILES = {DONE: b'{"state": "done"}', "edited.mp4": b"clip"}


@pytest.fixture(params=["disk", "object store"])
def store(request, tmp_path):
    if request.param == "disk":
        return Store(str(tmp_path / "out"))
    return Store(f"memory://{tmp_path.name}")


def test_a_result_is_put_once(store):
    assert store.results() == set() and not store.has_result("rabbit")
    assert store.put_result("rabbit", FILES) and not store.put_result("rabbit", FILES | {"edited.mp4": b"other"})
    assert store.results() == {"rabbit"} and store.has_result("rabbit")
    assert store.result("rabbit") == {"state": "done"} and store.read("results/rabbit/edited.mp4") == b"clip"


def test_texts_are_added_and_files_replaced(store):
    store.append("logs/a.log", "one\n")
    store.append("logs/a.log", "two\n")
    store.write("report.html", b"old")
    store.write("report.html", b"new")
    assert store.read("logs/a.log") == b"one\ntwo\n" and store.read("report.html") == b"new"
    assert store.read("none") is None


def test_a_result_that_was_stopped_midway_is_none(tmp_path, monkeypatch):
    store = Store(str(tmp_path))

    def stopped(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(atomic_files, "sync", stopped)
        store.put_result("rabbit", FILES)
    assert store.results() == set() and list((tmp_path / "results").iterdir()) == []
    assert store.put_result("rabbit", FILES)


def test_in_an_object_store_the_mark_of_a_whole_result_comes_last(tmp_path, monkeypatch):
    store, written = Store(f"memory://{tmp_path.name}"), []
    pipe = store.files.pipe_file
    monkeypatch.setattr(store.files, "pipe_file", lambda path, content: written.append(path) or pipe(path, content))
    store.put_result("rabbit", FILES)
    assert [path.rpartition("/")[2] for path in written] == ["edited.mp4", DONE]


class Remembering(MemoryFileSystem):
    """Lists a folder once, as s3fs does, until it is told that this is old."""

    listings: dict = {}  # noqa: RUF012  of all its objects, as the files are

    def glob(self, path, **kwargs):
        return self.listings.setdefault(path, super().glob(path, **kwargs))

    def invalidate_cache(self, path=None):
        self.listings.clear()


def test_what_another_process_put_into_an_object_store_is_there(tmp_path):
    store, of_another = (Store(f"memory://{tmp_path.name}") for _ in range(2))
    store.files = Remembering()
    assert store.put_result("rabbit", FILES) and store.results() == {"rabbit"}
    assert of_another.put_result("star", FILES)
    assert len(store.files.glob(f"{store.root}/results/*/{DONE}")) == 1  # by itself it does not look again
    assert store.results() == {"rabbit", "star"} and store.has_result("star") and not store.put_result("star", FILES)


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    store = Store(str(tmp_path))

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_files, "sync", full)
    for put in (lambda: store.put_result("rabbit", FILES), lambda: store.write("report.html", b"new")):
        with pytest.raises(BatchError, match="is full: free some of it and run the same command again"):
            put()
    assert store.results() == set()


def test_a_place_that_takes_nothing_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    for url in (str(tmp_path / "file" / "out"), "nonsense://out"):
        with pytest.raises(BatchError, match="the results' folder .* cannot be made"):
            Store(url)
