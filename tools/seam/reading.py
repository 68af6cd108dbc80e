"""What one file of the pack takes from the host: found in its text, nothing of it is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ...videop2p_core.host.comfy.model_patches import OPTIONS, options_of
from . import hints
from .classes import Classes
from .running import Running

Call = tuple[int | None, tuple[str, ...]]  # positional arguments, None where not all are known; keywords


@dataclass
class Use:
    """Of one symbol; as lookup.Lookup.lacking has it."""

    calls: set[Call] = field(default_factory=set)
    takes: int | None = None
    places: dict[str, int] = field(default_factory=dict)


@dataclass
class HostUses:
    """modules, symbols, keys: of the host by their names; odd: what no hint tells of, a sentence each; hints: those
    that served."""

    modules: set[str] = field(default_factory=set)
    symbols: dict[str, Use] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    odd: list[str] = field(default_factory=list)
    hints: set[str] = field(default_factory=set)


def read(name: str, text: str, classes: Classes, running: Running) -> HostUses:
    """name: of the file, as 'host.edit.edit_inputs'."""
    reader = _Reader(name, ast.parse(text), classes, running)
    reader.visit(reader.tree)
    reader.texts()
    return reader.uses


class _Reader(ast.NodeVisitor):
    def __init__(self, name: str, tree: ast.Module, classes: Classes, running: Running) -> None:
        self.name, self.tree, self.classes, self.running = name, tree, classes, running
        self.uses = HostUses()
        self.inside: list[str] = []  # the classes around what is looked at
        self.bound = dict(running.bindings(tree))  # {name: dotted path of the host's}
        self.uses.modules |= {path for path in running.imports(tree) if running.is_module(path)}
        self.constants = dict(_constants(tree))
        self.dicts = dict(_dicts(tree))

    # --- symbols ------------------------------------------------------------------------------------------------------

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self.note(self.bound.get(alias.asname or alias.name))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = self.path_of(node)
        if path in hints.UNSEEN:
            self.uses.hints.add(f"UNSEEN: {path}")
        elif path and not self.running.is_module(path) and not self.running.has(path):
            self.uses.odd.append(f"{self.name}: {ast.unparse(node)} would be {path}, which this ComfyUI has not")
        elif path:
            self.note(path)
        elif node.attr in self.running.telling_names and self.type_of(node.value) is None:
            self.uses.odd.append(f"{self.name}: {ast.unparse(node)} may be the host's: tell of it in KIND_OF_NAME")
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        base = self.classes.host_base(node.name)
        self.inside.append(node.name)
        if base:
            for member, function in _members(node):
                if member not in vars(object) and self.running.has(f"{base}.{member}"):
                    use = self.note(f"{base}.{member}")
                    use.takes = _taken(function) if function else None
        self.generic_visit(node)
        self.inside.pop()

    def visit_Call(self, node: ast.Call) -> None:
        path, arguments = self.called(node)
        if path and arguments:
            self.note(path).calls.add(arguments)
        if isinstance(node.func, ast.Attribute) and node.func.attr == "get_model_object":
            self.object_of_a_model(node.args[0])
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop", "setdefault") and node.args:
            self.key_of(node.func.value, node.args[0])
        if ast.unparse(node.func) == options_of.__name__ and self.name in hints.HANDED:
            self.uses.hints.add(f"HANDED: {self.name}")
            self.note(hints.HANDED[self.name]).places["transformer_options"] = OPTIONS
        self.generic_visit(node)

    def called(self, node: ast.Call) -> tuple[str | None, Call | None]:
        """(what is called, with which arguments)"""
        function, arguments, complete = node.func, node.args, True
        if isinstance(function, ast.Name) and function.id == "partial" and arguments:
            (function, *arguments), complete = arguments, False
        if isinstance(function, ast.Name) and function.id == "self":
            path = f"{self.own_base()}.__call__" if self.own_base() else None
        elif ast.unparse(function) == "super().__init__":
            above = self.type_of(function.value)
            path = None if above in self.classes.of_pack else above
        else:
            path = self.path_of(function)
        keywords = []
        for keyword in node.keywords:
            if keyword.arg:
                keywords.append(keyword.arg)
            elif isinstance(keyword.value, ast.Name) and keyword.value.id in self.dicts:
                keywords += self.dicts[keyword.value.id]
            else:
                return path, None
        if any(isinstance(argument, ast.Starred) for argument in arguments):
            return path, None
        return path, (len(arguments) if complete else None, tuple(sorted(keywords)))

    def object_of_a_model(self, path: ast.expr) -> None:
        """The host finds it by a path of names, of which the first is an attribute of the model."""
        if isinstance(path, ast.Constant):
            self.note(f"{hints.BASE}.{path.value.split('.')[0]}")

    def note(self, path: str | None) -> Use:
        """A symbol, and all classes that it stands in."""
        if not path or self.running.is_module(path):
            self.uses.modules |= {path} if path else set()
            return Use()
        module = self.running.module_of(path)
        self.uses.modules.add(module)
        names = path[len(module) + 1 :].split(".")
        for end in range(1, len(names)):
            self.uses.symbols.setdefault(f"{module}.{'.'.join(names[:end])}", Use())
        return self.uses.symbols.setdefault(path, Use())

    # --- whose it is --------------------------------------------------------------------------------------------------

    def path_of(self, node: ast.expr) -> str | None:
        """The host's symbol that an expression names."""
        if self.imported(node) or not isinstance(node, ast.Attribute):
            return self.imported(node)
        kind = self.type_of(node.value)
        if kind in self.classes.of_pack:
            kind = None if node.attr in self.classes.members(kind) else self.classes.host_base(kind)
        return f"{kind}.{node.attr}" if kind and not self.running.is_common(kind, node.attr) else None

    def imported(self, node: ast.expr) -> str | None:
        """A path that begins with what the file imports of the host."""
        if isinstance(node, ast.Name):
            return self.bound.get(node.id)
        above = self.imported(node.value) if isinstance(node, ast.Attribute) else None
        return above and f"{above}.{node.attr}"

    def type_of(self, node: ast.expr) -> str | None:
        """The class, the host's or the pack's, of what an expression stands for; "" for what a hint says is neither,
        None where nothing is known."""
        spelled = ast.unparse(node)
        if spelled in ("self", "cls") and self.inside:
            return self.inside[-1]
        if spelled == "super()":
            return self.classes.above(self.inside[-1])
        for file in (self.name, ""):
            kind = hints.KIND_OF_NAME.get(file, {}).get(spelled)
            if kind is not None:
                self.uses.hints.add(f"KIND_OF_NAME: {file} {spelled}")
                return kind
        if isinstance(node, ast.Call):
            path = self.path_of(node.func)
            if path and self.running.is_class(path):
                return path
            return self.hinted(f"{path}({', '.join(map(ast.unparse, node.args))})") or self.hinted(path)
        return self.hinted(self.path_of(node)) if isinstance(node, ast.Attribute) else None

    def hinted(self, path: str | None) -> str | None:
        if path in hints.GIVES:
            self.uses.hints.add(f"GIVES: {path}")
        return hints.GIVES.get(path)

    def own_base(self) -> str | None:
        return self.classes.host_base(self.inside[-1]) if self.inside else None

    # --- keys ---------------------------------------------------------------------------------------------------------

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.key_of(node.value, node.slice)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        if isinstance(node.ops[0], (ast.In, ast.NotIn)):
            self.key_of(node.comparators[0], node.left)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        for container in (value for key, value in zip(node.keys, node.values, strict=True) if key is None):
            for key in filter(None, node.keys):
                self.key_of(container, key)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.BitOr) and isinstance(node.right, ast.Dict):
            for key in filter(None, node.right.keys):
                self.key_of(node.left, key)
        self.generic_visit(node)

    def key_of(self, container: ast.expr, key: ast.expr) -> None:
        text = self.text_of(key)
        if text is None or isinstance(container, (ast.Constant, ast.Dict)):
            return
        spelled = ast.unparse(container)
        if spelled in hints.OWN_DICTIONARIES:
            self.uses.hints.add(f"OWN_DICTIONARIES: {spelled}")
        elif spelled not in hints.DICTIONARIES:
            self.uses.odd.append(f"{self.name}: {spelled}[{text!r}] may be the host's: tell of it in DICTIONARIES")
        elif text in hints.OWN_KEYS:
            self.uses.hints |= {f"DICTIONARIES: {spelled}", f"OWN_KEYS: {text}"}
        else:
            self.uses.hints.add(f"DICTIONARIES: {spelled}")
            self.uses.keys.add(text)

    def text_of(self, node: ast.expr) -> str | None:
        """A text that is written out, or that a constant of the file holds."""
        node = self.constants.get(node.id) if isinstance(node, ast.Name) else node
        return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None

    def texts(self) -> None:
        """What the code has as texts alone: keys in constants of the file, and names of modules in a network."""
        for constant in hints.KEYS_IN.get(self.name, ()):
            self.uses.hints.add(f"KEYS_IN: {self.name} {constant}")
            self.uses.keys |= set(filter(None, map(self.text_of, ast.walk(self.constants[constant]))))
        words = {word for node in ast.walk(self.tree) for word in _words(node)}
        for kind, names in hints.NAMED_IN.get(self.name, {}).items():
            for name in words & set(names):
                self.uses.hints.add(f"NAMED_IN: {self.name} {name}")
                self.note(f"{kind}.{name}")


