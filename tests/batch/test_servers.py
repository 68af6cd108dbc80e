"""What is asked of a ComfyUI, and where its kept work goes."""

import pytest
from comfyui_videop2p.batch.faults import BatchError, RowError
from comfyui_videop2p.batch.graph import read
from comfyui_videop2p.batch.servers import OwnServer, RunningServer, comfyui_folder, options
from comfyui_videop2p.batch.store import Store
from comfyui_videop2p.batch.template import template_of

KEY, TUNE = "a" * 32, "VP2P_TuneOnVideo"


def own(tmp_path, number, url):
    return OwnServer(tmp_path / "comfyui", tmp_path / f"worker-{number}", Store(url))


def saved(server):
    folder = server.artefacts / "tunings" / "batch"
    folder.mkdir(parents=True)
    (folder / f"{KEY}_00001_.safetensors").write_bytes(b"tuning")
    return f"batch/{KEY}_00001_.safetensors"


def test_kept_work_goes_through_an_object_store_from_one_machine_to_another(tmp_path):
    one, other = (own(tmp_path, number, f"memory://{tmp_path.name}") for number in range(2))
    assert one.artefact_name(TUNE, KEY) is None
    name = saved(one)
    assert one.artefact_name(TUNE, KEY) == name and other.artefact_name(TUNE, KEY) is None
    one.keep(TUNE, name)
    assert other.artefact_name(TUNE, KEY) == name
    assert [path.read_bytes() for path in other.artefacts.rglob("*") if path.is_file()] == [b"tuning"]


def test_on_one_disk_kept_work_lies_in_the_results_folder(tmp_path):
    (tmp_path / "comfyui" / "models" / "checkpoints").mkdir(parents=True)
    (tmp_path / "comfyui" / "models" / "checkpoints" / "sd.safetensors").touch()
    one, other = (own(tmp_path, number, str(tmp_path / "out")) for number in range(2))
    for server in (one, other, one):
        server._make_folders()
    name = saved(one)
    one.keep(TUNE, name)
    assert other.artefact_name(TUNE, KEY) == name
    assert (tmp_path / "out" / "artefacts" / "tunings" / "batch").is_dir()
    assert (other.folder / "models" / "checkpoints" / "sd.safetensors").is_file()


def test_a_clip_of_a_started_comfyui_is_put_into_its_input_folder_and_taken_away(tmp_path):
    server = own(tmp_path, 0, str(tmp_path / "out"))
    server.give_clip("rabbit.mp4", b"clip")
    assert (server.folder / "input" / "rabbit.mp4").read_bytes() == b"clip"
    server.tidy()
    assert not list((server.folder / "input").iterdir())


@pytest.fixture
def asked(monkeypatch):
    """A server that has the nodes of the graph, the checkpoint's choices as they are given."""
    template = template_of(read("sd15_word_swap"))

    def server(choices):
        info = {entry["class_type"]: {"input": {"required": {}}} for entry in template.graph.values()}
        info["CheckpointLoaderSimple"]["input"]["required"] = {"ckpt_name": [choices]}
        info["LoadVideo"]["input"]["required"] = {"file": ["COMBO", {"options": ["other.mp4"]}]}
        running = RunningServer("http://127.0.0.1:1/")
        monkeypatch.setattr(running, "get", lambda path: info)
        return running, template, info

    return server


def test_a_missing_checkpoint_is_a_sentence_before_any_work(asked):
    running, template, _ = asked(["mine.safetensors"])
    with pytest.raises(
        BatchError, match="has no 'v1-5-pruned-emaonly-fp16.safetensors' for ckpt_name of 'Load Check.*mine"
    ):
        running.check(template.graph, set())
    node = next(node for node, entry in template.graph.items() if entry["class_type"] == "CheckpointLoaderSimple")
    running.check(template.graph, {(node, "ckpt_name")})  # the table names others


def test_a_missing_node_is_a_sentence(asked):
    running, template, info = asked(["v1-5-pruned-emaonly-fp16.safetensors"])
    running.check(template.graph, set())
    del info["VP2P_CompositeEdit"]
    with pytest.raises(BatchError, match=r"has no node VP2P_CompositeEdit \('Composite Edit'\): install its pack"):
        running.check(template.graph, set())


def test_a_clip_that_a_server_does_not_take_is_its_rows_fault(monkeypatch):
    running = RunningServer("http://127.0.0.1:1")

    def refused(*_):
        raise BatchError("ComfyUI refuses /upload/image (413)")

    monkeypatch.setattr(running, "_answers", lambda path: False)
    monkeypatch.setattr(running, "_send", refused)
    with pytest.raises(RowError, match="the clip has 3 MiB: start it with a larger --max-upload-size"):
        running.give_clip("rabbit.mp4", bytes(3 * 2**20))


def test_a_server_that_is_let_go_ends_our_graph_alone(monkeypatch):
    running, posted = RunningServer("http://127.0.0.1:1"), []
    monkeypatch.setattr(running, "_post", lambda *request: posted.append(request))
    running.stop()
    assert not posted
    running._queued("ours")
    running.stop()
    assert posted == [("/queue", {"delete": ["ours"]}), ("/interrupt", {"prompt_id": "ours"})]


def test_choices_are_read_in_both_forms():
    assert options({"input": {"required": {"a": [["x"]]}}}, "a") == ["x"]
    assert options({"input": {"required": {}, "optional": {"a": ["COMBO", {"options": ["y"]}]}}}, "a") == ["y"]
    assert options({"input": {"required": {"a": ["INT", {}]}}}, "a") == [] == options({"input": {}}, "a")


def test_the_comfyui_to_start_is_named_or_told(monkeypatch, tmp_path):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "path"))
    assert comfyui_folder(str(tmp_path / "named")) == tmp_path / "named"
    assert comfyui_folder(None) == tmp_path / "path"
    monkeypatch.delenv("COMFYUI_PATH")
    monkeypatch.setattr("comfyui_videop2p.batch.servers.ROOT", tmp_path / "ComfyUI" / "custom_nodes" / "pack")
    assert comfyui_folder(None) == tmp_path / "ComfyUI"
    monkeypatch.setattr("comfyui_videop2p.batch.servers.ROOT", tmp_path / "pack")
    with pytest.raises(BatchError, match="there is no telling which ComfyUI to start"):
        comfyui_folder(None)
