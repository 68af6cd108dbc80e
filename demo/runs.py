"""Where the training of the demo model keeps what it makes, and how long each of its stages takes."""

from __future__ import annotations

from pathlib import Path

from ..tools.environment import home

HERE = Path(__file__).parent
FOLDER = home() / "demo-training"  # git-ignored folders are lost with a clone; its training takes longer than one keeps
VAE, VAE_STATE, DECODER_STATE = (FOLDER / name for name in ("vae.safetensors", "vae_state.pt", "decoder_state.pt"))
UNET, UNET_STATE = FOLDER / "unet.safetensors", FOLDER / "unet_state.pt"  # the averaged weights, text encoder included
JUDGE_STATE = FOLDER / "judge_state.pt"
LCM, LCM_STATE = FOLDER / "lcm.safetensors", FOLDER / "lcm_state.pt"
MODEL, JUDGE = HERE / "videop2p_demo.safetensors", HERE / "judge.safetensors"
DISTILLED = HERE / "videop2p_demo_lcm.safetensors"  # no stage needs it but its own: there may be none
# Of the judge its passes over all pictures.
STEPS = {"vae": 2100, "unet": 12000, "decoder": 800, "judge": 10, "lcm": 2000}


def part(name: str, first: int) -> Path:
    """The file of 'pictures', 'coverage' or 'latents' of the seeds from `first` on."""
    return FOLDER / f"{name}_{first:06}.npy"
