"""Work that shares a model, an inversion, a CLIP, a process or a server, beside the same work by itself: the same bits.

The branches of one graph take turns node by node: each pair in both orders, and all of them in drawn orders; the short
form takes one drawn order of some. Two threads run branches at once, each on models of its own: the host unloads, and
forgets who samples, under another thread that works on the same checkpoint, and keeps one list of what is loaded for
all threads, so loading is kept apart here, as a host with several workers has to. Graphs of several clients are queued
behind each other.
"""

from __future__ import annotations

import random
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import product
from unittest.mock import patch

import comfy.model_management
import torch
from torch import Tensor

from ..client import run_graph
from ..host import Host
from ..pack import host_path
from .branches import BRANCHES, Branch, Wires
from .faults import equal
from .figures import Figure
from .served import Server, both_graph, edit_graph, stock_graph

Found = dict[str, list[Tensor]]

SHORT = "stock sampler", "edit", "another edit", "custom sampler", "attention maps", "tuned edit"
SHORT_IN_THREADS = "stock sampler", "edit", "another edit"
ORDERS, ROUNDS = 12, 4  # drawn orders of all branches, and rounds of the threads, in the long form
THREADS = 2


def figures(short: bool) -> Iterator[Figure]:
    yield from in_process(short)
    with tempfile.TemporaryDirectory() as folder, Host(host_path(), folder) as host:
        yield on_server(Server(host), short)


# --- in one graph, and in two threads ---------------------------------------------------------------------------------


def in_process(short: bool) -> Iterator[Figure]:
    branches, threaded = (
        {name: BRANCHES[name] for name in names} if short else BRANCHES for names in (SHORT, SHORT_IN_THREADS)
    )
    with torch.inference_mode():
        alone = {name: in_turns({name: branch})[name] for name, branch in branches.items()}
    yield in_drawn_orders(branches, alone, 1 if short else ORDERS)
    if not short:
        yield one_after_another(branches, alone)
    yield in_threads(threaded, alone, 1 if short else ROUNDS)


@torch.inference_mode()
def in_drawn_orders(branches: dict[str, Branch], alone: Found, orders: int) -> Figure:
    choices = [random.Random(seed).choices for seed in range(orders)]
    wrong = tuple(said for choose in choices for said in differing(in_turns(branches, choose), alone))
    return Figure("branches of one graph, in drawn orders", orders * len(branches), "results", wrong)


@torch.inference_mode()
def one_after_another(branches: dict[str, Branch], alone: Found) -> Figure:
    wrong = []
    for first, second in product(branches, branches):
        wires = Wires()
        before, after = (in_turns({name: branches[name]}, wires=wires)[name] for name in (first, second))
        if not equal(before, alone[first]):
            wrong.append(f"{first}, before {second}: other bits than alone")
        if not equal(after, alone[second]):
            wrong.append(f"{second}, after {first}: other bits than alone")
    return Figure("branches of one graph, one after another", 2 * len(branches) ** 2, "results", tuple(wrong))


def in_turns(branches: dict[str, Branch], choose=random.choices, wires: Wires | None = None) -> Found:
    """What comes out of branches of one graph that take turns, `choose` drawing whose turn it is."""
    wires, found = wires or Wires(), {}
    running = {name: branch(wires) for name, branch in branches.items()}
    while running:
        (name,) = choose(list(running))
        try:
            next(running[name])
        except StopIteration as end:
            found[name] = end.value
            del running[name]
    return found


def in_threads(branches: dict[str, Branch], alone: Found, rounds: int) -> Figure:
    def work(seed: int) -> list[str]:
        order = random.Random(seed).sample(list(branches), len(branches))
        with torch.inference_mode():  # of each thread by itself
            return [said for name in order for said in differing(in_turns({name: branches[name]}), alone)]

    with loading_kept_apart(), ThreadPoolExecutor(THREADS) as pool:
        wrong = [said for found in pool.map(work, range(THREADS * rounds)) for said in found]
    return Figure(
        "at once in two threads, models of their own", THREADS * rounds * len(branches), "results", tuple(wrong)
    )


@contextmanager
def loading_kept_apart():
    lock, load = threading.Lock(), comfy.model_management.load_models_gpu

    def alone(*args, **kwargs):
        with lock:
            return load(*args, **kwargs)

    with patch.object(comfy.model_management, "load_models_gpu", alone):
        yield


def differing(found: Found, alone: Found) -> list[str]:
    order = ", ".join(found)
    return [
        f"{name} (ended in this order: {order}): other bits than alone"
        for name, made in found.items()
        if not equal(made, alone[name])
    ]


# --- on a server ------------------------------------------------------------------------------------------------------


def on_server(server: Server, short: bool) -> Figure:
    """Graphs of several clients, queued while one runs, in drawn orders; alone each has an empty cache."""
    graphs = {
        "edit": edit_graph(server.info, "a blue ball on the beach"),
        "another edit": edit_graph(server.info, "a red star on the beach", blend="ball", cross=0.6),
        "stock sampler": stock_graph(server.info),
        "edit and stock sampler in one graph": both_graph(server.info, "a green ball on the beach"),
    }
    alone = {}
    for name, graph in graphs.items():
        server.forget()
        alone[name] = server.made(run_graph(server.url, graph))
    wrong, number = [], 0
    for seed in range(1 if short else ORDERS):
        order = random.Random(seed).sample(list(graphs), len(graphs))
        with ThreadPoolExecutor(len(order)) as clients:
            ran = clients.map(partial(run_graph, server.url), [graphs[name] for name in order])
            found: Sequence[list[Tensor]] = [server.made(one) for one in ran]
        number += len(order)
        wrong += [
            f"{name}, queued in the order {', '.join(order)}: other bits than alone"
            for name, made in zip(order, found, strict=True)
            if not equal(made, alone[name])
        ]
    return Figure("graphs of several clients on one server", number, "graphs", tuple(wrong))
