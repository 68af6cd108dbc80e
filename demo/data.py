"""The training pictures, rendered once and kept by the thousand in the training's folder."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from . import runs, scenes

CELL = 8  # pixels a side of one latent cell
PICTURES = 11000  # that training reads
JUDGE_PICTURES = 26000  # more than the model reads: a judge must be right where a model may err
PART = 1000  # pictures a file: rendering goes on where it was stopped
THINGS = 2  # the most that a scene has


def training_picture(seed: int) -> scenes.Frame:
    """The picture of a training seed: its scene at a random moment of its clip."""
    if seed >= scenes.FIRST_EVALUATION_SEED:
        raise ValueError(f"seed {seed} belongs to the evaluation: train on seeds below {scenes.FIRST_EVALUATION_SEED}")
    return scenes.render(scenes.random_scene(seed), time=float(np.random.default_rng([seed, 2]).random()))


def coverage_by_cell(masks: np.ndarray) -> np.ndarray:
    """Masks [things, height, width] averaged over the latent's cells [THINGS, height / 8, width / 8]."""
    things, height, width = masks.shape
    cells = masks.reshape(things, height // CELL, CELL, width // CELL, CELL).mean(axis=(2, 4))
    return np.concatenate([cells, np.zeros((THINGS - things, *cells.shape[1:]), cells.dtype)])


def _render(seed: int) -> tuple[np.ndarray, np.ndarray]:
    frame = training_picture(seed)
    return (frame.image * 255).round().astype(np.uint8), coverage_by_cell(frame.masks).astype(np.float16)


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [count, size, size, 3] uint8 and coverage of each thing by latent cell [count, THINGS, size/8, size/8].

    Of the seeds 0 .. count - 1, rendered on the first call.
    """
    parts = [part(first) for first in range(0, count, PART)]
    images, masks = zip(*parts, strict=True)
    return np.concatenate(images)[:count], np.concatenate(masks)[:count]


def coverage(count: int) -> np.ndarray:
    """The second of `pictures` alone."""
    return np.concatenate([part(first)[1] for first in range(0, count, PART)])[:count]


def part(first: int) -> tuple[np.ndarray, np.ndarray]:
    """`pictures` of PART seeds from `first` on, as memory-mapped arrays."""
    runs.FOLDER.mkdir(parents=True, exist_ok=True)
    files = [runs.part(name, first) for name in ("pictures", "coverage")]
    if not all(file.exists() for file in files):
        with ProcessPoolExecutor(2) as pool:
            drawn = pool.map(_render, range(first, first + PART), chunksize=50)
            for file, arrays in zip(files, zip(*drawn, strict=True), strict=True):
                save(file, np.stack(arrays))
    return tuple(np.load(file, mmap_mode="r") for file in files)


def save(file: Path, array: np.ndarray) -> None:
    """As a file that is never half written: training may be stopped at any moment."""
    unfinished = file.with_suffix(".part.npy")
    np.save(unfinished, array)
    os.replace(unfinished, file)
