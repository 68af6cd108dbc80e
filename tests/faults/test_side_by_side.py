"""Work that shares a model, an inversion, a CLIP, a process or a server, beside the same work by itself: the same bits.

The branches of one graph take turns node by node: each pair in both orders, and all of them in drawn orders. Two
threads run branches at once, each on models of its own: the host unloads, and forgets who samples, under another thread
that works on the same checkpoint, and keeps one list of what is loaded for all threads, so loading is kept apart here,
as a host with several workers has to. Graphs of several clients are queued behind each other.
"""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import comfy.model_management
import pytest
import torch
from comfyui_videop2p.tests.faults.branches import BRANCHES, Wires, stock_sampler
from comfyui_videop2p.tests.faults.served import Server, both_graph, edit_graph, stock_graph
from comfyui_videop2p.tests.faults.states import equal
from comfyui_videop2p.tools.client import run_graph

ORDERS, ROUNDS = 12, 4  # drawn orders of all branches, and rounds of the threads
THREADS = 2


@torch.inference_mode()
def in_turns(branches, choose=random.choices, wires=None):
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


def by_itself(name, wires=None):
    return in_turns({name: BRANCHES[name]}, wires=wires)


def differing(found, alone):
    """The names of those that are other bits than alone."""
    return [name for name, made in found.items() if not equal(made, alone[name])]


@pytest.fixture(scope="module")
def alone():
    return {name: made for branch in BRANCHES for name, made in by_itself(branch).items()}


@pytest.mark.slow
@pytest.mark.parametrize("order", range(ORDERS))
def test_branches_of_one_graph_in_drawn_orders(alone, order):
    found = in_turns(BRANCHES, random.Random(order).choices)
    assert not differing(found, alone), f"ended in this order: {', '.join(found)}"


@pytest.mark.slow
@pytest.mark.parametrize("second", BRANCHES)
@pytest.mark.parametrize("first", BRANCHES)
def test_branches_of_one_graph_one_after_another(alone, first, second):
    wires = Wires()
    assert not differing(by_itself(first, wires), alone)
    assert not differing(by_itself(second, wires), alone)


@pytest.mark.slow
@pytest.mark.parametrize("round_", range(ROUNDS))
def test_branches_at_once_in_two_threads_on_models_of_their_own(alone, monkeypatch, round_):
    lock, load = threading.Lock(), comfy.model_management.load_models_gpu

    def load_alone(*args, **kwargs):
        with lock:
            return load(*args, **kwargs)

    def work(seed):
        order = random.Random(seed).sample(list(BRANCHES), len(BRANCHES))
        return [said for name in order for said in differing(by_itself(name), alone)]

    monkeypatch.setattr(comfy.model_management, "load_models_gpu", load_alone)
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(work, range(THREADS * round_, THREADS * (round_ + 1)))) == [[]] * THREADS


def untidy(wires):
    """Leaves something on the model that all branches share."""
    wires.image.model_options["sampler_post_cfg_function"] = [lambda args: 1.01 * args["denoised"]]
    yield
    return []


@pytest.mark.parametrize("place, found", [(0, 1), (1, 0)])
def test_what_a_branch_leaves_on_a_shared_model_is_found(place, found):
    """place: of the two branches, the one that takes all its turns before the other."""
    together = in_turns(
        {"untidy": untidy, "stock sampler": stock_sampler}, lambda running: [running[min(place, len(running) - 1)]]
    )
    assert len(differing(together, {"untidy": []} | by_itself("stock sampler"))) == found


# --- on a server ------------------------------------------------------------------------------------------------------

GRAPHS = {
    "edit": lambda info: edit_graph(info, "a blue rabbit on the beach"),
    "another edit": lambda info: edit_graph(info, "a red star on the beach", blend="rabbit", cross=0.6),
    "stock sampler": stock_graph,
    "edit and stock sampler in one graph": lambda info: both_graph(info, "a green rabbit on the beach"),
}


@pytest.fixture(scope="module")
def server(host):
    return Server(host)


@pytest.fixture(scope="module")
def alone_on_server(server):
    """What each graph makes where the cache is empty."""
    made = {}
    for name, graph in GRAPHS.items():
        server.forget()
        made[name] = server.made(run_graph(server.url, graph(server.info)))
    return made


@pytest.mark.slow
@pytest.mark.parametrize("order", range(ORDERS))
def test_graphs_of_several_clients_on_one_server(server, alone_on_server, order):
    """Queued while one runs."""
    names = random.Random(order).sample(list(GRAPHS), len(GRAPHS))
    with ThreadPoolExecutor(len(names)) as clients:
        ran = clients.map(partial(run_graph, server.url), [GRAPHS[name](server.info) for name in names])
        found = {name: server.made(one) for name, one in zip(names, ran, strict=True)}
    assert not differing(found, alone_on_server), f"queued in this order: {', '.join(names)}"
