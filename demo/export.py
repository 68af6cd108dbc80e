"""The trained parts as one file, demo/videop2p_demo.safetensors: SD1.x names, fp16, metadata that says what it is."""

from __future__ import annotations

import argparse
import json

import torch
from safetensors.torch import load_file, save_file

from ..videop2p_core.host.demo_model import (
    DEMO_FILE,
    TEXT,
    TEXT_PREFIX,
    TOKEN_ROWS,
    UNET,
    UNET_PREFIX,
    VAE_PREFIX,
    read_demo_file,
    with_prefix,
)
from . import scenes, words
from .train_unet import UNET_FILE
from .train_vae import VAE_FILE

LIMIT = 25_000_000  # bytes
SD_SCALE = 0.18215  # the host multiplies the VAE's latents by it before the UNet sees them


def gather(training: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    networks, vae = load_file(UNET_FILE), load_file(VAE_FILE)
    vae["vae_scale"], vae["vae_shift"] = torch.tensor(SD_SCALE), torch.tensor(0.0)
    tensors = {UNET_PREFIX + k: v for k, v in with_prefix(networks, "unet.").items()}
    tensors |= {f"{TEXT_PREFIX}transformer.{k}": v for k, v in with_prefix(networks, "text.").items()}
    tensors |= {VAE_PREFIX + k: v for k, v in vae.items()}
    tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    tensors[TOKEN_ROWS] = torch.tensor(words.token_rows())
    metadata = {
        "architecture": "Stable Diffusion 1.x, small: eps prediction, scaled-linear betas; TAESD's VAE",
        "unet": json.dumps(UNET),
        "text": json.dumps(TEXT),
        "vocabulary": json.dumps(scenes.caption_words()),
        "size": str(scenes.SIZE),
        "training": training,
    }
    return tensors, metadata


def networks_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of `train_unet.build_networks()` from a demo file's tensors."""
    parts = {"unet.": UNET_PREFIX, "text.": f"{TEXT_PREFIX}transformer."}
    return {new + name: t.float() for new, old in parts.items() for name, t in with_prefix(tensors, old).items()}


def restore() -> None:
    """The committed file taken apart again into demo/runs, for training to go on from."""
    UNET_FILE.parent.mkdir(exist_ok=True)
    tensors, _ = read_demo_file(DEMO_FILE)
    vae = {name: tensor.float() for name, tensor in with_prefix(tensors, VAE_PREFIX).items()}
    save_file(networks_of(tensors), UNET_FILE)
    save_file(vae | {"vae_scale": torch.tensor(1.0)}, VAE_FILE)


def add_figures(figures: dict[str, float]) -> None:
    """Write what was measured (demo.evaluate) into the file's metadata."""
    tensors, metadata = read_demo_file(DEMO_FILE)
    save_file(tensors, DEMO_FILE, metadata | {"figures": json.dumps(figures)})


def export(training: str) -> None:
    tensors, metadata = gather(training)
    save_file(tensors, DEMO_FILE, metadata)
    size = DEMO_FILE.stat().st_size
    if size > LIMIT:
        DEMO_FILE.unlink()
        raise ValueError(f"the demo model takes {size} bytes, the limit is {LIMIT}: make the UNet narrower")
    print(f"{DEMO_FILE.name}: {size / 1e6:.1f} MB, {sum(t.numel() for t in tensors.values()) / 1e6:.2f} M numbers")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", required=True, help="what the training took, for the file's metadata")
    export(parser.parse_args().training)
