"""Ray as the engine: one ComfyUI a GPU, each held by an actor, on this machine or on a cluster."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
import webbrowser
from argparse import Namespace
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from ..tools.pack import ROOT
from . import ray_actor
from .faults import BatchError, LostError
from .graph import Place
from .plan import Job
from .servers import comfyui_folder
from .store import Store, sentence
from .template import Template
from .work import Outcome

PATIENCE = 30  # seconds for a cluster to answer


class RayWorker:
    """An actor with its ComfyUI. make: another actor like it."""

    def __init__(self, label: str, make: Any) -> None:
        self.label, self.make = label, make
        self.actor = make()

    def submit(self, job: Job, level: int) -> Future[list[Outcome]]:
        answer: Future[list[Outcome]] = Future()
        self.actor.done.remote(job, level).future().add_done_callback(lambda done: _hand_on(done, answer))
        return answer

    def renew(self) -> bool:
        self.close()
        self.actor = self.make()
        return True

    def close(self) -> None:
        import ray

        ray.kill(self.actor)  # its ComfyUI ends with it


def _hand_on(done: Future[Any], answer: Future[list[Outcome]]) -> None:
    """An actor's answer, or what became of it."""
    error = done.exception()
    if error is not None:  # the actor's process, its machine or its code
        answer.set_exception(LostError(sentence(error)))
        return
    kind, *contents = done.result()
    if kind == "lost":
        answer.set_exception(LostError(*contents))
    elif kind == "refused":
        answer.set_exception(BatchError(*contents))
    else:
        answer.set_result(contents[0])


def workers(options: Namespace, template: Template, store: Store, places: set[Place], scratch: Path) -> list[RayWorker]:
    """Raises BatchError where there is no Ray, no cluster, or a ComfyUI that lacks what the graph needs."""
    ray = _ray(options)
    every = ray.cluster_resources()
    gpus, cpus = int(every.get("GPU", 0)), int(every.get("CPU", 1))
    count = options.workers or gpus or 1
    if 0 < gpus < count:
        raise BatchError(f"there are {gpus} GPUs for {count} workers: ask for {gpus} at most")
    resources = {"num_gpus": 1 if gpus else 0, "num_cpus": max(1, cpus // count) if not gpus else 1}
    if resources["num_cpus"] * count > cpus:
        raise BatchError(f"there are {cpus} CPUs for {count} workers: ask for {cpus} at most")
    ray.cloudpickle.register_pickle_by_value(ray_actor)
    actor = ray.remote(**resources)(ray_actor.Actor)
    comfyui = str(comfyui_folder(options.comfyui))

    def make(number: int) -> Any:
        return actor.remote(str(ROOT), comfyui, str(scratch / f"worker-{number}"), store.url, template.graph)

    ray_workers = [RayWorker(f"worker {number}", lambda number=number: make(number)) for number in range(count)]
    checks = [worker.actor.check.remote(places) for worker in ray_workers]  # their ComfyUIs start together
    try:
        kind, *contents = ray.get(checks[0])
    except ray.exceptions.RayError as error:
        raise BatchError(f"no worker starts on the cluster ({sentence(error)}): see Ray's logs") from error
    if kind != "done":
        raise BatchError(contents[0])
    return ray_workers


def left() -> None:
    """Take leave of the cluster, or end what was started of Ray here."""
    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def _ray(options: Namespace) -> Any:
    if importlib.util.find_spec("ray") is None:
        raise BatchError("--workers and --ray need Ray: pip install ray, or leave them out for one ComfyUI")
    # Of Ray's own settings: nothing leaves this machine, and no file is taken along to the workers.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    import ray

    stopping = signal.getsignal(signal.SIGTERM)
    try:
        if options.ray:
            context = ray.init(address=options.ray, log_to_driver=False, logging_level="error")
        else:
            context = ray.init(
                num_cpus=max(os.cpu_count() or 1, options.workers), include_dashboard=options.dashboard,
                log_to_driver=False, logging_level="error",
            )  # fmt: skip
    except Exception as error:  # each way to fail has a class of its own
        if options.ray:
            message = (
                f"the Ray cluster at {options.ray} does not answer ({sentence(error)}): start it, or mend its name"
            )
        else:
            message = f"Ray does not start on this machine ({sentence(error)}): mend that, or leave --workers out"
        raise BatchError(message) from error
    signal.signal(signal.SIGTERM, stopping)  # Ray's own handler ends this process at once
    if options.dashboard:
        if not context.dashboard_url:
            raise BatchError("Ray shows no dashboard here: pip install 'ray[default]'")
        webbrowser.open(f"http://{context.dashboard_url}")
    return ray
