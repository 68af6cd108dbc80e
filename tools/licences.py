"""The licences of all that requirements-dev.lock installs, and of what a user's pip installs for this pack.

A package says its licence in its metadata, in an SPDX expression or in one of many other ways. What it says must be
one of PERMISSIVE, or stand in EXCEPTIONS with a word on why it is there all the same; nothing of either is part of this
repository. Packages that only other systems install are not looked at.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, metadata, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .environment import LOCK, ROOT

# BSD is what a package says that does not say with how many clauses.
PERMISSIVE = {
    "0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0",
    "CNRI-Python", "ISC", "MIT", "MIT-CMU", "PSF-2.0", "Zlib",
}  # fmt: skip
SPELLINGS = {
    "Apache 2.0": "Apache-2.0", "Apache 2.0 License": "Apache-2.0", "Apache Software License": "Apache-2.0",
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause", "BSD License": "BSD", "ISC License": "ISC", "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0", "NVIDIA Proprietary Software": "LicenseRef-NVIDIA-Proprietary",
}  # fmt: skip
CUDA = "of CUDA, which torch's wheels for Linux call for; used on an NVIDIA card alone"
WHOLE_FILES = "its copyleft ends at its own files, which are not changed here"
# Name: what it says, and why it may be there.
EXCEPTIONS = {
    "nvidia-*": ("LicenseRef-NVIDIA-Proprietary", CUDA),
    "cuda-toolkit": ("", f"names packages {CUDA}; holds no code"),
    "comfy-aimdo": ("", "GPL-3.0 by its LICENSE file; a part of ComfyUI, as a program of its own beside the pack"),
    "comfyui-frontend-package": ("", "GPL-3.0 by its repository; ComfyUI's own page, which the tests open"),
    "hypothesis": ("MPL-2.0", f"for tests alone; {WHOLE_FILES}"),
    "certifi": ("MPL-2.0", f"certificates, which ComfyUI needs itself (by requests); {WHOLE_FILES}"),
    "tqdm": ("MPL-2.0 AND MIT", f"ComfyUI needs it itself; {WHOLE_FILES}"),
}
FOR_USERS = {"certifi", "tqdm"}  # those of EXCEPTIONS that requirements.txt may bring
FROM_COMFYUI = {"torch", "numpy"}  # never installed for the pack, nor what they bring


def licence(name: str) -> str:
    """What an installed package says, in SPDX where it can be told; empty if it says nothing."""
    fields = metadata(name)
    text = fields.get("License-Expression") or fields.get("License") or ""
    if not text or "\n" in text:  # a whole licence, or none
        classifiers = [line for line in fields.get_all("Classifier", []) if line.startswith("License :: ")]
        named = dict.fromkeys(line.rpartition(" :: ")[2] for line in classifiers)
        return " AND ".join(SPELLINGS.get(name, name) for name in named)
    return SPELLINGS.get(text, text)


def permissive(expression: str) -> bool:
    """Of every licence of an SPDX expression, so that a choice (OR) need not be made."""
    return all(part.strip("() ") in PERMISSIVE for part in re.split(r" (?:AND|OR) ", expression))


def exception(name: str, expression: str) -> str:
    """Why a package may be installed that says this of its licence; empty if nothing speaks for it."""
    return next((why for form, (of, why) in EXCEPTIONS.items() if fnmatch(name, form) and of == expression), "")


def locked(text: str) -> list[str]:
    """The packages of a lock that this system installs."""
    lines = (Requirement(line.rstrip("\\ ")) for line in text.splitlines() if re.match(r"\w", line))
    return [canonicalize_name(line.name) for line in lines if line.marker is None or line.marker.evaluate()]


def needed(requirements: Iterable[str]) -> set[str]:
    """What these requirements bring, themselves among it, as far as ComfyUI does not bring it."""
    visited, open_ = set(), [(Requirement(line), "") for line in requirements]
    while open_:
        one, extra = open_.pop()
        name = canonicalize_name(one.name)
        if name in FROM_COMFYUI or one.marker and not one.marker.evaluate({"extra": extra}):
            continue
        for extra_of_it in ("", *one.extras):
            if (name, extra_of_it) not in visited:
                visited.add((name, extra_of_it))
                open_ += [(Requirement(line), extra_of_it) for line in requires(name) or ()]
    return {name for name, _ in visited}


def unwelcome(names: Iterable[str], users: set[str]) -> Iterator[str]:
    """A sentence for each package whose licence nobody agreed to. users: those that are installed for users as well."""
    for name in names:
        expression = licence(name)
        if permissive(expression):
            continue
        sentence = f"{name} says of its licence: {expression or 'nothing'}."
        if not exception(name, expression):
            yield f"{sentence} Look at it; then it may stand in PERMISSIVE or in EXCEPTIONS of tools/licences.py."
        elif name in users and name not in FOR_USERS:
            yield f"{sentence} requirements.txt brings it to users, who need permissive licences."


def main() -> int:
    try:
        names = locked(LOCK.read_text(encoding="utf-8"))
        lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
        users = needed(line for line in lines if line and not line.startswith("#"))
        for name in names:
            expression, whose = licence(name), "users" if name in users else ""
            print(f"{name:26} {whose:6} {expression or '-':50} {exception(name, expression)}".rstrip())
    except PackageNotFoundError as error:
        return f"{error.name} is not installed: run this in the locked environment, by `python dev.py licences`"
    wrong = list(unwelcome(sorted({*names, *users}), users))
    print(f"\n{len(names)} packages, {len(users)} of them for users too, {len(wrong)} with a licence not agreed to")
    print("".join(f"{sentence}\n" for sentence in wrong), end="")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
