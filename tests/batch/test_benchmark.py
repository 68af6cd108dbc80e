"""The demo world's benchmark: edits with ground truth, and how methods are compared on them."""

import numpy as np
import pytest
from comfyui_videop2p.batch import benchmark
from comfyui_videop2p.batch.command import REFUSED, main
from comfyui_videop2p.batch.graph import read
from comfyui_videop2p.batch.plan import plan
from comfyui_videop2p.batch.store import Store
from comfyui_videop2p.batch.template import template_of
from comfyui_videop2p.demo import benchmark as demo
from comfyui_videop2p.demo import scenes, videos


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return folder, demo.table(folder, 2)


def test_every_clip_has_an_edit_of_each_kind(world):
    folder, cells = world
    assert [row["_field"] for row in cells] == ["object", "colour", "place"] * 2
    assert {path.name for path in folder.iterdir()} == {row["clip"] for row in cells} == {"2000000.mp4", "2000002.mp4"}
    assert all(row["source_prompt"] != row["target_prompt"] for row in cells)
    assert all(scenes.described(scenes.random_scene(row["_seed"]), row["target_prompt"]) for row in cells)


@pytest.mark.parametrize("name", demo.METHODS.values())
def test_every_method_takes_them(world, name):
    folder, cells = world
    template = template_of(read(name))
    planned = plan(
        benchmark.rows_for(cells, template), template, lambda clip: str(folder / clip), lambda path: f"{path:0>64}"
    )
    assert not planned.refused and len(planned.edits) == 6


def test_the_truth_is_judged_best_and_the_source_worst(world, tmp_path):
    folder, (row, *_) = world
    source = (folder / row["clip"]).read_bytes()
    true = scenes.described(scenes.random_scene(row["_seed"]), row["target_prompt"])
    videos.write(tmp_path / "true.mp4", [frame.image for frame in scenes.clip(true, videos.FRAMES)])
    best, worst = (demo.judged(row, source, edited) for edited in ((tmp_path / "true.mp4").read_bytes(), source))
    assert best["all_seen"] == 1 and worst["all_seen"] == 0 and best["truth"] > worst["truth"] + 5
    assert demo.decoded(source).shape == (videos.FRAMES, 128, 128, 3) and np.ptp(demo.decoded(source)) <= 1


def test_methods_stand_beside_each_other():
    text = demo.comparison({"ours": [{"psnr": 30.0, "all_seen": 1.0}, {"psnr": 20.0, "all_seen": 0.0}], "theirs": []})
    assert text.splitlines()[2:] == ["| ours | 2 | 25 | – | – | – | 0.5 |", "| theirs | 0 | – | – | – | – | – |"]


def test_figures_are_those_of_done_edits(world, tmp_path):
    folder, (row, *_) = world
    store, source = Store(str(tmp_path)), (folder / row["clip"]).read_bytes()
    store.put_result("one", {"edited.mp4": source, "result.json": b"{}"})
    done = {"state": "done", "name": "one", "clip": row["clip"], "table": row, "files": ["edited.mp4"]}
    outcomes = [done | {"figures": {"psnr": 99.0, "missing": {}}}, {"state": "failed", "name": ""}]
    (found,) = benchmark.figures_of(outcomes, store, folder)
    assert found["psnr"] == 99 and found["all_seen"] == 0


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["edits.csv", "--benchmark", "folder"], "is no folder: name the one that the set was unpacked in"),
        (["--benchmark", "folder"], "there is no table to read"),
        (["--benchmark", "demo", "--out", "memory://bench"], "give it a folder of this machine"),
    ],
)
def test_what_is_no_benchmark_is_a_sentence(tmp_path, capsys, arguments, said):
    assert main(["--out", str(tmp_path / "out"), *arguments]) == REFUSED
    assert said in capsys.readouterr().err


def test_without_the_repository_there_is_no_demo_world(monkeypatch, capsys, tmp_path):
    def missing(name, package):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(benchmark.importlib, "import_module", missing)
    assert main(["--benchmark", "demo", "--out", str(tmp_path)]) == REFUSED
    assert "part of the repository alone" in capsys.readouterr().err
