"""python batch.py TABLE --out FOLDER: what is asked for, done, told and reported."""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from . import benchmark, graph, on_ray, report, table
from .clips import Digests, path_in
from .columns import CLIP, NOTE, place_of
from .engines import ThreadWorker, Worker, dispatched
from .faults import START, BatchError, LostError
from .graph import Place
from .plan import Job, Plan, left, plan
from .servers import OwnServer, RunningServer, comfyui_folder
from .store import Store
from .template import Template, template_of
from .work import DONE_STATE, FAILED_STATE, Outcome

DEFAULT_GRAPH = "sd15_word_swap"
CLIPS = 8  # of the demo's benchmark
ALL_DONE, SOME_FAILED, REFUSED, STOPPED = 0, 1, 2, 130  # exit codes
SCRATCH = "comfyui"  # the folder of the ComfyUIs that are started, below the results


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="batch.py", description="Many clips, several edits each; see docs/batch.md.")
    parser.add_argument(
        "table", type=Path, nargs="?", help="CSV, JSONL or Parquet, or a folder of clips with a text beside each"
    )
    parser.add_argument("--out", required=True, help="folder of the results, or its address (s3://...)")
    parser.add_argument("--graph", default=DEFAULT_GRAPH, help="API graph: a file, or a name of workflows/api")
    parser.add_argument("--clip-vision", metavar="FILE", help="a model of models/clip_vision, for more figures")
    parser.add_argument(
        "--comfyui", help="folder of the ComfyUI to start; else COMFYUI_PATH, or the one around the pack"
    )
    parser.add_argument("--servers", nargs="+", metavar="URL", help="ComfyUIs that run already, in place of own ones")
    parser.add_argument("--workers", type=int, metavar="N", help="so many ComfyUIs at once, by Ray")
    parser.add_argument("--ray", metavar="ADDRESS", help="the Ray cluster to run on")
    parser.add_argument("--scratch", type=Path, help="where started ComfyUIs work, by default the results' folder")
    parser.add_argument("--dashboard", action="store_true", help="open Ray's dashboard")
    parser.add_argument(
        "--benchmark",
        choices=[benchmark.DEMO, benchmark.FOLDER],
        help="methods compared on rendered clips, or a public set",
    )
    parser.add_argument(
        "--clips", type=int, default=CLIPS, metavar="K", help=f"of the demo's benchmark, {CLIPS} by default"
    )
    parser.add_argument("--plan", action="store_true", help="say what would be done, and do nothing")
    return parser.parse_args(argv)


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    options = arguments(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run(options)
    except BatchError as error:
        print(f"batch.py: {error}", file=sys.stderr)
        return REFUSED
    except KeyboardInterrupt:
        print("batch.py: stopped; the same command goes on from here", file=sys.stderr)
        return STOPPED


def run(options: argparse.Namespace) -> int:
    """Raises BatchError where nothing can be done."""
    if options.servers and (options.ray or options.workers is not None):
        raise BatchError("--servers are ComfyUIs of their own: leave --workers and --ray out beside them")
    if options.dashboard and not options.ray and options.workers is None:
        raise BatchError("--dashboard is Ray's: give --workers or --ray")
    if options.clips < 1 or options.workers is not None and options.workers < 1:
        raise BatchError("--workers and --clips count from 1 on: ask for one at least")
    if options.benchmark == benchmark.DEMO:
        return compared(options)
    if options.table is None:
        raise BatchError("there is no table to read: name it, or a folder, as the first argument")
    template = template_of(graph.read(options.graph), options.clip_vision)
    folder = (options.table if options.table.is_dir() else options.table.parent).resolve()
    if options.benchmark == benchmark.FOLDER and not options.table.is_dir():
        raise BatchError(f"{options.table} is no folder: name the one that the set was unpacked in")
    return exit_code(
        edited(options, template, table.read(options.table), folder, Store(options.out), options.table.name)
    )


def compared(options: argparse.Namespace) -> int:
    """Every method of the demo's benchmark on the same clips, each in a folder of its own, and a table of all."""
    demo, store, measured, every = benchmark.demo(), Store(options.out), {}, []
    if store.folder is None:
        raise BatchError("the demo's benchmark renders its clips: give it a folder of this machine")
    clips = store.folder / "clips"
    clips.mkdir(exist_ok=True)
    cells = demo.table(clips, options.clips)
    for method, name in demo.METHODS.items():
        print(f"{method}, by the workflow {name}:", flush=True)
        template, method_store = template_of(graph.read(name), options.clip_vision), Store(f"{options.out}/{name}")
        outcomes = edited(options, template, benchmark.rows_for(cells, template), clips, method_store, method)
        measured[method] = benchmark.figures_of(outcomes, method_store, clips)
        every += outcomes
        store.write(benchmark.COMPARISON, demo.comparison(measured).encode())
    print(demo.comparison(measured))
    return exit_code(every)


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """Of a run that came to its end."""
    return SOME_FAILED if any(outcome["state"] != DONE_STATE for outcome in outcomes) else ALL_DONE


def edited(
    options: argparse.Namespace, template: Template, rows: Sequence[table.Row], folder: Path, store: Store, title: str
) -> list[Outcome]:
    """Plan, do what is left to do, report. folder: that of the clips."""
    with only_one_run(store):
        digests = Digests(store)
        planned = plan(rows, template, lambda name: path_in(folder, name), digests)
        digests.keep()
        jobs = left(planned.jobs, store.results())
        print(summary(planned, jobs), flush=True)
        if options.plan:
            return []
        outcomes = [refusal(row, why) for row, why in planned.refused]
        try:
            if jobs:
                with engine(options, template, store, places_set(rows, template)) as workers:
                    do(jobs, workers, outcomes)
        finally:
            outcomes += results(store, planned, {outcome["name"] for outcome in outcomes})
            files = report.write(store, outcomes, title)
            print(f"Look at {' and '.join(f'{store.url}/{name}' for name in files)}.", flush=True)
    return outcomes


def do(jobs: Sequence[Job], workers: Sequence[Worker], outcomes: list[Outcome]) -> None:
    """outcomes: grow with every job, so that they are there where the run is stopped."""
    seconds = 0.1 if sys.stderr.isatty() else 10  # a log file need not keep every step
    total = sum(len(job.edits) for job in jobs)
    with tqdm(total=total, unit="edit", mininterval=seconds, smoothing=0.05) as bar:
        for job, some in dispatched(jobs, workers, bar.write):
            outcomes += some
            bar.update(len(job.edits))
            bar.set_postfix(failed=sum(outcome["state"] == FAILED_STATE for outcome in outcomes), refresh=False)


@contextmanager
def engine(
    options: argparse.Namespace, template: Template, store: Store, places: set[Place]
) -> Generator[Sequence[Worker], None, None]:
    """The workers, all of them ended behind it. Raises BatchError before any work where they cannot do it."""
    workers: list[Worker] = []
    try:
        if options.servers:
            workers.extend(ready(url, RunningServer(url), template, store, places) for url in options.servers)
        elif options.ray or options.workers is not None:
            workers += on_ray.workers(options, template, store, places, scratch(options, store))
        else:
            server = OwnServer(comfyui_folder(options.comfyui), scratch(options, store) / "worker-0", store)
            workers.append(ready("ComfyUI", server, template, store, places))
        yield workers
    finally:
        for worker in workers:
            worker.close()
        if options.ray or options.workers is not None:
            on_ray.left()


def ready(label: str, server: RunningServer, template: Template, store: Store, places: set[Place]) -> ThreadWorker:
    """With a ComfyUI that answers and has all that the graph needs."""
    try:
        server.start()
        server.check(template.graph, places)
    except LostError as error:
        advice = "" if error.stage == START else ": start it, or leave it out of --servers"
        raise BatchError(f"{error}{advice}") from error
    except BaseException:
        server.stop()
        raise
    return ThreadWorker(label, server, template, store)


def scratch(options: argparse.Namespace, store: Store) -> Path:
    """Where started ComfyUIs work: beside the results, where these lie on a disk."""
    folder = (
        options.scratch or (store.folder and store.folder / SCRATCH) or Path(tempfile.gettempdir()) / lock_name(store)
    )
    return folder.resolve()


@contextmanager
def only_one_run(store: Store) -> Generator[None, None, None]:
    """Two runs at once would make things twice."""
    path = Path(tempfile.gettempdir()) / f"{lock_name(store)}.lock"
    lock = FileLock(path if store.folder is None else store.folder / f".{SCRATCH}.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout as error:
        raise BatchError(f"another run is at work on {store.url}: wait for it to end") from error


def lock_name(store: Store) -> str:
    """Of what a run on a store has in the machine's temporary folder."""
    return f"videop2p-{hashlib.sha256(store.url.encode()).hexdigest()[:12]}"


def places_set(rows: Sequence[table.Row], template: Template) -> set[Place]:
    """The inputs that the table has values for."""
    return {place_of(template.graph, name) for name in table.columns(list(rows)) if not name.startswith(NOTE)}


def summary(planned: Plan, jobs: Sequence[Job]) -> str:
    """What is to do, and the first of what cannot be."""
    todo, every = sum(len(job.edits) for job in jobs), len(planned.edits)
    parts = [f"{every} edits of {len(planned.jobs)} sources, {every - todo} of them there, {todo} to do"]
    parts += [f"{planned.twice} rows that repeat another"] * (planned.twice > 0)
    parts += [
        f"{len(planned.refused)} rows that cannot be done: {row.where}: {why}" for row, why in planned.refused[:1]
    ]
    return "; ".join(parts)


def refusal(row: table.Row, why: str) -> Outcome:
    """Of a row that is no edit."""
    cells = {name: value for name, value in row.values.items() if name != CLIP}
    return {"state": FAILED_STATE, "name": "", "where": row.where, "table": cells, CLIP: str(row.values.get(CLIP, "")),
            "sentence": why}  # fmt: skip


def results(store: Store, planned: Plan, reported: set[str]) -> list[Outcome]:
    """Of the plan's edits that were done before, or are done though their job did not come to its end."""
    finished = store.results()
    return [store.result(edit.name) for edit in planned.edits if edit.name in finished - reported]
