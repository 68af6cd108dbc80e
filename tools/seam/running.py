"""The ComfyUI that runs here, asked what a name of its stands for."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from pathlib import Path

import torch

from ...videop2p_core.host.seam.lookup import Lookup
from ..pack import host_path
from . import hints

# Of these a name says nothing of whose object it is.
COMMON = (torch.Tensor, torch.nn.Module, torch.Generator, dict, list, set, str, bytes, Path)


class Running:
    def __init__(self) -> None:
        self.root = host_path()
        self.lookup = Lookup()
        self.is_module = cache(_is_module)

    def is_hosts(self, module: str) -> bool:
        root = module.partition(".")[0]
        return (self.root / f"{root}.py").is_file() or (self.root / root).is_dir()

    def bindings(self, tree: ast.Module) -> Iterator[tuple[str, str]]:
        """(name, path) of what a file imports of the host."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in filter(lambda alias: self.is_hosts(alias.name), node.names):
                    yield (alias.asname, alias.name) if alias.asname else (alias.name.partition(".")[0],) * 2
            elif isinstance(node, ast.ImportFrom) and not node.level and self.is_hosts(node.module):
                yield from ((alias.asname or alias.name, f"{node.module}.{alias.name}") for alias in node.names)

    def imports(self, tree: ast.Module) -> Iterator[str]:
        """The host's modules that a file imports, by their whole names."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if self.is_hosts(alias.name))

    def module_of(self, path: str) -> str:
        """The module that a symbol stands in."""
        while not self.is_module(path):
            path = path.rpartition(".")[0]
        return path

    def has(self, path: str) -> bool:
        """Whether there is such a symbol, or objects of a class have it."""
        above, _, name = path.rpartition(".")
        owner = self._found(above)
        return hasattr(owner, name) or isinstance(owner, type) and self.lookup.is_set_by(owner, name)

    def is_class(self, path: str) -> bool:
        above, _, name = path.rpartition(".")
        return isinstance(getattr(self._found(above), name, None), type)

    def is_common(self, path: str, name: str) -> bool:
        """Whether a class has a member from Python or torch alone."""
        return name in dir(type) or issubclass(self._found(path), torch.nn.Module) and name in dir(torch.nn.Module())

    def _found(self, path: str):
        module = self.module_of(path)
        self.lookup.modules.setdefault(module, importlib.import_module(module))
        return self.lookup.value_of(path)

    @cached_property
    def telling_names(self) -> set[str]:
        """Names that members of the hinted classes have, and nothing that is common."""
        kinds = {
            kind for kinds_by_name in hints.KIND_OF_NAME.values() for kind in kinds_by_name.values() if "." in kind
        }
        names = {name for kind in kinds | set(hints.GIVES.values()) for name in self._members(kind)}
        return {name for name in names if not name.startswith("__")} - {name for kind in COMMON for name in dir(kind)}

    def _members(self, path: str) -> Iterable[str]:
        kind = self._found(path)
        text = self.lookup.class_text(kind) or ""
        return [*dir(kind), *re.findall(r"\bself\.(\w+)\b[^=\n]*=(?!=)", text), *inspect.get_annotations(kind)]

    def owner_of_key(self, key: str) -> str:
        """The module that hands on a key; those that others take it from come first."""
        for module in hints.KEY_OWNERS:
            alone = Lookup()
            alone.modules[module] = importlib.import_module(module)
            if alone.is_named(key, module):
                return module
        raise ValueError(f"no module of KEY_OWNERS names '{key}', which the pack asks the host's dictionaries for")


def _is_module(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:  # below what is no package
        return False
