"""Whether an error says that memory ran out."""

import comfy.model_management

WORDS = ("out of memory", "allocate memory", "not enough memory")


def ran_out(error: BaseException) -> bool:
    """Of memory, on whatever device: the host's own test knows those of CUDA and its kin."""
    message = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or comfy.model_management.is_oom(error)
        or any(words in message for words in WORDS)
    )
