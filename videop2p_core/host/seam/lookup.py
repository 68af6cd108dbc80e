"""Whether the host has what a name stands for: looked up in its modules, of which nothing is called.

What a class sets on its objects alone, and keys of dictionaries, are looked up in the text of the host's files: other
packs put functions of their own in the place of the host's.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

USES = {"calls", "takes", "places"}
# In a text: a name as a key, but not as a buffer's, a name among arguments, what sets an attribute of it, where a
# class of it begins and where any class ends.
QUOTED = r"""(?<!register_buffer\()(["']){name}\1"""
ARGUMENT = r"[(,]\s*{name}\s*[=:,)]"
SETTING = r"""(?m)\.{name}\b[^=\n]*=(?!=)|^\s+{name}\s*:|register_(buffer|parameter)\(\s*["']{name}\b"""
CLASS = r"(?m)^class {name}\b"
END = re.compile(r"^(?:class|def|async def|@)|\Z", re.MULTILINE)


class Lookup:
    """modules: those of the host by their names, a symbol's own before it is asked for."""

    def __init__(self) -> None:
        self.modules: dict[str, ModuleType] = {}
        self.texts: dict[str, str | None] = {}  # of modules, and of classes by their paths

    def lacking(self, path: str, need: Mapping[str, Any]) -> str | None:
        """What of a symbol the host lacks, in words; None for nothing. need: how the pack uses it:

        "calls"   [positional arguments, keyword, ...] of every call; None in place of the number where only some of the
                  arguments are known
        "takes"   as how many arguments at most the pack's own method of this name takes what the host hands to it
        "places"  {argument: its place} that the pack finds by its place
        """
        above, _, name = path.rpartition(".")
        owner = self.value_of(above)
        try:
            value = getattr(owner, name)
        except Exception:  # an AttributeError, or whatever a module that makes its members late runs into
            return None if isinstance(owner, type) and self.is_set_by(owner, name) else path
        signature = None if USES.isdisjoint(need) else _signature(value)
        if signature is None:
            return None
        # A method has its object before the arguments.
        bound = isinstance(owner, type) and isinstance(inspect.getattr_static(owner, name, None), FunctionType)
        for number, *keywords in need.get("calls", ()):
            refusal = _refusal(signature, None if number is None else number + bound, keywords)
            if refusal:
                return f"{path} that takes what Video-P2P gives to it ({refusal})"
        places = _places(signature)[bound:]
        if len(places) > need.get("takes", len(places)):
            return f"{path} that hands on {need['takes']} arguments at most"
        for argument, place in need.get("places", {}).items():
            if places[place : place + 1] != [argument]:
                return f"{path} with {argument} as argument {place + 1}"
        return None

    def value_of(self, path: str) -> Any:
        """What a path names below one of the modules."""
        module = next(path[:end] for end in _ends(path) if path[:end] in self.modules)
        value = self.modules[module]
        for name in path[len(module) :].split(".")[1:]:
            value = getattr(value, name)
        return value

    def is_set_by(self, kind: type, name: str) -> bool:
        """Whether objects of a class get an attribute of this name."""
        setting = re.compile(SETTING.format(name=name))
        roots = {module.partition(".")[0] for module in self.modules}
        bases = (base for base in kind.__mro__ if base.__module__.partition(".")[0] in roots)
        return any(text is None or setting.search(text) for text in map(self.class_text, bases))

    def is_named(self, key: str, module: str) -> bool:
        """Whether a module names a key of a dictionary, or any other does, where it may have moved to."""
        texts = map(self.text, (module, *self.modules))
        return any(text is None or _names(text, key) for text in texts)

    def class_text(self, kind: type) -> str | None:
        path = f"{kind.__module__}.{kind.__name__}"
        if path not in self.texts:
            text = self.text(kind.__module__)
            start = re.search(CLASS.format(name=kind.__name__), text) if text else None
            end = END.search(text, start.end()) if text and start else None
            self.texts[path] = text[start.start() : end.start()] if text and start and end else text
        return self.texts[path]

    def text(self, module: str) -> str | None:
        """Of a module's file; None where it cannot be read, and so tells of nothing that is missing."""
        if module not in self.texts:
            try:
                self.texts[module] = Path(str(sys.modules[module].__file__)).read_text(encoding="utf-8")
            except (AttributeError, KeyError, TypeError, OSError, UnicodeDecodeError):
                self.texts[module] = None
        return self.texts[module]


def _ends(path: str) -> list[int]:
    """Of its beginnings, the longest first."""
    return [len(path), *(at for at in range(len(path) - 1, 0, -1) if path[at] == ".")]


def _names(text: str, key: str) -> bool:
    quoted = re.search(QUOTED.format(name=key), text) is not None
    return quoted or re.search(ARGUMENT.format(name=key), text) is not None


def _signature(value: Any) -> inspect.Signature | None:
    """None for what is not called, or says nothing of it, as what is written in C."""
    try:
        return inspect.signature(value) if callable(value) else None
    except Exception:  # a TypeError or a ValueError, or that of a signature that another pack made
        return None


def _places(signature: inspect.Signature) -> list[str]:
    """The arguments that can be given by their place."""
    kinds = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
    return [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]


def _refusal(signature: inspect.Signature, number: int | None, keywords: list[str]) -> str | None:
    """Why a call of this form would fail."""
    bind = signature.bind_partial if number is None else signature.bind
    try:
        bind(*[None] * (number or 0), **dict.fromkeys(keywords))
    except TypeError as error:
        return str(error)
    return None
