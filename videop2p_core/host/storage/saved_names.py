"""The names of saved inversions and tunings, and where they lie below ComfyUI's models folder."""

import os
import unicodedata
from pathlib import Path, PurePath

import folder_paths

from ...storage.official_checkpoint import checkpoint_folders

INVERSIONS, TUNINGS = "inversions", "tunings"


def register_folders() -> None:
    """models/videop2p/inversions and models/videop2p/tunings; extra_model_paths.yaml may name more of them."""
    for kind in (INVERSIONS, TUNINGS):
        path = os.path.join(folder_paths.models_dir, "videop2p", kind)
        folder_paths.add_model_folder_path(folder_of(kind), path, is_default=True)


def saved_names(kind: str) -> list[str]:
    """What a loader of this kind (INVERSIONS or TUNINGS) offers: files, and folders in diffusers' layout."""
    files = folder_paths.get_filename_list(folder_of(kind))
    files = [name for name in files if not any(part.startswith(".") for part in PurePath(name).parts)]
    folders = checkpoint_folders(files) if kind == TUNINGS else []
    alone = [name for name in files if not any(name.startswith(folder + os.sep) for folder in folders)]
    return sorted([name for name in alone if name.endswith(".safetensors")] + folders)


def listed_name(kind: str, name: str) -> str:
    """The name as a loader here offers it, of a workflow from a system with other separators, Unicode forms or case;
    as it is where none or several are alike."""
    names = saved_names(kind)
    alike = [] if name in names else [other for other in names if _plain(other) == _plain(name)]
    return alike[0] if len(alike) == 1 else name


def validated(kind: str, name: str | None) -> bool | str:
    """Whether there is such a file, as the host asks before anything runs: True, or what is wrong. name: None where
    another node gives it."""
    try:
        return name is None or bool(path_of(kind, name))
    except FileNotFoundError as error:
        return str(error)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name.replace("\\", "/")).casefold()


def path_of(kind: str, name: str) -> str:
    """Of a name that a loader offers, see `listed_name`. Raises FileNotFoundError, in a sentence."""
    name = listed_name(kind, name)
    path = folder_paths.get_full_path(folder_of(kind), name)
    if path is None and kind == TUNINGS:
        roots = map(Path, folder_paths.get_folder_paths(folder_of(kind)))
        path = next((str(root / name) for root in roots if name in saved_names(kind) and (root / name).is_dir()), None)
    if path is None:
        raise FileNotFoundError(f"there is no {name} in models/videop2p/{kind}: choose another, or copy it there")
    return path


def changed(kind: str, name: str) -> str:
    """Another text whenever the file is another one, or one of a folder's."""
    path = Path(path_of(kind, name))
    states = [file.stat() for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.exists()]
    return ", ".join(f"{status.st_mtime_ns} {status.st_size}" for status in states)


def folder_of(kind: str) -> str:
    """What the host calls the folders of a kind."""
    return f"videop2p_{kind}"


register_folders()
