import ctypes
import os

import torch


def _read(file, offset, size, address):
    fd = file if isinstance(file, int) else file.fileno()
    data = os.pread(fd, size, offset)
    if len(data) != size:
        raise RuntimeError("short read")
    ctypes.memmove(address, data, size)


def read_file_to_device(file_obj, file_offset, size, stream, device_ptr, device, mark_cold=True):
    _read(file_obj, file_offset, size, device_ptr)


def cleanup_file_reader():
    pass


class HostBuffer:
    MOST = 2**28

    def __init__(self, size, prewarm=0, max_grow_size=0, mark_cold=True):
        self.size = int(size)
        self.memory = torch.empty(min(max(int(size), int(max_grow_size)), self.MOST), dtype=torch.uint8)

    def get_raw_address(self):
        return self.memory.data_ptr()

    def extend(self, size, reallocate=False, register=True):
        if self.size + int(size) > len(self.memory):
            raise RuntimeError("HostBuffer.extend failed")
        self.size += int(size)
        return self.get_raw_address()

    def read_file_slice(self, file_obj, file_offset, size, offset=0, stream=0, device_ptr=0, device=-1):
        _read(file_obj, file_offset, size, self.get_raw_address() + offset)
        if device_ptr:
            ctypes.memmove(device_ptr, self.get_raw_address() + offset, size)
        self.size = max(self.size, int(offset) + int(size))

    def register(self, offset, size):
        pass

    def unregister(self, offset):
        pass

    def truncate(self, size, do_unregister=True):
        self.size = int(size)
