"""A small model of a supported family, and the host's own sampler beside it, which knows nothing of this pack."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import comfy.samplers
import torch
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.models import FAMILIES, tiny

STEPS, CFG = 2, 3.0
INPAINTING = [name for name in FAMILIES if FAMILIES[name].config["in_channels"] == 9]
POOLED = [name for name in FAMILIES if FAMILIES[name].config["adm_in_channels"]]


@dataclass(eq=False)
class World:
    """A tiny model, inflated and tuned on a clip of noise; what was asked of it is kept."""

    family: str
    frames: int = FRAMES

    def __post_init__(self):
        self.image, self.clip = tiny(self.family)
        self.before, self.inversions = fingerprint(self.image), {}
        # SDXL has no attention at its full resolution, so it takes some size to have word maps.
        self.size = (24, 20) if self.family in POOLED else (12, 10)
        self.latent = {"samples": random(self.frames, self.image.model.latent_format.latent_channels, *self.size)}
        self.source, self.target, self.null = (self.encoded(text) for text in (SOURCE, TARGET, ""))

    def encoded(self, text):
        return self.masked(encode(self.clip, text))

    def masked(self, conditioning):
        """With what an inpainting model reads, as InpaintModelConditioning gives it."""
        if self.family not in INPAINTING:
            return conditioning
        return changed(conditioning, concat_latent_image=self.picture(seed=1), concat_mask=self.half_mask())

    def picture(self, seed):
        return random(self.frames, 4, *self.size, seed=seed)

    def half_mask(self):
        """As large as the pictures."""
        height, width = (8 * side for side in self.size)
        mask = torch.zeros(self.frames, 1, height, width)
        mask[..., width // 2 :] = 1
        return mask

    @cached_property
    def tuning(self):
        inflated = run("InflateUNet", model=self.image)[0]
        return run("TuneOnVideo", model=inflated, positive=self.source, latent=self.latent, steps=2, learning_rate=1e-3)

    @property
    def model(self):
        return self.tuning[0]

    def inverted(self, method="direct"):
        """By the settings of `invert`, once."""
        if method not in self.inversions:
            self.inversions[method] = self.invert(method)
        return self.inversions[method]

    def invert(self, method, **inputs):
        given = {"model": self.model, "source": self.source, "null": self.null, "latent": self.latent}
        given |= {"steps": STEPS, "cfg": CFG, "inner_steps": 1, "method": method}
        return run("DDIMInvert", **given | inputs)

    def edit(self, inversion, target=TARGET, source=SOURCE, guidance="decoupled", **settings):
        """Decoupled Sample of one edit: (edited, reconstruction, mask), without the lists around them."""
        edit, source, target, _ = control(self.clip, target, source, **settings)
        edited, reconstruction, masks = sample(
            self.model, inversion, edit, source=[self.masked(source)], target=[self.masked(target)], null=[self.null],
            guidance=[guidance],
        )  # fmt: skip
        return edited[0]["samples"], reconstruction["samples"], masks[0]

    def at_model_scale(self, latent):
        return self.model.model.process_latent_in(latent)


def changed(conditioning, **options):
    return [[embedding, given | options] for embedding, given in conditioning]


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def fingerprint(model):
    digest = hashlib.sha256()
    for name, value in sorted(model.model.state_dict().items()):
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    options = model.model_options["transformer_options"]
    return digest.hexdigest(), dict(model.object_patches), dict(model.patches), dict(options), list(model.wrappers)


def euler(model, start, positive, negative, cfg, sigmas, callback=None):
    """The stock sampler from a noisy LATENT on; what it ends in is taken for a clean clip, as DDIM does."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    sampler = comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        x = guider.sample(torch.zeros_like(start), start, sampler, sigmas, callback=callback, disable_pbar=True, seed=0)
    return x.cpu() / (1 + sigmas[-1] ** 2).sqrt()
