"""Folders of frames, as many sets come, as clips."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from PIL import Image

ENDINGS = (".jpg", ".jpeg", ".png")
FRAMES_PER_SECOND = 24  # as DAVIS was filmed
QUALITY = 8  # H.264's constant rate factor: far better than the JPEGs


def frames_in(folder: Path) -> list[Path]:
    """In the order of their names; raises FileNotFoundError where there is none."""
    frames = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not frames:
        raise FileNotFoundError(f"{folder} holds no frame")
    return frames


def as_clip(folder: Path) -> bytes:
    """An MP4 of the frames in a folder, each as large as the first; of odd sides the last line is left out."""
    frames, file = frames_in(folder), BytesIO()
    with Image.open(frames[0]) as first:
        size = first.width // 2 * 2, first.height // 2 * 2
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND), options={"crf": str(QUALITY)})
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for path in frames:
            with Image.open(path) as picture:
                frame = picture.convert("RGB").crop((0, 0, *size))
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return file.getvalue()
