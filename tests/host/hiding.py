"""The host that runs here, with something of it hidden as if another version had never had it."""

import importlib
import inspect
import re
import sys
from contextlib import ExitStack, contextmanager
from types import FunctionType
from unittest import mock

from comfyui_videop2p.videop2p_core.host.seam.host_check import TABLE
from comfyui_videop2p.videop2p_core.host.seam.lookup import Lookup

ABSENT = object()
POSITIONAL = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
REST, KEYWORD = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY


class Hidden:
    """In a class, an attribute that is not there, though a base may have it."""

    def __get__(self, *_):
        raise AttributeError


def owner_of(path):
    """(the module or class that a symbol stands in, its name there)"""
    above, _, name = path.rpartition(".")
    host = Lookup()
    host.modules = {module: importlib.import_module(module) for module in TABLE["modules"] if above.startswith(module)}
    return host.value_of(above), name


@contextmanager
def without_module(name):
    there = sys.modules[name]
    sys.modules[name] = None  # importing it raises ModuleNotFoundError
    try:
        yield
    finally:
        sys.modules[name] = there


@contextmanager
def without(path):
    """Without a symbol."""
    owner, name = owner_of(path)
    with ExitStack() as hidden:
        if name in getattr(owner, "_member_map_", ()):  # an Enum
            hidden.enter_context(mock.patch.dict(owner._member_map_))
            del owner._member_map_[name]
        if hasattr(owner, name):
            hidden.enter_context(in_its_place(owner, name, Hidden() if isinstance(owner, type) else ABSENT))
        if isinstance(owner, type):
            hidden.enter_context(reading("class_text", owner.__mro__, rf"\b{name}\b"))
        yield


@contextmanager
def without_key(key):
    """Without a key of dictionaries, in all files."""
    # An attribute of the name stays, a buffer's too.
    with reading("text", None, rf"{key}\b(?<![\w.]{key})(?<!register_buffer\(.{key})"):
        yield


@contextmanager
def called_as(path, change):
    """With a function of another signature: change({name: parameter}) gives its parameters."""
    owner, name = owner_of(path)
    signature = inspect.signature(getattr(owner, name))

    def other(*_, **__):
        raise AssertionError("only looked at")

    other.__signature__ = signature.replace(parameters=change(dict(signature.parameters)))
    method = isinstance(owner, type) and not isinstance(inspect.getattr_static(owner, name), FunctionType)
    with in_its_place(owner, name, staticmethod(other) if method else other):
        yield


def without_argument(name, others):
    """Takes `others` by name, but not this one."""

    def change(parameters):
        places = [one for one in parameters.values() if one.kind in POSITIONAL and one.name != name]
        more = [inspect.Parameter(one, KEYWORD, default=None) for one in others if one not in {p.name for p in places}]
        return [*places, *(one for one in parameters.values() if one.kind is REST), *more]

    return change


def with_one_more(parameters):
    """Needs one argument more."""
    places = [one for one in parameters.values() if one.kind in POSITIONAL]
    others = [one for one in parameters.values() if one.kind in (REST, KEYWORD)]
    last = [one for one in parameters.values() if one.kind is inspect.Parameter.VAR_KEYWORD]
    return [*places, *others, inspect.Parameter("one_more", KEYWORD), *last]


def with_places(number):
    """Takes so many arguments by their place, beside the object."""

    def change(parameters):
        own = [one for name, one in parameters.items() if name == "self"]
        return [*own, *(inspect.Parameter(f"given_{i}", POSITIONAL[1], default=None) for i in range(number))]

    return change


def in_another_order(parameters):
    first, *places = [one.replace(default=None) for one in parameters.values() if one.kind in POSITIONAL]
    return [first.replace(default=inspect.Parameter.empty), *reversed(places)]


@contextmanager
def in_its_place(owner, name, value):
    """`value` in a module or a class; ABSENT for nothing. A class may protect its members, as an Enum does."""
    put, take = (type.__setattr__, type.__delattr__) if isinstance(owner, type) else (setattr, delattr)
    before = vars(owner).get(name, ABSENT)
    if value is ABSENT:
        take(owner, name)
    else:
        put(owner, name, value)
    try:
        yield
    finally:
        if before is ABSENT:
            take(owner, name)
        else:
            put(owner, name, before)


@contextmanager
def reading(method, of, pattern):
    """The host's files as they would read without what a pattern finds; of: these classes alone, or None."""
    read = getattr(Lookup, method)

    def text(self, asked):
        found = read(self, asked)
        return re.sub(pattern, "not_there", found) if found and (of is None or asked in of) else found

    with mock.patch.object(Lookup, method, text):
        yield
