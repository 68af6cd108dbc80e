"""Jobs given to workers that come and go."""

from concurrent.futures import Future

import pytest
from comfyui_videop2p.batch import engines
from comfyui_videop2p.batch.engines import RETRIES, dispatched
from comfyui_videop2p.batch.faults import START, BatchError, LostError
from comfyui_videop2p.batch.plan import Edit, Job


def job(name):
    return Job(name, f"{name}.mp4", "file", (Edit("row", name, {}, {}),))


class Scripted:
    """A worker that is lost so often in each job, and comes back or not."""

    def __init__(self, label, losses=(), back=True, stages=("edits",) * 9):
        self.label, self.losses, self.back, self.stages, self.asked = label, dict(losses), back, list(stages), []

    def submit(self, job, level):
        self.asked.append((job.name, level))
        answer = Future()
        if self.losses.get(job.name, 0) > 0:
            self.losses[job.name] -= 1
            answer.set_exception(LostError("it was killed", self.stages.pop(0)))
        else:
            answer.set_result([{"state": "done", "name": job.name}])
        return answer

    def renew(self):
        return self.back

    def close(self):
        pass


def done(jobs, workers, told=None):
    return {
        job.name: outcome for job, (outcome,) in dispatched(jobs, workers, (told if told is not None else []).append)
    }


@pytest.fixture
def jobs():
    return [job(name) for name in "abcde"]


def test_every_job_is_done_once(jobs):
    workers = [Scripted("one"), Scripted("two")]
    outcomes = done(jobs, workers)
    assert {name for name, _ in workers[0].asked + workers[1].asked} == set("abcde") == set(outcomes)
    assert len(workers[0].asked) + len(workers[1].asked) == 5 and all(worker.asked for worker in workers)


def test_a_lost_worker_costs_the_running_job_and_is_told(jobs):
    told = []
    worker = Scripted("one", {"c": 2})
    outcomes = done(jobs, [worker], told)
    assert all(outcome["state"] == "done" for outcome in outcomes.values())
    assert told == [
        "one was lost in c, edits (it was killed): begun again, 1 of 3",
        "one was lost in c, edits (it was killed): begun again, 2 of 3",
    ]
    assert [level for name, level in worker.asked if name == "c"] == [0, 0, 1]  # the second loss asks for less


def test_losses_in_different_stages_are_no_lack_of_memory():
    worker = Scripted("one", {"a": 3}, stages=["clip", "tuning", "inversion"])
    done([job("a")], [worker])
    assert worker.asked == [("a", 0)] * 4


def test_retries_are_bounded(jobs):
    worker = Scripted("one", {"b": 99}, stages=("edits",) * 99)
    outcomes = done(jobs, [worker])
    assert outcomes["b"]["state"] == "failed" and "ComfyUI went 4 times" in outcomes["b"]["sentence"]
    assert [name for name, _ in worker.asked].count("b") == RETRIES + 1
    assert all(outcomes[name]["state"] == "done" for name in "acde")


def test_who_does_not_come_back_gets_nothing_more(jobs):
    gone, there, told = Scripted("gone", {"a": 9}, back=False), Scripted("there"), []
    outcomes = done(jobs, [gone, there], told)
    assert len(gone.asked) == 1 and set(outcomes) == set("abcde")
    assert told[-1] == "gone does not come back: it gets nothing more to do"


def test_a_comfyui_that_does_not_come_up_costs_no_job(jobs):
    broken, there, told = Scripted("broken", dict.fromkeys("abcde", 9), stages=[START] * 99), Scripted("there"), []
    outcomes = done(jobs, [broken, there], told)
    assert all(outcome["state"] == "done" for outcome in outcomes.values()) and len(outcomes) == 5
    assert len(broken.asked) <= RETRIES + 1 and {level for _, level in there.asked} == {0}


def test_no_comfyui_that_comes_up_is_a_sentence(jobs):
    with pytest.raises(BatchError, match="no ComfyUI is left and 5 jobs are"):
        done(jobs, [Scripted("broken", dict.fromkeys("abcde", 9), stages=[START] * 99)])


def test_no_worker_left_is_a_sentence(jobs):
    with pytest.raises(BatchError, match="no ComfyUI is left and 5 jobs are"):
        done(jobs, [Scripted("gone", {"a": 9}, back=False)])


def test_a_fault_of_all_stops_the_run(jobs, monkeypatch):
    worker, answer = Scripted("one"), Future()
    answer.set_exception(BatchError("the disk is full"))
    monkeypatch.setattr(worker, "submit", lambda job, level: answer)
    monkeypatch.setattr(engines, "WAKE", 0.01)
    with pytest.raises(BatchError, match="the disk is full"):
        done(jobs, [worker])
