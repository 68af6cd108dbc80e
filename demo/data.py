"""The training pictures, rendered once and kept: memory-mapped arrays in demo/runs (git-ignored)."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from . import scenes

RUNS = Path(__file__).parent / "runs"
CELL = 8  # pixels a side of one latent cell


def training_picture(seed: int) -> scenes.Frame:
    """The picture of a training seed: its scene at a random moment of its clip."""
    if seed >= scenes.FIRST_EVALUATION_SEED:
        raise ValueError(f"seed {seed} belongs to the evaluation: train on seeds below {scenes.FIRST_EVALUATION_SEED}")
    return scenes.render(scenes.random_scene(seed), time=float(np.random.default_rng([seed, 2]).random()))


def coverage_by_cell(mask: np.ndarray) -> np.ndarray:
    """The object's mask [height, width] averaged over the latent's cells [height / 8, width / 8]."""
    height, width = mask.shape
    return mask.reshape(height // CELL, CELL, width // CELL, CELL).mean(axis=(1, 3))


def _render(seed: int) -> tuple[np.ndarray, np.ndarray]:
    frame = training_picture(seed)
    return (frame.image * 255).round().astype(np.uint8), coverage_by_cell(frame.mask).astype(np.float16)


def pictures(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [count, size, size, 3] uint8 and object coverage by latent cell [count, size/8, size/8].

    Of the seeds 0 .. count - 1, rendered on the first call.
    """
    RUNS.mkdir(exist_ok=True)
    images_file, masks_file = RUNS / f"pictures_{count}.npy", RUNS / f"coverage_{count}.npy"
    if not masks_file.exists():
        size, cells = scenes.SIZE, scenes.SIZE // CELL
        images = np.lib.format.open_memmap(RUNS / "rendering.npy", "w+", np.uint8, (count, size, size, 3))
        masks = np.zeros((count, cells, cells), np.float16)
        with ProcessPoolExecutor(2) as pool:
            for seed, (image, mask) in enumerate(pool.map(_render, range(count), chunksize=64)):
                images[seed], masks[seed] = image, mask
        images.flush()
        (RUNS / "rendering.npy").rename(images_file)
        np.save(masks_file, masks)
    return np.load(images_file, mmap_mode="r"), np.load(masks_file)
