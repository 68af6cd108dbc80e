"""What is left to be read: a page of one's own and a table, failures first."""

import importlib.util
import json
import re

import pytest
from comfyui_videop2p.batch import report
from comfyui_videop2p.batch.store import Store


@pytest.fixture
def store(tmp_path):
    store = Store(str(tmp_path))
    for name in ("rabbit", "car"):
        files = {"before_after.webp": f"moving {name}".encode(), "edited.mp4": b"", "result.json": b"{}"}
        store.put_result(name, files)
    return store


def done(name, psnr):
    return {
        "state": "done", "name": name, "where": "line 2", "clip": f"{name}.mp4", "seconds": 1.5, "mode": "as it is",
        "table": {"target_prompt": f"a <{name}>", "_kind": "object"},
        "figures": {"psnr": psnr, "missing": {"lpips": "no"}},
        "files": ["before_after.webp", "edited.mp4", "result.json"],
    }  # fmt: skip


FAILED = {
    "state": "failed", "name": "", "where": "line 4", "clip": "gone.mp4", "table": {}, "sentence": "there is no clip",
}  # fmt: skip


def test_a_page_shows_failures_first_and_stands_by_itself(store):
    assert report.write(store, [done("rabbit", 31.5), FAILED, done("car", 28.0)], "edits.csv")[0] == "report.html"
    page = store.read("report.html").decode()
    rows = re.findall(r'<tr class="(\w+)">', page)
    assert rows == ["failed", "done", "done"] and "line 4: there is no clip" in page
    assert page.count("data:image/webp;base64,") == 2 and "a &lt;rabbit&gt;" in page and "<rabbit>" not in page
    assert re.findall(r"<th>(.*?)</th>", page) == [
        "state", "before and after", "clip", "target_prompt", "kind", "psnr", "seconds", "mode",
    ]  # fmt: skip
    assert 'data-value="31.5"' in page and not re.search(r'(src|href)="https?:', page)


def test_pictures_beyond_the_pages_room_are_shown_from_the_results(store, monkeypatch):
    monkeypatch.setattr(report, "EMBEDDED", 5)
    report.write(store, [done("rabbit", 31.5), done("car", 28.0)], "edits.csv")
    page = store.read("report.html").decode()
    assert page.count("base64") == 1 and 'src="results/car/before_after.webp"' in page


def test_without_pyarrow_the_table_is_json_lines(store, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else found(name))
    assert report.write(store, [done("rabbit", 31.5), FAILED], "edits.csv")[1] == "report.jsonl"
    first, second = map(json.loads, store.read("report.jsonl").decode().splitlines())
    assert first["sentence"] == "there is no clip" and second["psnr"] == 31.5 and second["table._kind"] == "object"


def test_as_parquet(store):
    parquet = pytest.importorskip("pyarrow.parquet")
    mixed = done("car", 28.0)
    mixed["table"]["steps"] = "4"
    assert (
        report.write(store, [done("rabbit", 31.5) | {"table": {"steps": 4}}, mixed, FAILED], "edits.csv")[1]
        == "report.parquet"
    )
    lines = parquet.read_table(store.folder / "report.parquet").to_pylist()
    assert [line["psnr"] for line in lines] == [None, 31.5, 28.0] and [line["table.steps"] for line in lines] == [
        "",
        "4",
        "4",
    ]
