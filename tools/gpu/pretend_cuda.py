"""A pretend CUDA device for machines without one; pretend_cuda.cpp says what it does.

Needs g++, the headers in torch's own wheel, and a torch that was built with CUDA, as PyPI's for Linux is: the names of
its kernels are taken. `install()` comes before any other use of torch.cuda; site/sitecustomize.py calls it in every
process. Environment:

    PRETEND_CUDA=1          asks for the device (see site/sitecustomize.py)
    PRETEND_CUDA_BUILD      folder of the compiled library
    PRETEND_CUDA_MEMORY     bytes of device memory that are reported and enforced (12 GiB)
    PRETEND_CUDA_DEVICES    number of devices (1)
    PRETEND_CUDA_CAPABILITY compute capability (8.6)
"""

import ctypes
import hashlib
import os
import subprocess
import types
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("pretend_cuda.cpp")
MEMORY = int(os.environ.get("PRETEND_CUDA_MEMORY", 12 * 2**30))  # a full-size model, its copy, a ControlNet
DEVICES = int(os.environ.get("PRETEND_CUDA_DEVICES", 1))
CAPABILITY = tuple(int(part) for part in os.environ.get("PRETEND_CUDA_CAPABILITY", "8.6").split("."))
NATIVE = ("view", "as_strided", "unfold", "_reshape_alias", "set_", "is_set_to")  # about sizes alone
ADDED = ("aten::convolution", "aten::copy_")  # whose common kernels ask for the real device
PRESSURE = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_int64)
_library = _make_room = None


def build() -> Path:
    """The compiled library, made now where it is missing: one for each source and version of torch."""
    name = hashlib.sha256(SOURCE.read_bytes() + torch.__version__.encode()).hexdigest()[:12]
    folder = Path(os.environ["PRETEND_CUDA_BUILD"])
    library = folder / f"pretend-cuda-{name}.so"
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(torch.__file__).parent
    begun = library.with_suffix(f".{os.getpid()}")
    subprocess.run(
        ["g++", "-std=c++20", "-O1", "-fPIC", "-shared", f"-I{root}/include",
         f"-I{root}/include/torch/csrc/api/include", str(SOURCE), "-o", str(begun), f"-L{root}/lib", "-ltorch_cpu",
         "-lc10", f"-Wl,-rpath,{root}/lib"], check=True,
    )  # fmt: skip
    begun.rename(library)
    return library


def install() -> None:
    """Take the place of every CUDA kernel of this process, and of what torch.cuda tells of the device."""
    global _library
    if _library is not None:
        return
    path = str(build())
    torch.ops.load_library(path)
    _library = ctypes.CDLL(path)
    _library.pretend_notes.restype = ctypes.c_char_p
    for name in ("pretend_held", "pretend_peak", "pretend_calls"):
        getattr(_library, name).restype = ctypes.c_int64
    _library.pretend_limit.argtypes = [ctypes.c_int, ctypes.c_int64]
    _library.pretend_unmap.argtypes = [ctypes.c_void_p]
    kernels = torch._C._dispatch_get_registrations_for_dispatch_key("CUDA")
    kernels = [name for name in kernels if name.startswith("aten::") and name[6:].split(".")[0] not in NATIVE]
    kernels += [name for name in ADDED if name not in kernels]
    stderr, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)  # torch warns of every kernel that is replaced
    os.dup2(null, 2)
    try:
        _library.pretend_install("\n".join(kernels).encode(), DEVICES)
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)
    for index in range(DEVICES):
        _library.pretend_limit(index, MEMORY)
    _patch_torch_cuda()


def index_of(device=None) -> int:
    if device is None:
        return _library.pretend_current()
    if isinstance(device, int):
        return device
    index = torch.device(device).index
    return _library.pretend_current() if index is None else index


def held(device=None) -> int:
    """Bytes of device memory that tensors hold now."""
    return _library.pretend_held(index_of(device))


def peak(device=None) -> int:
    return _library.pretend_peak(index_of(device))


def under_pressure(make_room) -> None:
    """Let `make_room(device, bytes)` free what it can before a tensor finds no room."""
    global _make_room
    _make_room = PRESSURE(make_room)  # kept alive, as the library holds its address alone
    _library.pretend_under_pressure(_make_room)


def unmap(tensor: torch.Tensor) -> None:
    """Take its memory back, though somebody may still hold it."""
    _library.pretend_unmap(tensor.data_ptr())


def reset_peak(device=None) -> None:
    _library.pretend_reset_peak(index_of(device))


def notes() -> dict[str, int]:
    """What a real device would do slowly, and how often, since the last call."""
    rows = (line.split("\t") for line in _library.pretend_notes().decode().splitlines())
    return {what: int(times) for times, what in rows}


# --- what torch.cuda tells --------------------------------------------------------------------------------------------


