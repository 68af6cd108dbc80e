"""How much of the pictures an inversion brings back, beside what the VAE alone does: its upper bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...diffusion.inversion import DIRECT, REPLAYED
from ...images.metrics import psnr
from ..comfy.latents import left_over, pictures_of
from ..images.frames import frames_of
from ..images.plots import psnr_plot

GOOD, FAIR = 2.0, 6.0  # dB below the bound
ADVICE = {DIRECT: "tune longer or take more rounds"}
USUAL_ADVICE = "tune longer or use direct"


@dataclass(frozen=True)
class ReconstructionCheck:
    """psnr: of the replayed clip, bound: of the VAE's round trip, in dB for each frame."""

    psnr: tuple[float, ...]
    bound: tuple[float, ...]
    method: str

    @property
    def mean(self) -> float:
        return sum(self.psnr) / len(self.psnr)

    def verdict(self) -> str:
        """In a sentence."""
        bound = sum(self.bound) / len(self.bound)
        lost = bound - self.mean
        advice = ADVICE.get(self.method, USUAL_ADVICE)
        judged = "good" if lost <= GOOD else f"fair, {advice} for more" if lost <= FAIR else advice
        # Direct never shows its replay: the source is put back. What an edit keeps of it still comes from such a path.
        how = "replay at guidance 1" if self.method in REPLAYED else "reconstruction"
        return f"{how} {self.mean:.1f} dB of {bound:.1f}: {judged}"

    def plot(self) -> Tensor:
        return psnr_plot(self.psnr, self.bound)


@dataclass(frozen=True)
class SourceFrames:
    """The frames that were encoded, [frames, height, width, 3], and the VAE that did so."""

    vae: Any
    images: Tensor

    @classmethod
    def of(cls, vae: Any, images: Tensor | None) -> SourceFrames | None:
        """None where neither is connected; one alone is a mistake."""
        if vae is None and images is None:
            return None
        if vae is None or images is None:
            raise ValueError(
                f"to check the reconstruction connect the {'vae' if vae is None else 'images'} input as well, or "
                f"disconnect {'images' if vae is None else 'vae'}"
            )
        return cls(vae, frames_of(images, "the images input"))

    @property
    def pictures(self) -> Tensor:
        """The part that the VAE encodes: [frames, height, width, 3]."""
        return self.vae.vae_encode_crop_pixels(self.images)

    def check_fits(self, base_model: Any, clip: Tensor) -> None:
        """clip: [frames, channels, height, width]"""
        if self.vae.latent_channels != clip.shape[1]:
            raise ValueError(
                f"the vae makes latents of {self.vae.latent_channels} channels, these have {clip.shape[1]}: connect "
                "the VAE that encoded the clip"
            )
        factor = self.vae.spacial_compression_encode()
        size = [pictures_of(base_model, len(clip)), *(factor * side for side in clip.shape[-2:])]
        if [*self.pictures.shape[:3]] != size:
            frames, height, width = size
            raise ValueError(
                f"the images are {len(self.images)} of {self.images.shape[2]} x {self.images.shape[1]}, the latent "
                f"holds {frames} frames of {width} x {height}: connect the images that were encoded"
                f"{left_over(base_model, len(self.images), len(clip))}"
            )

    def compared(self, clip: Tensor, replayed: Tensor, method: str) -> ReconstructionCheck:
        """Latents as the host lays them out, in VAE units."""
        with torch.no_grad():
            decoded = [self.vae.decode(latent).to(self.images)[..., :3].flatten(0, -4) for latent in (replayed, clip)]
        return ReconstructionCheck(*(_by_frame(frames, self.pictures) for frames in decoded), method)


def _by_frame(frames: Tensor, originals: Tensor) -> tuple[float, ...]:
    return tuple(psnr(a[None], b[None]) for a, b in zip(frames, originals, strict=True))
