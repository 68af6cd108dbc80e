"""Distil the demo model to a few steps without guidance: a latent consistency LoRA (arXiv 2310.04378, 2311.05556).

From every point of the guided model's path the student is to see the same clean latent as from the next point down.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.nn.utils import parametrize

from . import data, runs, scenes, words, workers
from .train_unet import (
    OBJECT_WEIGHT,
    STEPS_A_REPORT,
    Attention,
    Captions,
    alphas_cumprod,
    build_networks,
    encode_text,
    encoded_pictures,
)

BATCH = 8  # pictures a worker
LEVELS = 50  # the noise levels that the host's "lcm" sampling evaluates at
SKIP = 100  # timesteps of one step of the teacher
HUBER = 0.01
AVERAGE = 0.95  # of the student that the next point is seen by
LINEAR_RANK, CONVOLUTION_RANK = 16, 6
SETTLE = 0.3  # the last part of the steps, in which the learning rate falls to zero


def guidance(t: torch.Tensor) -> torch.Tensor:
    """What edits of the demo model take by default: 5 where there is most noise, 2.5 after. [batch] -> [batch]"""
    return torch.where(t >= 700, 5.0, 2.5)


class LowRank(torch.nn.Module):
    """weight -> weight + up @ down, of the student, of its average, or without either (the teacher)."""

    side = "teacher"

    def __init__(self, weight: torch.Tensor):
        super().__init__()
        rank = LINEAR_RANK if weight.ndim == 2 else CONVOLUTION_RANK
        self.shape = weight.shape
        rows, columns = weight.shape[0], weight[0].numel()
        self.down = torch.nn.Parameter(torch.randn(rank, columns) * columns**-0.5)
        self.up = torch.nn.Parameter(torch.zeros(rows, rank))
        self.average = {"down": self.down.detach().clone(), "up": self.up.detach().clone()}

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        if LowRank.side == "teacher":
            return weight
        up, down = (self.up, self.down) if LowRank.side == "student" else (self.average["up"], self.average["down"])
        return weight + (up @ down).view_as(weight)

    @torch.no_grad()
    def follow(self, decay: float) -> None:
        for name, average in self.average.items():
            average.lerp_(getattr(self, name), 1 - decay)


def adapt(unet: torch.nn.Module) -> dict[str, LowRank]:
    """Every wide layer of the UNet gets a LowRank, by the layer's name."""
    adapters = {}
    for name, module in list(unet.named_modules()):
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and min(module.weight.shape[:2]) >= 32:
            adapters[name] = LowRank(module.weight)
            parametrize.register_parametrization(module, "weight", adapters[name])
    return adapters


