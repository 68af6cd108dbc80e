"""Write what the pack relies on of ComfyUI anew: `python dev.py seam`, after a change of what it takes from there."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import environment
from ..environment import ROOT
from ..pack import use_host
from . import graph, hints
from .classes import Classes
from .reading import HostUses, read
from .running import Running

COMMAND = "python dev.py seam"
TABLE = ROOT / "videop2p_core" / "host" / "seam" / "seam.json"
MODULES = TABLE.with_name("modules.py")
Table = dict[str, Any]


def table(texts: dict[str, str]) -> Table:
    """Of the pack's files {name: text}. Raises ValueError where hints are missing, or are not needed any more."""
    use_host()
    running = Running()
    trees = {name: ast.parse(text) for name, text in texts.items()}
    classes = Classes(trees.values(), running)
    uses_by_file = {name: read(name, text, classes, running) for name, text in texts.items()}
    unneeded = hints.every().difference(*(one.hints for one in uses_by_file.values()))
    odd = [sentence for one in uses_by_file.values() for sentence in one.odd]
    odd += [f"no code needs the hint {hint}" for hint in unneeded]
    if odd:
        raise ValueError("\n".join(sorted(odd)))
    keys = {
        key: {"of": running.owner_of_key(key), "by": users(uses_by_file, "keys", key)}
        for key in every(uses_by_file, "keys")
    }
    modules = {name: set(users(uses_by_file, "modules", name)) for name in every(uses_by_file, "modules")}
    for key in keys.values():
        modules.setdefault(key["of"], set()).update(key["by"])
    return {
        "ran_on": sorted(environment.HOSTS),
        "parts": graph.parts(trees),
        "modules": {name: {"by": sorted(by)} for name, by in sorted(modules.items())},
        "symbols": {path: symbol(path, uses_by_file) for path in every(uses_by_file, "symbols")},
        "keys": keys,
    }


def every(uses_by_file: dict[str, HostUses], kind: str) -> list[str]:
    return sorted({name for one in uses_by_file.values() for name in getattr(one, kind)})


def users(uses_by_file: dict[str, HostUses], kind: str, name: str) -> list[str]:
    return [file for file, one in uses_by_file.items() if name in getattr(one, kind)]


def symbol(path: str, uses_by_file: dict[str, HostUses]) -> dict[str, Any]:
    """As lookup.Lookup.lacking has it, and "by" whom."""
    uses = [one.symbols[path] for one in uses_by_file.values() if path in one.symbols]
    calls = sorted({call for use in uses for call in use.calls}, key=str)
    positional = [use.takes for use in uses if use.takes is not None]
    places = {argument: place for use in uses for argument, place in use.places.items()}
    return {
        "by": users(uses_by_file, "symbols", path),
        **({"calls": [[number, *keywords] for number, keywords in calls]} if calls else {}),
        **({"takes": min(positional)} if positional else {}),
        **({"places": places} if places else {}),
    }


# --- the files --------------------------------------------------------------------------------------------------------


def as_text(table: Table) -> str:
    """As JSON with a line for each need."""

    def lines(section: dict[str, Any]) -> str:
        return ",".join(f"\n  {json.dumps(name)}: {json.dumps(need)}" for name, need in section.items())

    sections = (f'"{name}": {{{lines(table[name])}\n }}' for name in ("parts", "modules", "symbols", "keys"))
    return "{\n " + ",\n ".join([f'"ran_on": {json.dumps(table["ran_on"])}', *sections]) + "\n}\n"


def as_code(modules: Iterable[str]) -> str:
    """The host's modules by their names, without a way to import whatever a text names."""
    cases = "".join(f'        case "{name}":\n            import {name} as module\n' for name in modules)
    return f'''"""The host's modules that the pack needs, by their names. Written by `{COMMAND}`."""

from types import ModuleType


def host_module(name: str) -> ModuleType:
    """A module of the host, by its name; raises what its import raises."""
    match name:
{cases}        case _:
            raise ModuleNotFoundError(name)
    return module
'''


def present() -> dict[Path, str]:
    """The text of every file that the code gives rise to."""
    now = table({name: file.read_text(encoding="utf-8") for name, file in graph.files().items()})
    return {TABLE: as_text(now), MODULES: as_code(now["modules"])}


def main() -> str | None:
    try:
        texts = present()
    except ValueError as error:
        return str(error)
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
        print(f"written: {file}")


if __name__ == "__main__":
    raise SystemExit(main())
