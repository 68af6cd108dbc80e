import itertools
import os
import weakref

import pretend_cuda
import torch

ROOM = int(os.environ.get("PRETEND_AIMDO_ROOM", 0)) or float("inf")
_numbers = itertools.count(1)
_all = weakref.WeakSet()
LOG = {"faults": 0, "refused": 0, "evicted": 0, "peak": 0}


def held():
    return sum(vbar.loaded_size() for vbar in _all)


def room(device):
    """Bytes for more weights."""
    return min(ROOM - held(), pretend_cuda.MEMORY - pretend_cuda.held(device))


def evict(size, vbars):
    """Free so many bytes, of what was asked for longest ago first."""
    for vbar in sorted(vbars, key=lambda vbar: vbar.order):
        if size > 0:
            size -= vbar.free_memory(size)


class ModelVBAR:
    def __init__(self, size, device):
        self.device, self.max_size, self.offset = device, size, 0
        self.places = {}  # offset -> (tensor, signature)
        self.pinned = {}
        self.sizes = {}
        self.order = next(_numbers)
        _all.add(self)

    def prioritize(self, *_):
        self.order = next(_numbers)

    def deprioritize(self):
        self.order = 0

    def alloc(self, size):
        self.offset = (self.offset + 511) // 512 * 512
        place, self.offset = self.offset, self.offset + size
        self.sizes[place] = size
        return self, place, size

    def fault(self, place, size):
        LOG["faults"] += 1
        if place not in self.places:
            evict(size - room(self.device), [vbar for vbar in _all if vbar.order < self.order])
            if size > room(self.device):
                LOG["refused"] += 1
                return None
            # Fresh device memory holds anything: not zeros, which would hide a weight that was never copied.
            with torch.inference_mode(False):
                tensor = torch.full((max(size, 1),), 0x7F, dtype=torch.uint8, device=torch.device("cuda", self.device))
            self.places[place] = tensor, (next(_numbers),)
            LOG["peak"] = max(LOG["peak"], held())
        self.pinned[place] = self.pinned.get(place, 0) + 1
        return self.places[place][1]

    def unpin(self, place, size):
        if self.pinned.get(place):
            self.pinned[place] -= 1

    def loaded_size(self):
        return sum(self.sizes[place] for place in self.places)

    def free_memory(self, size):
        freed = 0
        for place in list(self.places)[::-1]:
            if freed >= size:
                break
            if self.pinned.get(place):
                continue
            tensor, _ = self.places.pop(place)
            tensor.fill_(0x7F)  # whoever still reads it reads nonsense
            pretend_cuda.unmap(tensor)
            freed += self.sizes[place]
            LOG["evicted"] += 1
        return freed

    def set_watermark_limit(self, size):
        pass

    def set_watermark(self, size):
        pass

    def get_nr_pages(self):
        return 0

    def get_watermark(self):
        return 0

    def get_residency(self):
        return []


# As the real one's allocator for torch's own tensors does.
pretend_cuda.under_pressure(lambda device, size: evict(size, [vbar for vbar in _all if vbar.device == device]))


def vbar_fault(alloc):
    vbar, place, size = alloc
    return vbar.fault(place, size)


def vbar_unpin(alloc):
    if alloc is not None:
        vbar, place, size = alloc
        vbar.unpin(place, size)


def vbar_signature_compare(a, b):
    return a is not None and b is not None and a == b


def vbars_reset_watermark_limits():
    pass


def vbars_analyze(device=None):
    return sum(vbar.loaded_size() for vbar in _all)
