"""Whether an error says that memory ran out."""

import comfy.model_management

from ...oom_detection import says_out_of_memory


def ran_out(error: BaseException) -> bool:
    """Of memory, on whatever device: the host's own test knows those of CUDA and its kin."""
    return isinstance(error, MemoryError) or comfy.model_management.is_oom(error) or says_out_of_memory(str(error))
