"""Whether a sentence says that memory ran out."""

PHRASES = ("out of memory", "outofmemory", "allocation on device", "allocate memory", "not enough memory")


def says_out_of_memory(message: str) -> bool:
    """On whatever device: each driver has words of its own."""
    return any(phrase in message.lower() for phrase in PHRASES)
