"""Train the judge of the demo world on renders.

Half of its pictures are blurred, dimmed or made noisy, so that it judges outlines and colours rather than how crisp a
picture is.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import save_file

from . import data, runs, scenes, workers
from .judge import Judge

BATCH = 32  # of each worker
RATE, DECAY = 2e-3, 1e-2
EDGE = 8  # pixels that a picture is moved by at most


def labels(shown: list[scenes.Scene]) -> dict[str, torch.Tensor]:
    return {
        field: torch.tensor([values.index(getattr(scene, field)) for scene in shown])
        for field, values in scenes.FIELDS.items()
    }


def spoiled(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures [batch, 3, height, width] moved by up to EDGE pixels, half of them mirrored, half of them blurred by
    more or less, with other light and with noise."""
    batch, _, height, width = pictures.shape

    def of_each(axes: int = 1) -> torch.Tensor:
        return torch.rand(batch, axes, 1, 1, generator=generator)

    pictures = torch.where(of_each() < 0.5, pictures.flip(3), pictures)
    down, right = torch.randint(2 * EDGE + 1, (2,), generator=generator).tolist()
    pictures = F.pad(pictures, (EDGE,) * 4, mode="reflect")[..., down : down + height, right : right + width]
    coarseness = 2 * int(torch.randint(1, 3, (), generator=generator))
    blurred = F.interpolate(F.avg_pool2d(pictures, coarseness), scale_factor=coarseness, mode="bilinear")
    blurred = torch.lerp(pictures, blurred, of_each())
    light, shift = 1 + 0.15 * (of_each() - 0.5), 0.08 * (of_each(3) - 0.5)
    noise = 0.04 * of_each() * torch.randn(pictures.shape, generator=generator)
    return torch.where(of_each() < 0.5, (blurred * light + shift + noise).clamp(0, 1), pictures)


def train(pictures: int, passes: int, resume: bool) -> None:
    """Each worker learns from its half of the pictures that show one thing; the layers' means are the first one's."""
    rank = workers.join()
    drawn = [scenes.random_scene(seed) for seed in range(pictures)]
    alone = [seed for seed, scene in enumerate(drawn) if len(scene.things) == 1]
    own, batches = alone[rank :: workers.WORKERS], len(alone) // workers.WORKERS // BATCH
    targets = labels([drawn[seed] for seed in own])
    parts = [data.part(first)[0] for first in range(0, pictures, data.PART)]
    images = np.stack([parts[seed // data.PART][seed % data.PART] for seed in own])
    torch.manual_seed(0)
    judge = Judge(scenes.FIELDS).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=passes * batches)
    first = 0
    if resume and runs.JUDGE_STATE.exists():
        state = torch.load(runs.JUDGE_STATE, weights_only=True)
        judge.load_state_dict(state["judge"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        first = state["passes"]
    started = time.time()
    for done in range(first, passes):
        rng, generator = np.random.default_rng([9, rank, done]), torch.Generator().manual_seed(100 * done + rank)
        losses = []
        for picks in rng.permutation(len(own))[: batches * BATCH].reshape(batches, BATCH):
            clean = rearrange(torch.from_numpy(images[picks]), "b h w c -> b c h w").float() / 255
            logits = judge(spoiled(clean, generator).contiguous(memory_format=torch.channels_last))
            loss = sum(F.cross_entropy(logits[field], targets[field][picks]) for field in judge.fields)
            optimizer.zero_grad()
            loss.backward()
            workers.average_gradients(list(judge.parameters()))
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if rank == 0:
            loss = np.mean(losses)
            print(f"judge pass {done + 1}/{passes} {time.time() - started:.0f} s | loss {loss:.4f}", flush=True)
            state = {"optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(), "passes": done + 1}
            workers.save({"judge": judge.state_dict(), **state}, runs.JUDGE_STATE)
    if rank == 0:
        weights = judge.state_dict().items()
        save_file({name: (t.half() if t.is_floating_point() else t).contiguous() for name, t in weights}, runs.JUDGE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=data.JUDGE_PICTURES)
    parser.add_argument("--steps", type=int, default=runs.STEPS["judge"], help="passes over them")
    parser.add_argument("--resume", action="store_true")
    a = parser.parse_args()
    train(a.pictures, a.steps, a.resume)
