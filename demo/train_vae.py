"""Train the demo model's VAE (TAESD's architecture, the host's own class) on rendered scenes.

A TAESD trained from scratch stays grey for long. So it starts as a linear colour pyramid - every block an identity, the
three colours averaged down and spread up again - and learns the detail on top. While it learns, each latent channel is
held near mean 0 and variance 1; at the end that is made exact and the decoder alone learns the last steps.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from . import data, runs, workers

BATCH, CROP = 8, 64  # crops a worker, pixels a side: a VAE is local, and small crops mean more steps
STEPS_A_REPORT = 100
LATENT_NOISE = 0.03  # what the UNet makes is never exact: a decoder that bears a little noise draws better samples


def build_taesd() -> torch.nn.Module:
    from comfy.taesd.taesd import TAESD

    return TAESD(latent_channels=4)


def pass_channels(conv: torch.nn.Conv2d, channels: list[tuple[int, int, float]], average: bool = False) -> None:
    """Output channel `to` of the convolution becomes `gain` x input channel `of`, and nothing else."""
    for to, of, gain in channels:
        conv.weight[to].zero_()
        if average:
            conv.weight[to, of] = gain / 9
        else:
            conv.weight[to, of, 1, 1] = gain
        if conv.bias is not None:
            conv.bias[to] = 0


@torch.no_grad()
def start_as_colour_pyramid(vae: torch.nn.Module) -> None:
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.Conv2d.reset_parameters(module)
    for module in [*vae.taesd_encoder, *vae.taesd_decoder]:
        if hasattr(module, "fuse"):
            torch.nn.init.zeros_(module.conv[-1].weight)
            torch.nn.init.zeros_(module.conv[-1].bias)
    rgb = [(c, c, 1.0) for c in range(3)]
    encoder = [m for m in vae.taesd_encoder if isinstance(m, torch.nn.Conv2d)]
    pass_channels(encoder[0], rgb)
    for down in encoder[1:-1]:
        pass_channels(down, rgb, average=True)
    pass_channels(encoder[-1], [(c, c, 4.0) for c in range(3)])
    encoder[-1].bias[:3] = -2.0
    decoder = [m for m in vae.taesd_decoder if isinstance(m, torch.nn.Conv2d)]
    signed = [(2 * c + s, c, 1.0 - 2.0 * s) for c in range(3) for s in (0, 1)]
    pass_channels(decoder[0], signed)
    for up in decoder[1:-1]:
        pass_channels(up, [(c, c, 1.0) for c in range(6)])
    decoder[-1].weight.mul_(0.1)
    for c in range(3):
        decoder[-1].weight[c, :6] = 0
        decoder[-1].weight[c, 2 * c, 1, 1], decoder[-1].weight[c, 2 * c + 1, 1, 1] = 0.25, -0.25
        decoder[-1].bias[c] = 0.5


def reconstruction_loss(image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Squared error, more of it on edges' surroundings being right at low resolution and on colour differences."""
    error = image - target
    chroma = error - error.mean(dim=1, keepdim=True)
    return (
        error.square().mean()
        + 0.5 * chroma.square().mean()
        + 0.5 * F.avg_pool2d(error, 4).square().mean()
        + 0.05 * error.abs().mean()
    )