def clean(x: torch.Tensor, eps: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
    """The clean latent that eps sees in x, all [batch, 4, cells, cells]; a: alpha_bar [batch, 1, 1, 1]."""
    return (x - (1 - a).sqrt() * eps) / a.sqrt()


class Distillation:
    """Teacher, student and the student's average in one network; contexts [batch, 77, channels]."""

    def __init__(self, unet: torch.nn.Module, null: torch.Tensor):
        self.unet, self.null, self.attention = unet, null, Attention(unet)
        self.adapters = adapt(unet)
        self.alpha = torch.cat([alphas_cumprod(), torch.ones(1)])  # [-1]: no noise

    def level(self, t: torch.Tensor) -> torch.Tensor:
        return self.alpha[t][:, None, None, None]

    def eps(self, side: str, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        LowRank.side = side
        return self.attention.forward(self.unet, x, t.float(), context)

    @torch.no_grad()
    def target(self, x: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        """What the averaged student sees from the next point of the guided teacher's path."""
        null = self.null.expand_as(context)
        eps, eps_null = self.eps("teacher", torch.cat([x, x]), torch.cat([t, t]), torch.cat([context, null])).chunk(2)
        eps = eps_null + guidance(t)[:, None, None, None] * (eps - eps_null)
        below = (t - SKIP).clamp_min(-1)
        a = self.level(below)
        point = a.sqrt() * clean(x, eps, self.level(t)) + (1 - a).sqrt() * eps
        seen = clean(point, self.eps("average", point, below.clamp_min(0), context), a)
        return torch.where((below < 0)[:, None, None, None], point, seen)

    def loss(self, z: torch.Tensor, cover: torch.Tensor, t: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        a, noise = self.level(t), torch.randn_like(z)
        x = a.sqrt() * z + (1 - a).sqrt() * noise
        target = self.target(x, t, context)
        difference = clean(x, self.eps("student", x, t, context), a) - target
        weight = 1 + (OBJECT_WEIGHT - 1) * cover
        return (weight * ((difference.square() + HUBER**2).sqrt() - HUBER)).mean()

    def save(self, file: Path) -> None:
        """The averaged student as a LoRA by the host's own names, in half precision."""
        tensors = {}
        for name, adapter in self.adapters.items():
            up, down = (adapter.average[side].half() for side in ("up", "down"))
            if len(adapter.shape) == 4:
                up, down = up[:, :, None, None], down.view(-1, *adapter.shape[1:])
            tensors[f"diffusion_model.{name}.lora_up.weight"] = up.contiguous()
            tensors[f"diffusion_model.{name}.lora_down.weight"] = down.contiguous()
        save_file(tensors, file)


def train(steps: int, learning_rate: float, pictures: int, resume: bool) -> None:
    rank = workers.join()
    torch.manual_seed(0)
    latents = encoded_pictures(pictures, rank)[:, 0]
    coverage = torch.from_numpy(data.coverage(pictures).astype(np.float32)).sum(dim=1, keepdim=True)
    networks = build_networks(scenes.VOCABULARY)
    networks.load_state_dict(load_file(runs.UNET))
    networks.requires_grad_(False)
    with torch.no_grad():
        null = encode_text(networks["text"], torch.from_numpy(words.tokenize(scenes.VOCABULARY, "").rows)[None])
    distillation = Distillation(networks["unet"], null)
    adapters = torch.nn.ModuleList(distillation.adapters.values())
    parameters = list(adapters.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    first_step = 0
    if resume:
        state = torch.load(runs.LCM_STATE, weights_only=True)
        adapters.load_state_dict(state["adapters"])
        optimizer.load_state_dict(state["optimizer"])
        first_step = state["step"]
    workers.broadcast([p.data for p in parameters])
    for adapter in adapters:
        adapter.follow(0.0)
    rng = np.random.default_rng([13, rank, first_step])
    torch.manual_seed(1000 * first_step + rank)
    captions = Captions(pictures, rng)
    started, losses = time.time(), []
    for step in range(first_step, steps):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1.0, (step + 1) / 100, (1 - step / steps) / SETTLE)
        picks = rng.integers(0, pictures, BATCH)
        rows, _ = captions.draw(picks)
        with torch.no_grad():
            context = encode_text(networks["text"], rows)
        levels = ((torch.arange(BATCH) + torch.rand(BATCH)) * (LEVELS / BATCH)).long()
        t = (levels + 1) * (1000 // LEVELS) - 1
        index = torch.from_numpy(picks)
        loss = distillation.loss(latents[index], coverage[index], t, context)
        optimizer.zero_grad()
        loss.backward()
        workers.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        for adapter in adapters:
            adapter.follow(AVERAGE)
        losses.append(loss.item())
        if rank == 0 and (step % STEPS_A_REPORT == STEPS_A_REPORT - 1 or step == steps - 1):
            speed = (step + 1 - first_step) * BATCH * workers.WORKERS / (time.time() - started)
            mean = np.mean(losses[-STEPS_A_REPORT:])
            print(f"lcm step {step + 1}/{steps} {speed:.0f} samples/s | loss {mean:.4f}", flush=True)
            distillation.save(runs.LCM)
            torch.save(
                {"adapters": adapters.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1},
                runs.LCM_STATE,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--learning-rate", type=float, default=6e-4)
    parser.add_argument("--pictures", type=int, default=data.PICTURES)
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint, optimiser and all")
    a = parser.parse_args()
    train(a.steps, a.learning_rate, a.pictures, a.resume)
