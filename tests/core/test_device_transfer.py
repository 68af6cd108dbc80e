"""Copies that are done later than they are asked for, as those of a device are."""

import pytest
import torch
from comfyui_videop2p.videop2p_core.device_transfer import Ferry, Half


class Device:
    """Copies in the order in which it was asked, but only as far as somebody waits for it."""

    def __init__(self):
        self.asked, self.waits = [], 0

    def wait(self, copies):
        self.waits += 1
        done, self.asked = self.asked[:copies], self.asked[copies:]
        for to, part in done:
            to.copy_(part)


class Event:
    """Behind the last copy that was asked for when it was recorded."""

    def __init__(self, device):
        self.device, self.last = device, None

    def record(self):
        self.last = self.device.asked[-1]

    def synchronize(self):
        places = [place for place, copy in enumerate(self.device.asked, 1) if copy is self.last]
        self.device.wait(max(places, default=0))


class Slow(Ferry):
    """A Ferry to such a device, though tensors of both are in main memory."""

    def __init__(self, half):
        super().__init__()
        self.device = Device()
        self.halves = [Half(torch.zeros(half, dtype=torch.uint8), Event(self.device)) for _ in range(2)]

    def _carries(self, device):
        return True

    def _copy(self, to, part):
        self.device.asked.append((to, part))


def tensors():
    """Of several sizes, many of them larger than what is page-locked."""
    sizes = 3, 1, 40, 7, 0, 2, 13, 100
    return [torch.randn(rows, 5, generator=torch.Generator().manual_seed(rows)) for rows in sizes]


@pytest.mark.parametrize("half", [7, 64, 200, 2**14])
def test_what_goes_out_is_there_once_it_has_landed(half):
    slow, given = Slow(half), tensors()
    out = [slow.out(x, torch.float32) for x in given]
    assert slow.device.asked
    slow.land()
    assert all(map(torch.equal, out, given))
    assert not slow.device.asked


def test_in_half_precision_it_is_what_the_device_makes_of_it():
    slow, given = Slow(64), tensors()
    out = [slow.out(x, torch.float16) for x in given]
    slow.land()
    assert all(torch.equal(one, other.half()) for one, other in zip(out, given, strict=True))


@pytest.mark.parametrize("half", [7, 64, 200, 2**14])
def test_what_comes_back_is_what_was_given(half):
    slow, given = Slow(half), tensors()
    back = [slow.back(x, like=torch.empty(0)) for x in given]
    assert slow.device.asked
    slow.device.wait(len(slow.device.asked))
    assert all(map(torch.equal, back, given))


def test_nobody_waits_while_there_is_room():
    slow, given = Slow(2**14), tensors()
    for x in given:
        slow.back(slow.out(x, torch.float32), like=torch.empty(0))
    assert not slow.device.waits
    slow.land()
    assert slow.device.waits == 1


def test_without_a_cuda_device_copies_are_ordinary_ones():
    x = torch.randn(2, 3)
    plain = Ferry()
    out = plain.out(x, torch.float32)
    assert torch.equal(out, x) and out.data_ptr() != x.data_ptr()
    assert plain.back(out, like=x).data_ptr() == out.data_ptr() and not plain.halves


def test_where_no_memory_is_page_locked_it_is_said_and_copies_are_ordinary_ones(caplog, monkeypatch):
    def none(self):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(Ferry, "_half", none)
    plain, cuda = Ferry(), torch.device("cuda")
    assert not plain._carries(cuda) and not plain._carries(cuda)
    assert [record.getMessage() for record in caplog.records] == [
        "No page-locked memory is to be had, so that copies to main memory wait: CUDA error: out of memory"
    ]
