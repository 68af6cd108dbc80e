"""One job on a ComfyUI that does what a test says."""

import json
from io import BytesIO

import pytest
from comfyui_videop2p.batch.columns import place_of
from comfyui_videop2p.batch.faults import BatchError, LostError
from comfyui_videop2p.batch.graph import read
from comfyui_videop2p.batch.plan import plan
from comfyui_videop2p.batch.servers import RunningServer
from comfyui_videop2p.batch.smaller import TWICE, WHOLE, modes_of, smaller
from comfyui_videop2p.batch.stages import EDITS, SAVE
from comfyui_videop2p.batch.store import Store
from comfyui_videop2p.batch.table import Row
from comfyui_videop2p.batch.template import COMPARISON, FIGURES, template_of
from comfyui_videop2p.batch.work import Work
from comfyui_videop2p.tools.client import ConnectionLostError, GraphError, Ran
from PIL import Image


def moving(colour):
    file = BytesIO()
    frames = [Image.new("RGB", (800, 200), colour), Image.new("RGB", (800, 200), "black")]
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=125)
    return file.getvalue()


class Pretended(RunningServer):
    """Answers every graph as ComfyUI would; fault(graph) may raise in its place."""

    def __init__(self, made, fault=lambda graph: None):
        super().__init__("http://pretended")
        self.made, self.fault, self.kept, self.ran = made, fault, {}, []

    def run(self, graph, progress):
        self.ran.append(graph)
        self.fault(graph)
        if SAVE in graph:
            kind, prefix = graph[SAVE]["class_type"], graph[SAVE]["inputs"]["filename_prefix"]
            self.kept[prefix.partition("/")[2]] = name = f"{prefix}_00001_.safetensors"
            return Ran({SAVE: {"text": [f"{name}\n{kind}"]}})
        lists = [entry for node, entry in graph.items() if node.startswith(EDITS)]
        count = len(lists[0]["inputs"]) if lists else 1
        shown = {
            "images": [{"filename": f"{number}.mp4", "subfolder": "", "type": "output"} for number in range(count)]
        }
        figures = {"text": [json.dumps({"psnr": number, "missing": {}}) for number in range(count)]}
        return Ran({self.made.result: shown, COMPARISON: shown, FIGURES: figures})

    def files(self, output):
        return [(file["filename"], moving("red")) for file in output.get("images", ())]

    def give_clip(self, file, content):
        assert content == b"clip" and file.endswith(".mp4")

    def artefact_name(self, class_type, key):
        return self.kept.get(key)


@pytest.fixture(scope="module")
def made():
    return template_of(read("demo_refine"))


@pytest.fixture
def store(tmp_path):
    (tmp_path / "rabbit.mp4").write_bytes(b"clip")
    return Store(str(tmp_path / "out"))


@pytest.fixture
def job(made, store):
    values = {"clip": "rabbit.mp4", "source_prompt": "a red rabbit"}
    rows = [
        Row(f"line {n}", values | {"target_prompt": target}) for n, target in enumerate(("a star", "a bad", "a heart"))
    ]
    (job,) = plan(rows, made, lambda name: f"{store.url}/../{name}", lambda path: "c" * 64).jobs
    return job


def failing(where, message="it is bad", error=GraphError):
    def fault(graph):
        for node, entry in graph.items():
            if where in (entry["inputs"].get("target_prompt"), entry["class_type"]):
                raise error(message, node)

    return fault


def states(outcomes):
    return {outcome["table"]["target_prompt"]: outcome["state"] for outcome in outcomes}


def test_edits_of_a_job_come_from_one_tuning_one_inversion_and_one_pass(made, job, store):
    server = Pretended(made)
    outcomes = Work(job, made, server, store).done()
    assert [SAVE in graph for graph in server.ran] == [True, True, False]
    assert [outcome["figures"]["psnr"] for outcome in outcomes] == [0, 1, 2]
    assert store.results() == {edit.name for edit in job.edits}
    files = {path.name for path in (store.folder / "results" / job.edits[0].name).iterdir()}
    assert files == {"edited.mp4", "graph.json", "before_after.webp", "figures.json", "result.json"}
    with Image.open(store.folder / "results" / job.edits[0].name / "before_after.webp") as small:
        assert small.size == (360, 90) and small.n_frames == 2
    opened = json.loads(store.read(f"results/{job.edits[0].name}/graph.json"))
    node, name = place_of(opened, "target_prompt")
    assert opened[node]["inputs"][name] == "a star" and opened[made.clip[0]]["inputs"]["file"] == "rabbit.mp4"