def random_crops(images: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """[batch, 3, CROP, CROP] in 0..1 from pictures [count, height, width, 3], cut along the latent's cells."""
    corners = rng.integers(0, (images.shape[1] - CROP) // data.CELL + 1, (BATCH, 2)) * data.CELL
    picks = rng.integers(0, len(images), BATCH)
    crops = [images[i, y : y + CROP, x : x + CROP] for i, (y, x) in zip(picks, corners, strict=True)]
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


def psnr(image: torch.Tensor, target: torch.Tensor) -> float:
    return -10 * math.log10((image.clamp(0, 1) - target).square().mean().item())


@torch.no_grad()
def standardise_latents(vae: torch.nn.Module, images: torch.Tensor) -> None:
    """Fold each latent channel's mean and deviation over `images` into the encoder's last convolution."""
    latents = vae.taesd_encoder(images)
    mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
    last = vae.taesd_encoder[-1]
    last.bias.copy_((last.bias - mean) / deviation)
    last.weight.div_(deviation[:, None, None, None])


def train(steps: int, learning_rate: float, pictures: int, decoder_only: bool, resume: bool, begun: bool) -> None:
    rank = workers.join()
    torch.manual_seed(rank)
    rng = np.random.default_rng([7, rank, decoder_only])
    images, _ = data.pictures(pictures)
    held_out = torch.from_numpy(images[-64:].copy()).permute(0, 3, 1, 2).float() / 255
    vae = build_taesd()
    state_file = runs.DECODER_STATE if decoder_only else runs.VAE_STATE
    state = torch.load(state_file, weights_only=True) if resume and state_file.exists() else None
    if decoder_only or begun or (resume and runs.VAE.exists()):
        vae.load_state_dict(load_file(runs.VAE))
    else:
        torch.manual_seed(0)
        start_as_colour_pyramid(vae)
    if state:
        vae.load_state_dict(state["vae"])
    vae = vae.to(memory_format=torch.channels_last)
    workers.broadcast([p.data for p in vae.parameters()])
    encoder, decoder = list(vae.taesd_encoder.parameters()), list(vae.taesd_decoder.parameters())
    parameters = decoder if decoder_only else encoder + decoder
    optimizer = torch.optim.Adam(parameters, lr=learning_rate, betas=(0.9, 0.99), fused=True)
    freeze_at = 0 if decoder_only else int(steps * 0.8)
    first_step, frozen = 0, decoder_only
    if state:
        frozen = state["frozen"]
        optimizer.load_state_dict(state["optimizer"])
        first_step = state["step"]
        rng = np.random.default_rng([7, rank, decoder_only, first_step])
    if first_step < steps and not decoder_only and rank == 0:
        for file in runs.FOLDER.glob("latents_*.npy"):  # of another encoder
            file.unlink()
    started, clock = time.time(), workers.Clock(workers.SECONDS_A_CHECKPOINT)
    for step in range(first_step, steps):
        if step >= freeze_at and not frozen:
            standardise_latents(vae, torch.from_numpy(images[:256].copy()).permute(0, 3, 1, 2).float() / 255)
            frozen = True
        if frozen:
            for p in encoder:
                p.requires_grad_(False)
                p.grad = None
        rate = min(1, (step + 1) / 100, 1.2 * (1 - step / steps))
        optimizer.param_groups[0]["lr"] = learning_rate * rate
        target = random_crops(images[:-64], rng)
        with workers.autocast():
            latent = vae.taesd_encoder(target.contiguous(memory_format=torch.channels_last)).float()
            image = vae.taesd_decoder(latent + LATENT_NOISE * torch.randn_like(latent)).float()
        loss = reconstruction_loss(image, target)
        if not frozen:
            mean, variance = latent.mean(dim=(0, 2, 3)), latent.var(dim=(0, 2, 3))
            loss = loss + 0.002 * (mean.square() + (variance.clamp_min(1e-4).log()).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        workers.average_gradients([p for p in parameters if p.requires_grad])
        torch.nn.utils.clip_grad_norm_([p for p in parameters if p.requires_grad], 1.0)
        optimizer.step()
        reports = step % STEPS_A_REPORT == STEPS_A_REPORT - 1 or step == steps - 1
        if rank == 0 and reports:
            with torch.no_grad():
                latents = vae.taesd_encoder(held_out)
                quality = psnr(vae.taesd_decoder(latents), held_out)
            spread = ", ".join(f"{s:.2f}" for s in latents.std(dim=(0, 2, 3)))
            done = f"vae step {step + 1}/{steps} {time.time() - started:.0f} s"
            print(f"{done} | loss {loss.item():.4f} psnr {quality:.2f} dB latent deviation {spread}", flush=True)
        if rank == 0 and (reports or clock.rings()):
            save_file({k: v.contiguous() for k, v in vae.state_dict().items()}, runs.VAE)
            workers.save(
                {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1, "frozen": frozen},
                state_file,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=runs.STEPS["vae"])
    parser.add_argument("--learning-rate", type=float, default=8e-4)
    parser.add_argument("--pictures", type=int, default=data.PICTURES)
    parser.add_argument("--decoder-only", action="store_true", help="the encoder, and so every latent, stays as it is")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on from the last checkpoint, optimiser and all")
    begin.add_argument("--begun", action="store_true", help="start from the weights that are there")
    a = parser.parse_args()
    train(a.steps, a.learning_rate, a.pictures, a.decoder_only, a.resume, a.begun)
