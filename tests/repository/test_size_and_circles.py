"""A file holds one idea and fits in a reader's head; imports of the pack's files run in no circle."""

from graphlib import CycleError, TopologicalSorter

import pytest

from .test_direction import ROOT, imported
from .tracked import tracked

LINES = 350
ROOMS = ("nodes/", "videop2p_core/", "demo/", "tools/", "web/", "tests/", "dev.py", "__init__.py")


def files_of_the_pack(*endings):
    return [name for name in tracked() if name.startswith(ROOMS) and name.endswith(endings)]


def file_of(module, root):
    """The file that a dotted path from the pack's root, or a name in it, stands in: None outside the pack."""
    parts = module.strip(".").split(".")
    for end in (len(parts), len(parts) - 1):
        path = root.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if end and file.is_file():
                return file
    return None


def import_graph(files, root=ROOT):
    """Each file with those that it imports."""
    modules = {file: (name for name in imported(file, root) if name.startswith(".")) for file in files}
    return {file: {file_of(name, root) for name in names} - {None, file} for file, names in modules.items()}


def test_no_file_is_longer_than_a_reader_can_hold():
    lengths = {
        name: len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in files_of_the_pack(".py", ".js")
    }
    assert {name: lines for name, lines in lengths.items() if lines > LINES} == {}


def test_imports_run_in_no_circle():
    files = [ROOT / name for name in files_of_the_pack(".py") if not name.startswith("tests/")]
    graph = import_graph(files)
    assert any(graph.values())
    TopologicalSorter(graph).prepare()


def test_a_circle_is_seen(tmp_path):
    (tmp_path / "demo").mkdir()
    for name, line in (("a", "from .b import B"), ("b", "from . import a")):
        (tmp_path / "demo" / f"{name}.py").write_text(line)
    graph = import_graph(sorted((tmp_path / "demo").glob("*.py")), tmp_path)
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()
