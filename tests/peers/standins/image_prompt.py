"""A stand-in with the habits of IPAdapter_plus: attention to an image, added in the attn2 slots.

A slot is named (block, number), without the place in the block. Who finds it held adds to its holder. Images are
repeated for the frames of a half, or one goes to each frame; where a pack takes the clip in windows, `ad_params` tell
which frames these are.
"""

from dataclasses import dataclass, field

import torch
from comfy.ldm.modules.attention import optimized_attention
from torch import Tensor


@dataclass
class Holder:
    """Of one slot."""

    images: list = field(default_factory=list)

    def add(self, image):
        self.images.append(image)

    def to(self, *args, **kwargs):
        return self

    def __call__(self, q, k, v, options):
        out = optimized_attention(q, k, v, options["n_heads"])
        for image in self.images:
            out = out + image(q, options)
        return out


@dataclass
class Image:
    """In one layer: keys and values [channels, width]; embeds of both halves [1 or frames, tokens, width]."""

    keys: Tensor
    values: Tensor
    halves: tuple[Tensor, Tensor]
    weight: float
    each_frame: bool

    def __call__(self, q, options):
        shown = options["cond_or_uncond"]
        frames = len(q) // len(shown)
        embeds = torch.cat([self.of_frames(self.halves[half], frames, options) for half in shown])
        keys, values = embeds @ self.keys.T, embeds @ self.values.T
        return self.weight * optimized_attention(q, keys, values, options["n_heads"])

    def of_frames(self, embeds, frames, options):
        if not self.each_frame:
            return embeds.repeat(frames, 1, 1)
        window = options.get("ad_params", {}).get("sub_idxs")
        return embeds[:frames] if window is None else embeds[window]


def apply(model, layers, embeds, each_frame, weight):
    """A clone of MODEL under the image. layers: {slot: (keys, values)}; embeds [images, tokens, width]."""
    model = model.clone()
    options = model.model_options["transformer_options"] = {**model.model_options["transformer_options"]}
    replace = options["patches_replace"] = {**options.get("patches_replace", {})}
    slots = replace["attn2"] = {**replace.get("attn2", {})}
    halves = embeds, torch.zeros_like(embeds)
    for slot, projections in layers.items():
        if slot not in slots:
            slots[slot] = Holder()
        slots[slot].add(Image(*projections, halves, weight, each_frame))
    return model
