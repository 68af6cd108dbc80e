"""Public sets in the layouts that they come in, each in small, and folders of frames as clips."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from comfyui_videop2p.batch.clips import Digests, content_of
from comfyui_videop2p.batch.faults import BatchError, RowError
from comfyui_videop2p.batch.store import Store
from comfyui_videop2p.batch.table import read
from comfyui_videop2p.tests.batch.season import decoded
from PIL import Image

HEADING = "Video name,Our GT caption,Style Change Caption,Object Change Caption,Background Change Caption,"
TGVE = f"""{HEADING}Multiple Changes Caption
DAVIS Videos:,,,,,
gold-fish,Goldfish swim,"Goldfish, in pixel art",Sharks swim,Goldfish in space,Sharks in space
,,,,,
Youtube Videos:,,,,,
salsa,Two dance,"Two dance, anime",Two robots dance,Two dance on ice,Robots on ice
"""


def values(folder):
    return [row.values for row in read(folder)]


def test_tgve(tmp_path):
    (tmp_path / "LOVEU-TGVE-2023_Dataset.csv").write_text(TGVE)
    rows = values(tmp_path)
    assert rows[0] == {
        "clip": "DAVIS_480p/480p_videos/gold-fish.mp4",
        "source_prompt": "Goldfish swim",
        "target_prompt": "Goldfish, in pixel art",
        "_kind": "style",
    }
    assert Counter(row["clip"] for row in rows) == {rows[0]["clip"]: 4, "youtube_480p/480p_videos/salsa.mp4": 4}
    assert [row["_kind"] for row in rows[:4]] == ["style", "object", "background", "multiple"]


def test_five(tmp_path):
    for name in ("edit_prompt", "videos", "images/0002_dog"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "videos" / "0001_bus.mp4").touch()
    prompts = {"source_prompt": "a", "target_prompt": "b", "save_dir": "x"}
    entries = [{"video_name": name} | prompts for name in ("0001_bus", "0002_dog")]
    (tmp_path / "edit_prompt" / "edit3_FiVE.json").write_text(json.dumps(entries))
    assert [(row["clip"], row["_kind"]) for row in values(tmp_path)] == [
        ("videos/0001_bus.mp4", "edit3"),
        ("images/0002_dog", "edit3"),
    ]


def test_v2v(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "data:\n- video_id: hike\n  prompt: a man hikes\n"
        "  edit:\n  - prompt: a superman hikes\n  - prompt: a man swims\n"
    )
    assert values(tmp_path)[1] == {
        "clip": "videos/hike.mp4", "source_prompt": "a man hikes", "target_prompt": "a man swims", "_kind": "edit 1",
    }  # fmt: skip


def test_davis(tmp_path):
    (tmp_path / "JPEGImages" / "480p" / "bear").mkdir(parents=True)
    (tmp_path / "captions.csv").write_text("clip,source_prompt,target_prompt\nbear,a bear walks,a panda walks\n")
    assert values(tmp_path) == [
        {"clip": "JPEGImages/480p/bear", "source_prompt": "a bear walks", "target_prompt": "a panda walks"}
    ]


@pytest.mark.parametrize("text", ["data: 3", "data:\n- {edit: []}", "a: ["])
def test_a_set_that_is_otherwise_is_a_sentence(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(BatchError, match=r"config.yaml is not as its set has it \(.*\): unpack it again"):
        read(tmp_path)


def test_a_folder_of_frames_is_a_clip(tmp_path):
    frames = tmp_path / "bear"
    frames.mkdir()
    for number, red in enumerate((0, 120, 240)):
        Image.new("RGB", (33, 32), (red, 60, 30)).save(frames / f"{number:05}.png")
    (tmp_path / "clip.mp4").write_bytes(content_of(str(frames)))
    clip = decoded(tmp_path / "clip.mp4")
    assert clip.shape == (3, 32, 32, 3) and np.abs(clip[:, 16, 16, 0].astype(int) - [0, 120, 240]).max() < 4

    digests = Digests(Store(str(tmp_path / "out")))
    first = digests(str(frames))
    Image.new("RGB", (33, 32), "blue").save(frames / "00001.png")
    assert Digests(Store(str(tmp_path / "out")))(str(frames)) != first
    with pytest.raises(RowError, match="there is no clip"):
        Digests(Store(str(tmp_path / "out")))(str(tmp_path / "JPEGImages"))
    Path(tmp_path / "empty").mkdir()
    with pytest.raises(RowError, match="there is no clip"):
        content_of(str(tmp_path / "empty"))
