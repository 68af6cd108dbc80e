"""Files and folders that are whole from the moment they have a name, and whose names outlive a power cut.

Until then they lie in a folder with a dot before its name, beside the place that they are to have, which nothing lists.
"""

import errno
import os
import shutil
import time
import uuid
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

BEGUN = ".videop2p-"
ABANDONED = 24 * 3600  # seconds without a change after which nobody is writing any more
NO_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EACCES}  # of folders: some network file systems, folders not ours to list


@contextmanager
def begun(folder: Path) -> Generator[Path, None, None]:
    """A name, of no file yet, for what is being written and is to be in a folder; what has not been put there in the
    end is removed, and what a killed process left is a day after."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{BEGUN}*"):
        with suppress(OSError):  # another process may be removing it
            if time.time() - left.stat().st_mtime > ABANDONED:
                _remove(left)
    # In a folder of its own, as who writes it may begin with files of other names.
    place = folder / f"{BEGUN}{uuid.uuid4().hex}"
    try:
        place.mkdir()
        yield place / "begun"
    finally:
        _remove(place)


def put(begun: Path, path: Path) -> None:
    """Give a finished file its name, instead of whatever has that."""
    sync(begun)
    os.replace(begun, path)
    sync(path.parent)


def put_new(begun: Path, folder: Path, names: Iterable[str]) -> Path:
    """Give a finished file or folder the first of these names in a folder that nobody has or takes meanwhile.

    The files in a folder have to be synced already.
    """
    sync(begun)
    for path in map(folder.joinpath, names):
        if os.path.lexists(path):
            continue
        try:
            _move(begun, path)
        except OSError:
            if os.path.lexists(path):  # somebody was faster
                continue
            raise
        sync(folder)
        return path
    raise FileExistsError(f"all names in {folder} are taken")


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if path.is_dir() and os.name == "nt":  # writes names down by itself, and opens no folders
        return
    try:
        handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if not (path.is_dir() and error.errno in NO_SYNC):
            raise


def _move(begun: Path, path: Path) -> None:
    """To a name that nobody has: an OSError otherwise."""
    if begun.is_dir() or os.name == "nt":
        os.rename(begun, path)
        return
    try:
        os.link(begun, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: take the name first, with nothing behind it for a moment
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        try:
            os.replace(begun, path)
        except BaseException:
            path.unlink()
            raise


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