def test_what_is_there_is_not_made_again(made, job, store):
    server = Pretended(made)
    Work(job, made, server, store).done()
    ran = len(server.ran)
    assert Work(job, made, server, store).done() == [] and len(server.ran) == ran


def test_an_edit_with_a_fault_has_its_sentence_and_stops_no_other(made, job, store):
    server = Pretended(made, failing("a bad"))
    outcomes = Work(job, made, server, store).done()
    assert states(outcomes) == {"a star": "done", "a bad": "failed", "a heart": "done"}
    assert next(one["sentence"] for one in outcomes if one["state"] == "failed") == "it is bad"
    assert len(server.ran) == 4  # the pass is begun again once, without it


def test_a_fault_that_is_no_edits_own_is_looked_for_one_by_one(made, job, store):
    def fault(graph):
        if SAVE not in graph and (
            any(node.startswith(EDITS) for node in graph)
            or any("a bad" in entry["inputs"].values() for entry in graph.values())
        ):
            raise GraphError("Composite Edit: it is bad", "13")

    assert states(Work(job, made, Pretended(made, fault), store).done())["a heart"] == "done"


def test_a_source_that_cannot_be_made_is_told_of_every_edit(made, job, store):
    outcomes = Work(job, made, Pretended(made, failing("VP2P_TuneOnVideo")), store).done()
    assert set(states(outcomes).values()) == {"failed"} and len(outcomes) == 3
    assert "not done: it is bad" in store.read(f"logs/{job.name}.log").decode()


def test_a_clip_that_went_since_is_a_sentence(made, job, store):
    (store.folder.parent / "rabbit.mp4").unlink()
    outcomes = Work(job, made, Pretended(made), store).done()
    assert {one["sentence"][:16] for one in outcomes} == {"there is no clip"}


def test_out_of_memory_goes_on_in_a_smaller_mode(made, job, store):
    def fault(graph):
        cut = [
            entry["inputs"].get("frames_per_pass") for entry in graph.values() if "frames_per_pass" in entry["inputs"]
        ]
        if SAVE not in graph and cut[0] not in (8, 4):
            raise GraphError("Decoupled Sample: Allocation on device 0 would exceed allowed memory")

    outcomes = Work(job, made, Pretended(made, fault), store).done()
    assert {outcome["mode"] for outcome in outcomes} == {"passes of 8 frames"}
    assert "begun again with passes of 8 frames" in store.read(f"logs/{job.name}.log").decode()


def test_no_memory_in_any_mode_is_a_sentence(made, job, store):
    fault = failing("VP2P_TuneOnVideo", "Tune on Video: out of memory")
    outcomes = Work(job, made, Pretended(made, fault), store).done()
    assert {one["sentence"] for one in outcomes} == {"Tune on Video: out of memory: give it fewer or smaller frames"}


def test_a_full_disk_of_comfyui_stops_the_run(made, job, store):
    fault = failing("VP2P_TuneOnVideo", "Tune on Video: [Errno 28] No space left on device")
    with pytest.raises(BatchError, match="ComfyUI's disk is full"):
        Work(job, made, Pretended(made, fault), store).done()


@pytest.mark.parametrize(
    "node, stage", [("VP2P_TuneOnVideo", "Tune on Video"), ("VP2P_DDIMInvert", "DDIM Invert with Shared Null-Text"),
                    ("VP2P_DecoupledSample", "edits")]
)  # fmt: skip
def test_a_lost_comfyui_is_told_with_the_stage(made, job, store, node, stage):
    with pytest.raises(LostError) as lost:
        Work(job, made, Pretended(made, failing(node, error=ConnectionLostError)), store).done()
    assert lost.value.stage == stage and store.results() == set()


def test_modes_are_those_that_the_graph_has(made):
    assert modes_of(made.graph) == [WHOLE, TWICE, *(f"passes of {frames} frames" for frames in (16, 8, 4))]
    assert smaller(made.graph, WHOLE) == made.graph
    assert modes_of(template_of(read("wan_word_swap")).graph) == [WHOLE, TWICE]
    normed = {
        node: entry | {"inputs": {name: name == "norm_over_frames" or value for name, value in entry["inputs"].items()}}
        for node, entry in made.graph.items()
    }
    assert modes_of(normed) == [WHOLE, TWICE]
