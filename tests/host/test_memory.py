"""Edit after edit, and cancelled graph after cancelled graph, memory stays what it was."""

import pytest
from comfyui_videop2p.tools.faults.memory import (
    EDITS,
    SHORT_CYCLES,
    SHORT_EDITS,
    TENSORS,
    cancelled,
    edited,
    flat,
    flat_resident,
    in_process,
    on_server,
    slope,
)
from comfyui_videop2p.tools.faults.served import Server


@pytest.mark.slow
def test_edits_in_one_process_leave_nothing_behind():
    for figure in in_process(SHORT_EDITS):
        assert not figure.wrong


def test_a_latent_left_behind_by_each_edit_is_found():
    left = []

    def hoarding(world, target):
        left.append(edited(world, target).source)

    tensors, _ = in_process(4, hoarding)
    assert "grows by" in tensors.wrong[0]


@pytest.mark.slow
def test_edits_and_cancelled_graphs_leave_nothing_on_a_server(host):
    server = Server(host)
    for figure in (on_server(server, SHORT_EDITS // 2), *cancelled(server, SHORT_CYCLES)):
        assert not figure.wrong


def test_growth_is_told_by_the_second_half():
    assert slope([0, 9, 9, 1, 2, 3]) == pytest.approx(1)
    assert slope([5, 5, 5, 7, 7, 7]) == pytest.approx(0)


@pytest.mark.parametrize("number, leak", [(EDITS, 100 * 2**10), (SHORT_EDITS, 50 * 2**20)])
def test_what_stays_resident_of_each_edit_is_found_in_the_long_form_and_a_model_in_the_short(number, leak):
    noise = [2**20 * (i % 3) for i in range(number)]
    assert not flat_resident("it", noise, "edits").wrong
    assert flat_resident("it", [leak * i + value for i, value in enumerate(noise)], "edits").wrong


def test_a_tensor_of_half_a_latent_is_too_much():
    assert not flat("it", [2**30] * 8, "edits", TENSORS).wrong
    assert flat("it", [2**30 + 2 * TENSORS * i for i in range(8)], "edits", TENSORS).wrong
