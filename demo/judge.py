"""The judge of the demo world: a small classifier of what a scene shows, trained on renders alone.

It names object, colour, material, place and style. It never sees a picture that a model made. Half of its training
pictures are blurred, dimmed or made noisy, so that it judges outlines and colours rather than how crisp a picture is.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from safetensors.torch import load_file, save_file

from . import data, runs, scenes

SIDE = 128  # of the pictures that are judged: what a thing is made of shows in its finest marks
LAYERS = ((32, 2), (64, 2), (64, 1), (112, 2), (112, 1), (160, 2), (160, 1))  # channels and stride of each
EDGE = 8  # pixels that a picture is moved by at most


class Judge(torch.nn.Module):
    """Pictures [batch, 3, height, width] in 0..1 -> {field: logits [batch, values]}."""

    def __init__(self, fields: dict[str, tuple[str, ...]]):
        super().__init__()
        self.fields = fields
        layers, before = [], 3
        for after, stride in LAYERS:
            layers += [
                torch.nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False),
                torch.nn.BatchNorm2d(after),
                torch.nn.ReLU(),
            ]
            before = after
        self.features = torch.nn.Sequential(*layers)
        self.heads = torch.nn.ModuleDict(
            {field: torch.nn.Linear(before * 16, len(values)) for field, values in fields.items()}
        )

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        x = F.interpolate(pictures, size=(SIDE, SIDE), mode="area") * 2 - 1
        x = rearrange(F.adaptive_avg_pool2d(self.features(x), 4), "b c h w -> b (c h w)")
        return {field: head(x) for field, head in self.heads.items()}


def probabilities(judge: Judge, frames: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a clip shows: frames [frames, height, width, 3] in 0..1 -> {field: [values]}, the mean over the frames."""
    with torch.inference_mode():
        logits = judge(rearrange(frames.float(), "f h w c -> f c h w"))
    return {field: values.softmax(dim=-1).mean(dim=0) for field, values in logits.items()}


def seen(judge: Judge, frames: torch.Tensor) -> dict[str, str]:
    """The likeliest value of every field."""
    return {field: judge.fields[field][int(p.argmax())] for field, p in probabilities(judge, frames).items()}


def load_judge() -> Judge:
    judge = Judge(scenes.FIELDS)
    judge.load_state_dict(
        {
            name: tensor.float() if tensor.is_floating_point() else tensor
            for name, tensor in load_file(runs.JUDGE).items()
        }
    )
    return judge.eval()


def labels(shown: list[scenes.Scene]) -> dict[str, torch.Tensor]:
    return {
        field: torch.tensor([values.index(getattr(scene, field)) for scene in shown])
        for field, values in scenes.FIELDS.items()
    }


def spoiled(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pictures [batch, 3, height, width] moved by up to EDGE pixels, half of them blurred by more or less, with other
    light and with noise."""
    batch, _, height, width = pictures.shape
    down, right = torch.randint(2 * EDGE + 1, (2,), generator=generator).tolist()
    pictures = F.pad(pictures, (EDGE,) * 4, mode="reflect")[..., down : down + height, right : right + width]
    coarseness = 2 * int(torch.randint(1, 3, (), generator=generator))
    blurred = F.interpolate(F.avg_pool2d(pictures, coarseness), scale_factor=coarseness, mode="bilinear")
    blurred = torch.lerp(pictures, blurred, torch.rand(batch, 1, 1, 1, generator=generator))
    light = 1 + 0.15 * (torch.rand(batch, 1, 1, 1, generator=generator) - 0.5)
    shift = 0.08 * (torch.rand(batch, 3, 1, 1, generator=generator) - 0.5)
    noise = 0.04 * torch.rand(batch, 1, 1, 1, generator=generator) * torch.randn(pictures.shape, generator=generator)
    spoil = torch.rand(batch, 1, 1, 1, generator=generator) < 0.5
    return torch.where(spoil, (blurred * light + shift + noise).clamp(0, 1), pictures)


def train(pictures: int, epochs: int) -> None:
    torch.manual_seed(0)
    generator, rng = torch.Generator().manual_seed(0), np.random.default_rng(0)
    drawn = [scenes.random_scene(seed) for seed in range(pictures)]
    alone = [seed for seed, scene in enumerate(drawn) if len(scene.things) == 1]
    targets = labels([drawn[seed] for seed in alone])
    judge = Judge(scenes.FIELDS).to(memory_format=torch.channels_last)
    images = torch.cat([in_half(data.part(first)[0]) for first in range(0, pictures, data.PART)])[alone]
    total = epochs * (len(alone) // 64)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    for epoch in range(epochs):
        for picks in torch.from_numpy(rng.permutation(len(alone))[: len(alone) // 64 * 64]).split(64):
            mirrored = torch.rand(64, 1, 1, 1, generator=generator) < 0.5
            batch = spoiled(torch.where(mirrored, images[picks].flip(3), images[picks]).float(), generator)
            logits = judge(batch.contiguous(memory_format=torch.channels_last))
            loss = sum(F.cross_entropy(logits[field], targets[field][picks]) for field in judge.fields)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        print(f"judge epoch {epoch + 1}/{epochs} loss {loss.item():.4f}", flush=True)
    save_file(
        {
            name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
            for name, tensor in judge.state_dict().items()
        },
        runs.JUDGE,
    )


def in_half(images: np.ndarray) -> torch.Tensor:
    """Pictures [count, height, width, 3] uint8 -> [count, 3, height, width] in 0..1, in half precision."""
    pixels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2)
    return torch.cat([(part.float() / 255).half() for part in pixels.split(100)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=data.PICTURES)
    a = parser.parse_args()
    train(a.pictures, runs.STEPS["judge"])
