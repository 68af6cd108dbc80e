"""The seam to ComfyUI: what the pack relies on there, looked up before anything is imported that would fail without it.

seam.json names all of it, and what of the pack needs it; `python dev.py seam` writes it from the code. Each thing that
is missing becomes a sentence in the log, and the parts that need it are left out: the files of nodes/, and the route
that the browser asks. All others are as they were.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ...log import LOG
from .lookup import Lookup
from .modules import host_module

TABLE = json.loads(Path(__file__).with_name("seam.json").read_text(encoding="utf-8"))
PARTS: dict[str, dict[str, list[str]]] = TABLE["parts"]
ROUTES = "routes"


@dataclass(frozen=True)
class Lack:
    """what: the host lacks, in words; parts: of the pack that cannot be without it, at least one."""

    what: str
    parts: tuple[str, ...]

    def sentence(self) -> str:
        return f"ComfyUI {version()} has no {self.what}, so {consequence(self.parts)}"


def imported(parts: Sequence[str], import_part: Callable[[str], ModuleType]) -> list[ModuleType]:
    """Those parts that the host has everything for, imported. The log tells what it lacks, each thing once: what other
    parts need as well is told with the first of them."""
    missing = lacks(parts)
    for lack in missing:
        if lack.parts[0] in parts:
            LOG.warning(lack.sentence())
    without = {part for lack in missing for part in lack.parts}
    modules = []
    for part in (part for part in parts if part not in without):
        try:
            modules.append(import_part(part))
        except Exception as error:  # of a host that nobody has seen yet
            LOG.warning(
                f"ComfyUI {version()} is no host for {part}.py ({in_one_line(error)}), so {consequence([part])}"
            )
            LOG.debug(f"Video-P2P: the import of {part}.py", exc_info=True)
    return modules


def consequence(parts: Sequence[str]) -> str:
    """What becomes of the pack without these parts, and what to do."""
    nodes = [node for part in parts for node in PARTS[part]["nodes"]]
    lost = ["words are not compared while they are typed"] if ROUTES in parts else []
    lost += [f"these nodes of Video-P2P are left out: {', '.join(nodes)}"] if nodes else []
    return (
        f"{' and '.join(lost)}; update Video-P2P, or run it on ComfyUI {' or '.join(TABLE['ran_on'])}, as its tests do"
    )


def version() -> str:
    """Of ComfyUI."""
    try:
        from comfyui_version import __version__
    except ImportError:
        return "of an unknown version"
    return __version__


def in_one_line(error: Exception) -> str:
    """An error in one line: its class and the first line of its words."""
    first, *_ = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def lacks(parts: Sequence[str]) -> list[Lack]:
    """What the host lacks of all that these parts need; of a module or a class that it lacks none of its members."""
    modules = {module for part in parts for module in PARTS[part]["modules"]}
    host, missing, gone = Lookup(), [], []

    def needs(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        return ((name, need) for name, need in TABLE[kind].items() if not modules.isdisjoint(need["by"]))

    def lacking(need: dict[str, Any], what: str) -> None:
        missing.append(
            Lack(what, tuple(part for part in PARTS if not set(need["by"]).isdisjoint(PARTS[part]["modules"])))
        )

    for name, need in needs("modules"):
        try:
            host.modules[name] = host_module(name)
        except Exception as error:  # whatever the module runs into, or another pack made of it
            gone.append(name)
            lacking(need, f"{name} ({in_one_line(error)})")
    for path, need in needs("symbols"):  # a class before its members
        what = None if any(path.startswith(f"{above}.") for above in gone) else host.lacking(path, need)
        if what is not None:
            gone.append(path)
            lacking(need, what)
    for key, need in needs("keys"):
        if need["of"] in host.modules and not host.is_named(key, need["of"]):
            lacking(need, f"'{key}' in {need['of']}")
    return missing
