"""What a season costs beside the edits themselves: the figures of docs/scale.md, on this machine.

python tools/pack.py tests.batch.scale
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from ...batch import report
from ...batch.engines import dispatched
from ...batch.graph import read
from ...batch.plan import Plan, left, plan
from ...batch.store import Store
from ...batch.table import Row
from ...batch.template import Template, template_of

ROWS, EACH, PUT = 10_000, 4, 1000  # edits, how many of them share a source, and how many are put
PICTURE = b"\0" * 30_000  # bytes of what the report shows of an edit of the demo


class Idle:
    """A worker whose edits take no time."""

    label = "idle"

    def submit(self, job, level):
        answer = Future()
        answer.set_result([{"state": "done", "name": edit.name} for edit in job.edits])
        return answer

    def renew(self) -> bool:
        return True

    def close(self) -> None:
        pass


def timed(what: str, count: int, work: Callable):
    begun = time.process_time(), time.monotonic()
    result = work()
    took, passed = time.process_time() - begun[0], time.monotonic() - begun[1]
    print(f"{what:32} {took:7.2f} s of CPU {passed:7.2f} s passed {1000 * took / count:7.3f} ms each", flush=True)
    return result


def planned(template: Template) -> Plan:
    values = {"source_prompt": "a red rabbit"}
    rows = [
        Row("row", {"clip": f"{n // EACH}.mp4", "target_prompt": f"a red star {n % EACH}", **values})
        for n in range(ROWS)
    ]
    return plan(rows, template, lambda name: name, lambda path: f"{path:0>64}")


def put(store: Store, done: Plan) -> None:
    for edit in done.edits[:PUT]:
        store.put_result(edit.name, {"before_after.webp": PICTURE, "edited.mp4": PICTURE, "result.json": b"{}"})


def main() -> None:
    template = template_of(read("demo_refine"))
    done = timed("plan", ROWS, lambda: planned(template))
    print(f"{'most memory so far':32} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MiB")
    timed("hand out jobs", len(done.jobs), lambda: list(dispatched(done.jobs, [Idle()] * 100, print)))
    with tempfile.TemporaryDirectory(dir=Path(sys.argv[1]) if len(sys.argv) > 1 else None) as folder:
        store = Store(folder)
        timed("put results on the disk", PUT, lambda: put(store, done))
        timed("look what is there", PUT, lambda: left(done.jobs, store.results()))
        shown = {"seconds": 1.0, "mode": "as it is", "table": {"target_prompt": "a red star"}, "files": [report.SHOWN]}
        outcomes = [
            {"state": "done", "name": edit.name, "where": edit.where, "clip": "1.mp4", "figures": {"psnr": 30.0}}
            | shown
            for edit in done.edits
        ]
        timed("report", ROWS, lambda: report.write(store, outcomes, "season"))
        print(f"{'report.html':32} {len(store.read(report.PAGE) or b'') / 2**20:7.1f} MiB")
    print(f"{'most memory':32} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:7.0f} MiB")


if __name__ == "__main__":
    main()
