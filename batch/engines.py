"""Who does the jobs: one ComfyUI of this process, or ComfyUIs that run already; batch/on_ray.py has the third."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from .faults import START, BatchError, LostError
from .plan import Job
from .servers import RunningServer
from .store import Store
from .template import Template
from .work import Outcome, Work, failed

RETRIES = 3  # of a stage whose ComfyUI was lost
SAME = 1  # of them in the same mode: what ends ComfyUI once more may be a lack of memory
WAKE = 1.0  # seconds


class Worker(Protocol):
    """One ComfyUI and what holds it. submit: a job, in the level-th of its modes; the Future raises LostError where the
    ComfyUI went. renew: another in its place, or False where there is none."""

    label: str

    def submit(self, job: Job, level: int) -> Future[list[Outcome]]: ...

    def renew(self) -> bool: ...

    def close(self) -> None: ...


class ThreadWorker:
    """A server that was started, which a thread of this process works with."""

    def __init__(self, label: str, server: RunningServer, template: Template, store: Store) -> None:
        self.label, self.server, self.template, self.store = label, server, template, store
        self.thread, self.started = ThreadPoolExecutor(1, thread_name_prefix=label), True

    def submit(self, job: Job, level: int) -> Future[list[Outcome]]:
        return self.thread.submit(self._done, job, level)

    def renew(self) -> bool:
        self.server.stop()
        self.started = False
        return self.server.comes_back()

    def close(self) -> None:
        self.thread.shutdown(wait=False, cancel_futures=True)
        self.server.stop()  # which ends what the thread waits for
        self.thread.shutdown(wait=True)

    def _done(self, job: Job, level: int) -> list[Outcome]:
        if not self.started:
            self.server.start()
            self.started = True
        return Work(job, self.template, self.server, self.store).done(level)


def dispatched(
    jobs: Sequence[Job], workers: Sequence[Worker], report: Callable[[str], None]
) -> Iterator[tuple[Job, list[Outcome]]]:
    """Every job with what came of its edits, as they come. A job whose worker was lost is given to another, at most
    RETRIES times. Raises BatchError where no worker is left."""
    waiting, idle, losses, level = deque(jobs), deque(workers), Counter(), Counter()
    running: dict[Future[list[Outcome]], tuple[Worker, Job]] = {}
    while waiting or running:
        while waiting and idle:
            worker, job = idle.popleft(), waiting.popleft()
            running[worker.submit(job, level[job.name])] = worker, job
        if not running:
            raise BatchError(
                f"no ComfyUI is left and {len(waiting)} jobs are: start one and run the same command again"
            )
        for future in wait(running, WAKE, FIRST_COMPLETED).done:
            worker, job = running.pop(future)
            try:
                yield job, future.result()
            except LostError as error:
                # A ComfyUI that does not come up is no fault of the job's.
                starting = error.stage == START
                whose = worker.label if starting else job.name, error.stage
                losses[whose] += 1
                again = losses[whose] <= RETRIES
                how = f"begun again, {losses[whose]} of {RETRIES}" if again else "given up"
                report(
                    f"{worker.label} was lost in {', '.join(filter(None, (job.name, error.stage)))} ({error}): {how}"
                )
                if again or starting:
                    waiting.appendleft(job)
                else:
                    sentence = f"ComfyUI went {losses[whose]} times while it was made ({error}): see its log"
                    yield job, [failed(edit, job.clip, sentence) for edit in job.edits]
                if not starting:
                    level[job.name] = max(level[job.name], losses[whose] - SAME)
                if (again or not starting) and worker.renew():
                    idle.append(worker)
                else:
                    report(f"{worker.label} does not come back: it gets nothing more to do")
            else:
                losses.pop((worker.label, START), None)
                idle.append(worker)