class Stream:
    def __init__(self, device=None, priority=0, **_):
        self.device = torch.device("cuda", index_of(device))
        self.cuda_stream = self.stream_id = id(self)

    def synchronize(self):
        _wait("a stream")

    def wait_stream(self, other):
        pass

    def wait_event(self, event):
        pass

    def query(self):
        return True

    def record_event(self, event=None):
        return event or Event()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class Event:
    def __init__(self, *_, **__):
        pass

    def record(self, stream=None):
        pass

    def synchronize(self):
        _wait("an event")

    def wait(self, stream=None):
        pass

    def query(self):
        return True

    def elapsed_time(self, other):
        return 0.0


class InStream:
    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False


class OnDevice:
    def __init__(self, device):
        self.index = index_of(device)

    def __enter__(self):
        self.before = _library.pretend_current()
        _library.pretend_set_current(self.index)

    def __exit__(self, *_):
        _library.pretend_set_current(self.before)
        return False


def _memory_stats(device=None):
    held_now = held(device)
    return {
        "active_bytes.all.current": held_now, "reserved_bytes.all.current": held_now,
        "allocated_bytes.all.peak": peak(device), "num_ooms": 0,
    }  # fmt: skip


def _memory(device=None):
    return MEMORY - held(device), MEMORY


def _patch_torch_cuda():
    cuda = torch.cuda
    properties = types.SimpleNamespace(
        name="Pretend GPU", major=CAPABILITY[0], minor=CAPABILITY[1], total_memory=MEMORY, multi_processor_count=8,
        gcnArchName="", is_integrated=False, shared_memory_per_block_optin=101376, warp_size=32,
    )  # fmt: skip
    streams = {}

    def current_stream(device=None):
        return streams.setdefault(index_of(device), Stream(device))

    runtime = types.SimpleNamespace(
        cudaHostRegister=_pin, cudaHostUnregister=_unpin, cudaGetLastError=lambda: 0,
        cudaMemGetInfo=lambda *_: _memory(),
    )  # fmt: skip
    told = {
        "is_available": lambda: True, "device_count": lambda: DEVICES, "is_initialized": lambda: True,
        "current_device": lambda: _library.pretend_current(),
        "set_device": lambda device: _library.pretend_set_current(index_of(device)), "device": OnDevice,
        "_lazy_init": lambda: None, "init": lambda: None, "_lazy_call": lambda call, **_: call(),
        "get_device_name": lambda device=None: properties.name,
        "get_device_properties": lambda device=None: properties,
        "get_device_capability": lambda device=None: CAPABILITY, "get_arch_list": lambda: ["sm_86"],
        "is_bf16_supported": lambda *_, **__: CAPABILITY[0] >= 8,
        "mem_get_info": _memory, "memory_stats": _memory_stats, "memory_allocated": held,
        "max_memory_allocated": peak, "memory_reserved": held, "max_memory_reserved": peak,
        "reset_peak_memory_stats": reset_peak, "empty_cache": lambda: None, "ipc_collect": lambda: None,
        "synchronize": lambda device=None: _wait("all"), "Stream": Stream, "Event": Event, "stream": InStream,
        "current_stream": current_stream, "default_stream": current_stream, "StreamContext": InStream,
        "is_current_stream_capturing": lambda: False, "get_allocator_backend": lambda: "native",
        "cudart": lambda: runtime, "manual_seed": _seed, "manual_seed_all": _seed,
        "get_rng_state": lambda device=None: _generator(device).get_state(),
        "set_rng_state": lambda state, device=None: _generator(device).set_state(state),
        "get_rng_state_all": lambda: [_generator(index).get_state() for index in range(DEVICES)],
        "set_rng_state_all": lambda states: [_generator(i).set_state(state) for i, state in enumerate(states)],
    }  # fmt: skip
    for name, value in told.items():
        setattr(cuda, name, value)
    cuda.memory.memory_stats, cuda.memory.mem_get_info = _memory_stats, _memory
    cuda.memory.memory_summary = lambda *_, **__: f"pretend device: {held()} of {MEMORY} bytes"
    cuda.random.get_rng_state, cuda.random.set_rng_state = told["get_rng_state"], told["set_rng_state"]
    torch.random.device_count = lambda *_: DEVICES
    for kernel in ("flash", "cudnn", "efficient"):  # which ask a driver
        setattr(torch.backends.cuda, f"can_use_{kernel}_attention", lambda *_: False)
    torch.UntypedStorage.clone = _clone


def _pin(data, size, flags=0):
    _library.pretend_pin(ctypes.c_void_p(data), ctypes.c_size_t(size))
    return 0


def _unpin(data):
    _library.pretend_unpin(ctypes.c_void_p(data))
    return 0


def _clone(storage):
    """Through tensors: to make a storage by itself asks the driver."""
    size, device = storage.nbytes(), storage.device
    copy = torch.empty(size, dtype=torch.uint8, device=device).untyped_storage()
    return copy.copy_(storage)


def _wait(what):
    _library.pretend_tell(f"waits for the device: {what}".encode())


def _generator(device=None):
    return torch.ops.pretend_cuda.generator_of(index_of(device))


def _seed(seed):
    for index in range(DEVICES):
        _generator(index).manual_seed(int(seed) % 2**63)
