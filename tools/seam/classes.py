"""The pack's own classes, as far as they are made of the host's: a member that they lack is one of the host's."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass

from .running import Running


@dataclass(frozen=True)
class PackClass:
    """bases: paths of the host's classes and names of the pack's own."""

    bases: tuple[str, ...]
    members: frozenset[str]


class Classes:
    def __init__(self, trees: Iterable[ast.Module], running: Running) -> None:
        self.of_pack: dict[str, PackClass] = {}
        for tree in trees:
            bound = dict(running.bindings(tree))
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef):
                    bases = (_dotted(base, bound) for base in node.bases)
                    self.of_pack[node.name] = PackClass(tuple(bases), frozenset(_members(node)))

    def host_base(self, name: str) -> str | None:
        """The host's class that a class of the pack is made of, directly or through others of the pack."""
        for base in self.of_pack[name].bases if name in self.of_pack else ():
            host_class = base if "." in base else self.host_base(base)
            if host_class:
                return host_class
        return None

    def above(self, name: str) -> str:
        """The class of the host or of the pack that one of the pack's is made of; "" for another library's or none."""
        return next((base for base in self.of_pack[name].bases if "." in base or base in self.of_pack), "")

    def members(self, name: str) -> set[str]:
        """Those that the pack's classes define or set on their objects, inherited ones too."""
        if name not in self.of_pack:
            return set()
        definition = self.of_pack[name]
        return set(definition.members).union(*map(self.members, definition.bases))


def _dotted(base: ast.expr, bound: dict[str, str]) -> str:
    """As the host's path, or the bare name of a class of the pack."""
    root, _, rest = ast.unparse(base).partition(".")
    return ".".join(filter(None, (bound[root], rest))) if root in bound else root


def _members(node: ast.ClassDef) -> Iterable[str]:
    for part in ast.walk(node):
        if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield part.name
        elif isinstance(part, ast.AnnAssign):
            yield ast.unparse(part.target).removeprefix("self.")
        elif isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and ast.unparse(part.value) == "self":
            yield part.attr