# --- parts of a tree --------------------------------------------------------------------------------------------------


def _constants(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """(name, value) of what a file sets outside of functions and classes."""
    for node in tree.body:
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                yield from zip(map(ast.unparse, target.elts), node.value.elts, strict=True)
            else:
                yield ast.unparse(target), node.value


def _dicts(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """(name, keys) of dictionaries that are written out, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, [key.value for key in node.value.keys if isinstance(key, ast.Constant)]


def _words(node: ast.AST) -> list[str]:
    """Of a text in the code, or of the name that an argument is given by."""
    if isinstance(node, ast.keyword):
        return [node.arg or ""]
    return re.findall(r"\w+", node.value) if isinstance(node, ast.Constant) and isinstance(node.value, str) else []


def _members(node: ast.ClassDef) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef | None]]:
    """(name, its function if it is called as one) of what a class defines."""
    for statement in node.body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            decorators = {ast.unparse(decorator) for decorator in statement.decorator_list}
            yield statement.name, None if decorators - {"classmethod"} else statement
        elif isinstance(statement, ast.Assign):
            yield from ((ast.unparse(target), None) for target in statement.targets)


def _taken(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int | None:
    """How many arguments a method takes, its object not among them; None for any number."""
    arguments = function.args
    return None if arguments.vararg else len(arguments.posonlyargs) + len(arguments.args) - 1
