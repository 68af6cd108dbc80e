"""Clip Frames: from a file of any length, size and sound to what a model takes."""

from fractions import Fraction

import pytest
import torch
from comfy_api.latest import InputImpl, Types
from comfyui_videop2p.tests.host.calls import run
from comfyui_videop2p.videop2p_core.images.selection import frames_taken, size_of_area

FPS, COUNT, RATE = 25, 40, 8000


@pytest.fixture(scope="module")
def components():
    """40 frames of 270 x 480, each of a grey of its own; the sound rises over the clip."""
    grey = torch.linspace(0.1, 0.9, COUNT)[:, None, None, None]
    waveform = torch.linspace(-0.5, 0.5, COUNT * RATE // FPS)[None, None]
    audio = {"waveform": waveform, "sample_rate": RATE}
    return Types.VideoComponents(images=grey.expand(-1, 270, 480, 3), audio=audio, frame_rate=Fraction(FPS))


@pytest.fixture(scope="module", params=["from memory", "from a file"])
def video(components, request, tmp_path_factory):
    video = InputImpl.VideoFromComponents(components)
    if request.param == "from memory":
        return video
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    video.save_to(str(path))
    return InputImpl.VideoFromFile(str(path))


def greys(images):
    return images.mean(dim=(1, 2, 3))


@pytest.mark.parametrize(("start", "every_nth", "frames"), [(0, 1, 8), (5, 2, 12), (10, 3, 4), (30, 3, 99), (39, 1, 1)])
def test_the_frames_that_were_asked_for_are_taken(video, start, every_nth, frames):
    images, fps, audio, report = run(
        "ClipFrames", video=video, start=start, every_nth=every_nth, frames=frames, side=128
    )
    numbers = list(range(start, COUNT, every_nth))[:frames]
    assert len(images) == len(numbers) and fps == pytest.approx(FPS / every_nth)
    # a frame is 0.02 brighter than the one before
    decoded = video.get_components().images[numbers]
    torch.testing.assert_close(greys(images), greys(decoded), atol=0.004, rtol=0)
    seconds = len(numbers) * every_nth / FPS
    assert f"{len(numbers)} of {COUNT} frames" in report and f"{seconds:.2f} s of 1.60 s" in report
    heard = audio["waveform"].shape[-1] / audio["sample_rate"]
    assert min(seconds, 1.6 - start / FPS) == pytest.approx(heard, abs=0.06)


def test_the_shape_stays(video):
    images, *_, report = run("ClipFrames", video=video, frames=2, side=512)
    assert images.shape == (2, 384, 688, 3) and "480 x 270 made 688 x 384" in report
    assert run("ClipFrames", video=video, frames=1, side=480, multiple_of=32)[0].shape == (1, 352, 640, 3)


def test_nothing_is_stretched():
    """A circle stays round where rounding to multiples changes the shape."""
    y, x = torch.meshgrid(torch.arange(270), torch.arange(480), indexing="ij")
    circle = (((y - 135) ** 2 + (x - 240) ** 2) < 80**2).float()[None, ..., None].expand(2, -1, -1, 3)
    video = InputImpl.VideoFromComponents(Types.VideoComponents(images=circle, frame_rate=Fraction(FPS)))
    images, *_ = run("ClipFrames", video=video, side=200, multiple_of=64)
    inside = images[0, ..., 0] > 0.5
    assert inside.any(1).sum() == pytest.approx(int(inside.any(0).sum()), abs=1)


def test_a_silent_video_has_no_sound(components):
    silent = Types.VideoComponents(images=components.images[:4], frame_rate=Fraction(FPS))
    assert run("ClipFrames", video=InputImpl.VideoFromComponents(silent))[2] is None


def test_a_start_behind_the_end_is_refused(video):
    with pytest.raises(ValueError, match="the clip has 40 frames, counted from 0, and is to start at frame 40"):
        run("ClipFrames", video=video, start=40)


def test_what_is_taken_and_how_large():
    assert list(frames_taken(250, 3, 2, 4)) == [3, 5, 7, 9] and list(frames_taken(6, 3, 2, 4)) == [3, 5]
    assert size_of_area(1080, 1920, 512) == (384, 688) and size_of_area(512, 512, 512) == (512, 512)
    assert size_of_area(10, 4000, 64) == (16, 1280)
