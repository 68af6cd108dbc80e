"""Where a workflow's file lies: on the shelf that the browser's templates dialog shows, or in the folder behind it.

The dialog lists files by their names, in an order of its own, and searches in the names.
"""

from __future__ import annotations

from pathlib import Path

from ..environment import ROOT

FOLDER = ROOT / "workflows"
MORE = FOLDER / "more"
# By the names of their recipes. No tracked path has a space.
TEMPLATES = {
    "demo_first": "Video-P2P-01-start-here-edit-video-by-words-demo",
    "sd15_word_swap": "Video-P2P-02-replace-object-SD15",
    "sd15_refine": "Video-P2P-03-change-color-or-material-SD15",
    "sd15_style": "Video-P2P-04-change-style-SD15",
    "sd15_several_prompts": "Video-P2P-05-several-prompts-SD15",
    "sd15_reweight": "Video-P2P-06-weigh-words-SD15",
    "sd15_sweep": "Video-P2P-07-sweep-settings-SD15",
    "sd15_compare": "Video-P2P-08-compare-and-measure-SD15",
    "demo_crop_region": "Video-P2P-09-edit-part-of-large-video-demo",
    "sdxl_word_swap": "Video-P2P-10-replace-object-SDXL",
    "sd2_word_swap": "Video-P2P-11-replace-object-SD2",
    "wan_word_swap": "Video-P2P-12-replace-object-Wan",
    "wan_vace_region": "Video-P2P-13-find-region-for-Wan-VACE",
    "sd15_video_helper_suite": "Video-P2P-14-with-VideoHelperSuite-SD15",
}


def graph_file(name: str) -> Path:
    """As the browser opens it."""
    return FOLDER / f"{TEMPLATES[name]}.json" if name in TEMPLATES else MORE / f"{name}.json"


def picture_file(name: str) -> Path:
    """Its picture, which the dialog looks for beside it."""
    return graph_file(name).with_suffix(".jpg")


def prompt_file(name: str) -> Path:
    """As ComfyUI's server takes it."""
    return FOLDER / "api" / f"{name}.json"
