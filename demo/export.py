"""The trained parts as one file, videop2p_demo.safetensors: SD1.x names, fp16, metadata that says what it is."""

from __future__ import annotations

import argparse
import json

import torch
from safetensors.torch import load_file, save_file

from ..videop2p_core.host.demo_model import (
    TEXT,
    TEXT_PREFIX,
    TOKEN_ROWS,
    TOKEN_TABLE,
    UNET,
    UNET_PREFIX,
    VAE_PREFIX,
    read_demo_file,
    with_prefix,
)
from . import runs, scenes, words

LIMIT = 25_000_000  # bytes
SD_SCALE = 0.18215  # the host multiplies the VAE's latents by it before the UNet sees them


def gather(training: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    networks, vae = load_file(runs.UNET), load_file(runs.VAE)
    vae["vae_scale"], vae["vae_shift"] = torch.tensor(SD_SCALE), torch.tensor(0.0)
    tensors = {UNET_PREFIX + k: v for k, v in with_prefix(networks, "unet.").items()}
    tensors |= {f"{TEXT_PREFIX}transformer.{k}": v for k, v in with_prefix(networks, "text.").items()}
    tensors |= {VAE_PREFIX + k: v for k, v in vae.items()}
    tensors = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    tensors[TOKEN_ROWS] = torch.tensor(words.token_rows(scenes.VOCABULARY))
    metadata = {
        "architecture": "Stable Diffusion 1.x, small: eps prediction, scaled-linear betas; TAESD's VAE",
        "unet": json.dumps(UNET),
        "text": json.dumps(TEXT),
        "vocabulary": json.dumps(scenes.VOCABULARY),
        "size": str(scenes.SIZE),
        "training": training,
    }
    return tensors, metadata


def networks_of(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of `train_unet.build_networks()` from a demo file's tensors."""
    parts = {"unet.": UNET_PREFIX, "text.": f"{TEXT_PREFIX}transformer."}
    return {new + name: t.float() for new, old in parts.items() for name, t in with_prefix(tensors, old).items()}


def with_rows(networks: dict[str, torch.Tensor], token_ids: list[int], vocabulary: tuple[str, ...]) -> dict:
    """The networks with a token table for `vocabulary`: words that are not among `token_ids` begin at random."""
    name = f"text.{TOKEN_TABLE.removeprefix('transformer.')}"
    table, rows = networks[name], words.token_rows(vocabulary)
    fresh = torch.randn(len(rows), table.shape[1], generator=torch.Generator().manual_seed(0)) * table.std()
    for i, token in enumerate(rows):
        if token in token_ids:
            fresh[i] = table[token_ids.index(token)]
    return networks | {name: fresh}


def restore() -> None:
    """The committed file taken apart again, for training to go on from: words that it never learnt begin at random."""
    runs.FOLDER.mkdir(parents=True, exist_ok=True)
    tensors, _ = read_demo_file(runs.MODEL)
    vae = {name: tensor.float() for name, tensor in with_prefix(tensors, VAE_PREFIX).items()}
    save_file(with_rows(networks_of(tensors), tensors[TOKEN_ROWS].tolist(), scenes.VOCABULARY), runs.UNET)
    save_file(vae | {"vae_scale": torch.tensor(1.0)}, runs.VAE)


def add_figures(figures: dict[str, float]) -> None:
    """Write what was measured (demo.evaluate) into the file's metadata."""
    tensors, metadata = read_demo_file(runs.MODEL)
    save_file(tensors, runs.MODEL, metadata | {"figures": json.dumps(figures)})


def export(training: str) -> None:
    tensors, metadata = gather(training)
    save_file(tensors, runs.MODEL, metadata)
    size = runs.MODEL.stat().st_size
    if size > LIMIT:
        runs.MODEL.unlink()
        raise ValueError(f"the demo model takes {size} bytes, the limit is {LIMIT}: make the UNet narrower")
    print(f"{runs.MODEL}: {size / 1e6:.1f} MB, {sum(t.numel() for t in tensors.values()) / 1e6:.2f} M numbers")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--training", required=True, help="what the training took, for the file's metadata")
    a = parser.parse_args()
    export(a.training)
