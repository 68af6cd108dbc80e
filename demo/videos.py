"""The demo clips: short videos of scenes that neither training nor evaluation draws.

python tools/pack.py demo.videos       writes them anew, in the environment that `dev.py setup` names
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from . import scenes

FOLDER = Path(__file__).parent / "clips"
FRAMES, FRAMES_PER_SECOND = 8, 8
QUALITY = 8  # H.264's constant rate factor: far better than what a camera's own file would be

CLIPS = [
    scenes.Scene(500301, "rabbit", "red", "plain", "beach"),
    scenes.Scene(500003, "fish", "orange", "plain", "moon"),
    scenes.Scene(500004, "car", "red", "plain", "snow"),
]


def file_of(caption: str) -> Path:
    """The file of a clip, which its caption names: no tracked path has a space."""
    return FOLDER / f"{caption.replace(' ', '_')}.mp4"


FIRST = file_of(scenes.caption(CLIPS[0]))


def scene_of(name: str) -> scenes.Scene:
    """The scene of a clip by its caption."""
    return next(scene for scene in CLIPS if scenes.caption(scene) == name)


def read(path: Path) -> np.ndarray:
    """[frames, height, width, 3] in 0..1"""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype("f4") / 255


def write(path: Path, frames: list[np.ndarray]) -> None:
    """Frames [height, width, 3] in 0..1 as an H.264 video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(FRAMES_PER_SECOND), options={"crf": str(QUALITY)})
        stream.height, stream.width, _ = frames[0].shape
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            picture = (frame * 255).round().astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for scene in CLIPS:
        write(file_of(scenes.caption(scene)), [frame.image for frame in scenes.clip(scene, FRAMES)])
