"""Rows that share their source become one job; ten thousand of them, quickly."""

import hashlib
import time
import tracemalloc

import pytest
from comfyui_videop2p.batch.clips import Digests
from comfyui_videop2p.batch.faults import BatchError, RowError
from comfyui_videop2p.batch.graph import read
from comfyui_videop2p.batch.plan import left, plan
from comfyui_videop2p.batch.store import Store
from comfyui_videop2p.batch.table import Row
from comfyui_videop2p.batch.template import template_of

SECONDS, BYTES = 5, 200 * 2**20  # what 10,000 rows may take
PART = 10  # of them, whose memory is looked at


@pytest.fixture(scope="module")
def made():
    return template_of(read("demo_refine"))


def row(clip="rabbit.mp4", target="a red star", **values):
    return Row("row", {"clip": clip, "source_prompt": "a red rabbit", "target_prompt": target, **values})


def digest(path):
    if "gone" in path:
        raise RowError(f"there is no clip {path}: correct its path")
    return hashlib.sha256(path.encode()).hexdigest()


def planned(rows, made, digest=digest):
    return plan(rows, made, lambda name: name, digest)


def test_targets_of_one_clip_share_a_job(made):
    rows = [row(target=target) for target in ("a red star", "a blue rabbit")]
    done = planned([*rows, row("car.mp4"), row(**{"Tune on Video.steps": "7"})], made)
    assert [len(job.edits) for job in done.jobs] == [2, 1, 1] and len({edit.name for edit in done.edits}) == 4
    assert done.edits[0].name.startswith("rabbit-a-red-star_")


def test_one_content_under_two_names_is_one_source(made):
    done = planned([row("a.mp4"), row("b.mp4", "a heart")], made, lambda path: "f" * 64)
    assert len(done.jobs) == 1


def test_a_row_that_says_what_another_said_is_done_once(made):
    done = planned([row(), row(), row(_note="x")], made)
    assert len(done.edits) == 1 and done.twice == 2


def test_names_follow_content(made):
    assert planned([row()], made).edits[0].name == planned([row("car.mp4"), row()], made).edits[1].name
    one, other = (planned([row()], made, lambda path, d=d: d * 64).edits[0].name for d in "ab")
    assert one != other


@pytest.mark.parametrize(
    "bad, said",
    [
        (row("gone.mp4"), "there is no clip gone.mp4: correct its path"),
        (Row("row", {"clip": "rabbit.mp4", "source_prompt": "a"}), "it has no target_prompt: fill the cell in"),
        (row(feather="high"), "'high' in column 'feather' is no whole number: write one"),
        (Row("row", {}, "it is no JSON"), "it is no JSON"),
    ],
)
def test_a_bad_row_stops_no_other(made, bad, said):
    done = planned([row(), bad, row("car.mp4")], made)
    assert len(done.edits) == 2 and [why for _, why in done.refused] == [said]


def test_a_column_that_belongs_to_no_input_stops_all(made):
    with pytest.raises(BatchError, match="no node of the graph has an input 'blurr'"):
        planned([row(blurr=1)], made)
    with pytest.raises(BatchError, match="the table has no column source_prompt: the graph's own are of another clip"):
        planned([Row("row", {"clip": "rabbit.mp4", "target_prompt": "a"})], made)


def test_what_is_there_is_not_left_to_do(made):
    done = planned([row(target=target) for target in ("a", "b")] + [row("car.mp4")], made)
    names = [edit.name for edit in done.edits]
    assert [[edit.name for edit in job.edits] for job in left(done.jobs, {names[0], names[2]})] == [[names[1]]]


def test_ten_thousand_rows_plan_quickly_in_little_memory(made):
    rows = [row(f"{number // 4}.mp4", f"a red star {number % 4}") for number in range(10_000)]
    begun = time.process_time()
    assert len(planned(rows, made).jobs) == 2500
    assert time.process_time() - begun < SECONDS
    tracemalloc.start()  # which makes all of it slow
    planned(rows[: len(rows) // PART], made)
    assert tracemalloc.get_traced_memory()[1] < BYTES / PART
    tracemalloc.stop()


def test_a_clip_is_read_once_while_it_is_the_same(tmp_path, monkeypatch):
    clip, store = tmp_path / "rabbit.mp4", Store(str(tmp_path / "out"))
    clip.write_bytes(b"one")
    first = Digests(store)
    assert first(str(clip)) == hashlib.sha256(b"one").hexdigest()
    first.keep()
    with monkeypatch.context() as patch:
        patch.setattr("comfyui_videop2p.batch.clips.content_of", lambda path: pytest.fail("it was read again"))
        assert Digests(store)(str(clip)) == first(str(clip))
    clip.write_bytes(b"other")
    assert Digests(store)(str(clip)) == hashlib.sha256(b"other").hexdigest()
