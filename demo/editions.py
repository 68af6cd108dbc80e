"""The editions of the demo world that a model can be trained on, and where each keeps what its training makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..tools.environment import home
from . import scenes, silhouettes, world

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Edition:
    """`scenes` draws and words it; `silhouettes` tells where its things are in clips (`true_place`, `best_place`);
    `runs` holds pictures and checkpoints; `results` the model and the judge; `steps` are those of each stage, of the
    judge its passes over all pictures."""

    scenes: ModuleType
    silhouettes: ModuleType
    runs: Path
    results: Path
    steps: dict[str, int]

    @property
    def vocabulary(self) -> tuple[str, ...]:
        return tuple(self.scenes.caption_words())

    @property
    def vae(self) -> Path:
        return self.runs / "vae.safetensors"

    @property
    def vae_state(self) -> Path:
        return self.runs / "vae_state.pt"

    @property
    def decoder_state(self) -> Path:
        return self.runs / "decoder_state.pt"

    @property
    def unet_state(self) -> Path:
        return self.runs / "unet_state.pt"

    @property
    def unet(self) -> Path:
        """The averaged weights of UNet and text encoder."""
        return self.runs / "unet.safetensors"

    @property
    def model(self) -> Path:
        return self.results / "videop2p_demo.safetensors"

    @property
    def judge(self) -> Path:
        return self.results / "judge.safetensors"

    @property
    def distilled(self) -> Path:
        """The LoRA of the stage 'lcm', which no other needs: there may be none."""
        return self.results / "videop2p_demo_lcm.safetensors"

    @property
    def lcm(self) -> Path:
        return self.runs / "lcm.safetensors"

    @property
    def lcm_state(self) -> Path:
        return self.runs / "lcm_state.pt"

    def part(self, name: str, first: int) -> Path:
        """The file of 'pictures', 'coverage' or 'latents' of the seeds from `first` on."""
        return self.runs / f"{name}_{first:06}.npy"


CACHE = home() / "scenes2"  # git-ignored folders are lost with a clone; its training takes longer than one keeps
EDITIONS = {
    "scenes": Edition(
        scenes,
        silhouettes,
        HERE / "runs",
        HERE,
        {"vae": 2400, "unet": 6600, "decoder": 1200, "judge": 4, "lcm": 2000},
    ),  # fmt: skip
    "scenes2": Edition(
        world, world.silhouettes, CACHE, CACHE, {"vae": 2100, "unet": 12000, "decoder": 800, "judge": 10, "lcm": 2000}
    ),
}
FIRST = "scenes"
