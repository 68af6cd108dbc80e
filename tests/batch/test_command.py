"""What keeps a whole run from beginning is a sentence, and an exit code."""

import json
import re
import socket
import subprocess
import sys

import pytest
from comfyui_videop2p.batch.command import REFUSED, SOME_FAILED, main
from comfyui_videop2p.batch.graph import SHIPPED
from comfyui_videop2p.batch.store import Store
from comfyui_videop2p.tools.pack import ROOT
from filelock import FileLock

HEADING = "clip,source_prompt,target_prompt\n"


@pytest.fixture
def asked(tmp_path):
    (tmp_path / "rabbit.mp4").write_bytes(b"clip")
    (tmp_path / "edits.csv").write_text(
        f"{HEADING}rabbit.mp4,a red rabbit,a red star\ngone.mp4,a red rabbit,a red star\n"
    )
    return [str(tmp_path / "edits.csv"), "--out", str(tmp_path / "out"), "--graph", "demo_word_swap"]


def refused(capsys, *arguments):
    assert main(arguments) == REFUSED
    return capsys.readouterr().err


@pytest.mark.parametrize("command", [["batch.py"], ["-m", "batch"]])
def test_it_runs_as_a_script_and_as_a_module(command):
    done = subprocess.run([sys.executable, *command, "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "usage: batch.py" in done.stdout, done.stderr


def test_a_plan_is_told_and_nothing_is_done(asked, tmp_path, capsys):
    assert main([*asked, "--plan"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(
        "1 edits of 1 sources, 0 of them there, 1 to do; 1 rows that cannot be done: edits.csv, line 3"
    )
    assert not (tmp_path / "out" / "results").exists() and not (tmp_path / "out" / "report.html").exists()


def test_what_is_all_there_starts_no_comfyui(asked, tmp_path, capsys):
    store = Store(str(tmp_path / "out"))
    main([*asked, "--plan"])
    from comfyui_videop2p.batch import table
    from comfyui_videop2p.batch.clips import Digests, path_in
    from comfyui_videop2p.batch.graph import read
    from comfyui_videop2p.batch.plan import plan
    from comfyui_videop2p.batch.template import template_of

    planned = plan(
        table.read(tmp_path / "edits.csv"),
        template_of(read("demo_word_swap")),
        lambda name: path_in(tmp_path, name),
        Digests(store),
    )
    outcome = {
        "state": "done",
        "name": planned.edits[0].name,
        "where": "line 2",
        "clip": "rabbit.mp4",
        "table": {},
        "files": [],
    }
    store.put_result(planned.edits[0].name, {"result.json": json.dumps(outcome).encode()})
    assert main([*asked, "--comfyui", str(tmp_path)]) == SOME_FAILED  # of the row whose clip is missing
    assert "1 of them there, 0 to do" in capsys.readouterr().out
    assert "there is no clip" in store.read("report.html").decode()


def test_no_comfyui_is_a_sentence_and_a_report(asked, tmp_path, capsys):
    assert f"no ComfyUI in {tmp_path}" in refused(capsys, *asked, "--comfyui", str(tmp_path))
    assert "there is no clip" in (tmp_path / "out" / "report.html").read_text()


def test_a_server_that_does_not_answer_is_a_sentence(asked, capsys):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        told = refused(capsys, *asked, "--servers", url)
    assert f"ComfyUI at {url} does not answer" in told and "leave it out of --servers" in told


def test_without_ray_workers_are_a_sentence(asked, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "--workers and --ray need Ray: pip install ray" in refused(capsys, *asked, "--workers", "2")


def test_an_unreachable_cluster_is_a_sentence(asked, capsys):
    pytest.importorskip("ray")
    told = refused(capsys, *asked, "--ray", "ray://127.0.0.1:1")
    assert "the Ray cluster at ray://127.0.0.1:1 does not answer" in told


@pytest.mark.parametrize(
    "options, said",
    [
        (["--workers", "0"], "count from 1 on"),
        (["--dashboard"], "give --workers or --ray"),
        (["--workers", "2", "--servers", "http://127.0.0.1:1"], "leave --workers and --ray out"),
    ],
)
def test_engines_that_do_not_go_together_are_a_sentence(asked, capsys, options, said):
    assert said in refused(capsys, *asked, *options)


def test_two_runs_at_once_are_refused(asked, tmp_path, capsys):
    Store(str(tmp_path / "out"))
    with FileLock(tmp_path / "out" / ".comfyui.lock"):
        assert "another run is at work on" in refused(capsys, *asked)


@pytest.mark.parametrize(
    "graph, said",
    [
        ("nonsense", "there is no graph .*nonsense.json .*name a file, or one of demo_ablation"),
        ("demo_keep", "the graph has 0 nodes that save a video"),
        ("broken.json", "is no JSON"),
        ("other.json", "is no graph in ComfyUI's API form: export it by File, Export"),
    ],
)
def test_a_graph_that_cannot_be_run_is_a_sentence(asked, tmp_path, capsys, graph, said):
    (tmp_path / "broken.json").write_text("no")
    (tmp_path / "other.json").write_text('{"nodes": [], "links": []}')
    path = str(tmp_path / graph) if graph.endswith(".json") else graph
    assert re.search(said, refused(capsys, asked[0], "--out", asked[2], "--graph", path))


def test_an_unknown_title_is_a_sentence(asked, tmp_path, capsys):
    (tmp_path / "edits.csv").write_text(f"{HEADING.strip()},Sampler.steps\nball.mp4,a red rabbit,a red star,9\n")
    assert "no node of the graph has an input 'Sampler.steps'" in refused(capsys, *asked)


def test_the_default_graph_is_shipped():
    from comfyui_videop2p.batch.command import DEFAULT_GRAPH

    assert (SHIPPED / f"{DEFAULT_GRAPH}.json").is_file()
