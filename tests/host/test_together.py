"""Branches that share a model, an inversion, a CLIP or a server give the bits that they give alone."""

import pytest
import torch
from comfyui_videop2p.tools.faults.branches import stock_sampler
from comfyui_videop2p.tools.faults.served import Server
from comfyui_videop2p.tools.faults.together import differing, in_process, in_turns, on_server

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_branches_of_one_graph_and_of_two_threads_give_the_bits_that_they_give_alone():
    for figure in in_process(short=True):
        assert not figure.wrong
        assert figure.number >= 6


@pytest.mark.slow
def test_graphs_of_several_clients_give_the_bits_that_they_give_alone(host):
    figure = on_server(Server(host), short=True)
    assert not figure.wrong
    assert figure.number == 4


def untidy(wires):
    """Leaves something on the model that all branches share."""
    wires.image.model_options["sampler_post_cfg_function"] = [lambda args: 1.01 * args["denoised"]]
    yield
    return []


@pytest.mark.parametrize("place, found", [(0, 1), (1, 0)])
def test_what_a_branch_leaves_on_a_shared_model_is_found(place, found):
    """place: of the two branches, the one that takes all its turns before the other."""
    branches = {"untidy": untidy, "stock sampler": stock_sampler}
    with torch.inference_mode():
        alone = {name: in_turns({name: branch})[name] for name, branch in branches.items()}
        together = in_turns(branches, lambda running: [running[min(place, len(running) - 1)]])
    assert len(differing(together, alone)) == found
