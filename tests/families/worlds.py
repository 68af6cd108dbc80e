"""One small model of every family that an edit runs on, and what stands beside it: the laws are asked of each.

To add a family is a line in WORLDS.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import comfy.samplers
import torch
from comfyui_videop2p.tests.host import ltx, models, wan
from comfyui_videop2p.tests.host.calls import encode, run
from comfyui_videop2p.videop2p_core.diffusion import schedule
from comfyui_videop2p.videop2p_core.host.comfy.denoiser import prediction_of
from comfyui_videop2p.videop2p_core.host.comfy.latents import as_clip, has_time_axis
from node_helpers import conditioning_set_values

RED, BLUE, BIG = "a red ball on sand", "a blue ball on sand", "a very big red ball on sand"
STEPS, CFG, FRAMES = 2, 3.0, 3


@dataclass(eq=False)
class World:
    """make: gives MODEL and CLIP; size: of a latent; told: what its CONDITIONING says beside the text; sound: whether
    the clip has one; exact: the inversion methods under which a source comes back exactly."""

    name: str
    make: Any
    size: tuple[int, int] = (6, 4)
    told: dict | None = None
    sound: bool = False

    @cached_property
    def parts(self):
        with torch.inference_mode():
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
    def latent(self):
        from comfyui_videop2p.videop2p_core.host.comfy.latents import with_sound

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

    def at_scale(self, samples):
        return as_clip(self.model.model.process_latent_in(samples))

    def stock(self, inversion, start, positive):
        """What the stock sampler draws from a noisy LATENT on; its end is taken for clean, as DDIM does."""
        guider = comfy.samplers.CFGGuider(self.model)
        guider.set_conds(positive, self.encoded(""))
        guider.set_cfg(CFG)
        samples = start["samples"]
        nothing = samples * 0.0
        kept, mask = nothing, start.get("noise_mask")
        if mask is not None:  # the sound, which is not drawn
            nothing, kept = nothing + 0.0, samples
            nothing.tensors[0], kept.tensors[1] = samples.unbind()[0] * 0, kept.unbind()[1]
        with torch.inference_mode():
            x = guider.sample(
                nothing, kept if mask is not None else samples, comfy.samplers.sampler_object("euler"),
                inversion.sigmas, denoise_mask=mask, disable_pbar=True, seed=0,
            )  # fmt: skip
        flow = prediction_of(self.model) == "flow"
        return schedule.to_z(self.at_scale(pictures_of({"samples": x}).cpu()), inversion.sigmas[-1], flow=flow)

    def __str__(self):
        return self.name


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures_of(latent):
    samples = latent["samples"]
    return samples.unbind()[0] if samples.is_nested else samples


WORLDS = [
    World("image UNet", lambda: models.tiny("sd15"), (12, 10)),
    World("Wan", lambda: (wan.tiny_wan(), wan.tiny_text())),
    World("LTXV", lambda: (ltx.tiny_ltx(), ltx.tiny_t5()), told={"frame_rate": 8.0}),
    World("LTX-2", lambda: (ltx.tiny_ltx("ltx-2"), ltx.tiny_gemma("ltx-2")), told={"frame_rate": 8.0}),
    World("LTX-2.3", lambda: (ltx.tiny_ltx("ltx-2.3"), ltx.tiny_gemma("ltx-2.3")), sound=True),
]
