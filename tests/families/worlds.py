"""One small model of every family that an edit runs on, and what stands beside it: the laws are asked of each.

To add a family is a line in WORLDS.
"""

from dataclasses import dataclass
from functools import cache, cached_property, partial
from math import prod
from typing import Any

import comfy.samplers
import pytest
import torch
from comfy.utils import pack_latents, unpack_latents
from comfyui_videop2p.tests.host import cosmos, kandinsky, ltx, models, wan, wan_kinds
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.host.comfy.latents import as_clip, as_latent, has_time_axis, latent_out, with_sound
from comfyui_videop2p.videop2p_core.host.families.wan import has_a_rate_for_each_row
from node_helpers import conditioning_set_values

RED, BLUE, BIG = "a red ball on sand", "a blue ball on sand", "a very big red ball on sand"
STEPS, CFG, FRAMES = 2, 3.0, 3
TOKENS = 40  # more than any of the prompts has


@dataclass(eq=False)
class World:
    """make: gives MODEL and CLIP; size: of a latent; told: what its CONDITIONING says beside the text; sound: whether
    the clip has one; cells: of a latent that are one place; beside: tokens that stand beside the clip's."""

    name: str
    make: Any
    size: tuple[int, int] = (6, 4)
    told: dict | None = None
    sound: bool = False
    cells: int = 1
    beside: int = 0

    @cached_property
    def parts(self):
        return self.make()

    @property
    def model(self):
        return self.parts[0]

    @property
    def clip(self):
        return self.parts[1]

    def encoded(self, text):
        return conditioning_set_values(encode(self.clip, text), self.told or {})

    @cached_property
    def video(self):
        """Whether it takes a clip as one latent."""
        return has_time_axis(self.model.model)

    @cached_property
    def pictures(self):
        channels = self.model.model.latent_format.latent_channels
        shape = (1, channels, FRAMES) if self.video else (FRAMES, channels)
        return drawn(*shape, *self.size)

    @cached_property
    def heard(self):
        return drawn(1, 8, 5, 16, seed=5) if self.sound else None

    @property
    def tokens(self):
        """That a video model's network sees of a clip, and beside it."""
        return FRAMES * prod(self.size) // self.cells + self.beside

    @property
    def latent(self):
        return with_sound(self.pictures, self.heard)

    def inverted(self, method="direct", steps=STEPS, source=RED, **settings):
        return run(
            "DDIMInvert", model=self.model, source=self.encoded(source), null=self.encoded(""), latent=self.latent,
            steps=steps, cfg=CFG, method=method, **settings,
        )  # fmt: skip

    def controlled(self, target, source=RED, **settings):
        settings = {"cross_window": 0.0, "temporal_window": 0.0} | settings
        return run("AttentionController", clip=self.clip, source_prompt=source, target_prompt=target, **settings)[0]

    def edited(self, inversion, *edits, **settings):
        """(edited, reconstruction, masks): the LATENTs' pictures."""
        given = {"source": [self.encoded(RED)], "null": [self.encoded("")]}
        given["target"] = [self.encoded(edit.plan.target.text) for edit in edits]
        out = run(
            "DecoupledSample", model=[self.model], inversion=[inversion], edit=list(edits),
            **given | {name: [value] for name, value in settings.items()},
        )  # fmt: skip
        return [pictures_of(latent) for latent in out[0]], pictures_of(out[1]), out[2]

    def plain(self, inversion, positive):
        """The LATENT's pictures that Euler steps of the host's own guider draw from the inverted noise on; of
        a sound the guider is told by the host's own mask that it is kept."""
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(positive, self.encoded(""))
        guider.set_cfg(CFG)
        sampler = Plain(inversion)
        start = with_sound(as_latent(self.model.model, inversion.noise), inversion.sound, noisy=True)
        samples, mask = start["samples"], start.get("noise_mask")
        with torch.inference_mode():
            guider.sample(samples, samples, sampler, inversion.sigmas, denoise_mask=mask, disable_pbar=True, seed=0)
        return latent_out(self.model.model, sampler.z).cpu()

    def __str__(self):
        return self.name


def runs_here(world):
    """The world, where the host can run it."""
    if "fps" in (world.told or {}) and has_a_rate_for_each_row(world.model.model):
        pytest.skip("this ComfyUI fails on a WanDancer with music under guidance, as a sentence of ours says there")
    return world


class Plain(comfy.samplers.Sampler):
    """Euler steps and nothing else, in the arithmetic of the editing loop. x: where they begin, by default the inverted
    noise, and where they ended."""

    def __init__(self, inversion, x=None):
        self.inversion, self.x = inversion, x

    def sample(self, guider, sigmas, extra_args, callback, noise, latent_image, denoise_mask=None, *args, **kwargs):
        flow, clip, shapes = self.inversion.flow, self.inversion.noise.to(sigmas), None
        if self.inversion.sound is not None:
            shapes = as_latent(guider.inner_model, clip).shape, self.inversion.sound.shape
        x = schedule.to_x(clip, sigmas[0], flow=flow) if self.x is None else self.x
        for sigma, after in zip(sigmas, sigmas[1:], strict=False):
            shown = as_latent(guider.inner_model, x)
            if shapes:
                shown, _ = pack_latents([shown, self.inversion.sound.to(shown)])
            denoised = guider(shown, sigma.expand(len(shown)), model_options=extra_args["model_options"], seed=0)
            if shapes:
                denoised = unpack_latents(denoised, shapes)[0]
            x = schedule.ddim_step(x, schedule.direction(x, as_clip(denoised), sigma), sigma, after)
        self.x, self.z = x, schedule.to_z(x, sigmas[-1], flow=flow)
        return latent_image


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures_of(latent):
    samples = latent["samples"]
    return samples.unbind()[0] if samples.is_nested else samples


@cache
def wan_world(kind):
    """A Wan that looks at more than its text, and what the host's nodes show it."""
    size = (8, 8) if kind == "dancer" else wan_kinds.SIZE  # it hears by eighths of a frame's places
    made = partial(lambda kind: (wan_kinds.model_of(kind), wan.tiny_text(TOKENS)), kind)
    return World(f"Wan {kind}", made, size, wan_kinds.TOLD[kind], cells=4, beside=wan_kinds.BESIDE.get(kind, 0))


WAN_KINDS = (
    "i2v", "vace", "2.2 5b", "2.2 fun control", "camera", "humo 17b", "s2v", "animate", "scail 2", "dancer", "phantom",
    "bernini",
)  # fmt: skip
WORLDS = [
    World("image UNet", lambda: models.tiny("sd15"), (12, 10)),
    World("Wan", lambda: (wan.tiny_wan(), wan.tiny_text()), cells=4),
    *map(wan_world, WAN_KINDS),
    World("LTXV", lambda: (ltx.tiny_ltx(), ltx.tiny_t5()), told={"frame_rate": 8.0}),
    World("LTX-2", lambda: (ltx.tiny_ltx("ltx-2"), ltx.tiny_gemma("ltx-2")), told={"frame_rate": 8.0}),
    World("Cosmos-Predict2", lambda: (cosmos.tiny_cosmos(), cosmos.tiny_t5()), cells=4),
    World("Kandinsky 5", lambda: (kandinsky.tiny_kandinsky(), kandinsky.tiny_qwen()), cells=4),
    World("LTX-2.3", lambda: (ltx.tiny_ltx("ltx-2.3"), ltx.tiny_gemma("ltx-2.3")), sound=True),
]
