"""A clip too long for one pass, in overlapping parts that all see frame 0."""

from math import ceil


def even_windows(frames: int, length: int, overlap: int) -> list[list[int]]:
    """As few windows of `length` frames as cover the clip and overlap by at least `overlap`, evenly spread."""
    if frames <= length:
        return [list(range(frames))]
    count = ceil((frames - overlap) / (length - overlap))
    starts = [round(i * (frames - length) / (count - 1)) for i in range(count)]
    return [list(range(start, start + length)) for start in starts]
