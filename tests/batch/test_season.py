"""A season of the demo world by two workers of Ray's, killed in every stage and with their driver: all results are
there in the end, none was made twice, and they are those of one ComfyUI bit by bit."""

import time

import numpy as np
import psutil
import pytest
from comfyui_videop2p.tests.batch.season import Season, gone, kill

pytest.importorskip("ray")

WORKERS = "--workers", "2"
FASTER = 1.7  # two workers than one


def comfyui(process: psutil.Process) -> psutil.Process:
    return process


def actor(process: psutil.Process) -> psutil.Process:
    """What holds it: Ray's own process."""
    return process.parent()


# Of each size: clips, edits of each, steps, and what is killed in which stage.
SMALL = 2, 2, (2, 2), [("tuning", comfyui), ("edits", actor)]
WHOLE = 24, 3, (12, 8), [(stage, whom) for whom in (comfyui, actor) for stage in ("tuning", "inversion", "edits")]


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SMALL, id="small", marks=[pytest.mark.slow, pytest.mark.timeout(3000)]),
        pytest.param(WHOLE, id="whole", marks=[pytest.mark.slow, pytest.mark.timeout(36000)]),
    ],
)
def test_a_season_survives_its_workers_and_its_driver(size, tmp_path):
    clips, edits, steps, kills = size
    season, met = Season(tmp_path, clips, edits, steps), set()
    driver = season.begun("many", *WORKERS)
    for stage, whom in kills:
        kill(whom(season.comfyui_in("many", stage, driver, met)))
    season.comfyui_in("many", "edits", driver, met)
    kill(psutil.Process(driver.pid))
    driver.wait()
    assert gone(tmp_path / "many"), "a ComfyUI outlived its driver"
    season.run("many", *WORKERS)

    logs = [log.read_text(encoding="utf-8") for log in (tmp_path / "many" / "logs").iterdir()]
    assert sum(log.count("put among the results") for log in logs) == clips * edits == season.count
    assert not any("was there" in log for log in logs)
    assert season.said("many").count("was lost in") >= len(kills)

    season.run("one")
    one, many = season.frames("one"), season.frames("many")
    assert len(many) == season.count and one.keys() == many.keys()
    assert all(np.array_equal(one[name], many[name]) for name in one)


@pytest.mark.slow
@pytest.mark.timeout(36000)
def test_two_workers_take_little_more_than_half_the_time(tmp_path, record_property):
    season, seconds = Season(tmp_path, 24, 3, (12, 8)), {}
    for count in ("1", "2"):
        begun = time.monotonic()
        season.run(count, "--workers", count)
        seconds[count] = time.monotonic() - begun
    record_property("seconds", seconds)
    assert seconds["1"] / seconds["2"] >= FASTER, seconds
