"""Does a clip that is edited in passes show where one ends and the next begins?"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..videop2p_core.diffusion.inversion import DIRECT, InversionSettings
from ..videop2p_core.diffusion.windows import even_windows
from ..videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ..videop2p_core.host.model.frame_attention import Inflation
from ..videop2p_core.host.model.inflate import inflate
from ..videop2p_core.host.source import inversion as host_inversion
from . import scenes
from .measure import stacked

if TYPE_CHECKING:
    from .evaluation_world import World

FRAMES, PER_PASS, OVERLAP = 64, 16, 2
CLIPS = 4  # each as long as eight others: the figure is of the first ones


def long_part(world: World) -> dict[str, float]:
    """Differences between neighbouring frames, relative to those of the clip that the target prompt describes: across
    the borders of passes, divided by those elsewhere."""
    model = inflate(world.model, Inflation(frames_per_pass=PER_PASS, overlap=OVERLAP))
    seams = []
    for scene in world.scenes[:CLIPS]:
        target = replace(scene, colour=next(colour for colour in scenes.COLOURS if colour != scene.colour))
        clip, truth = (stacked(scenes.clip(shown, FRAMES), "image") for shown in (scene, target))
        edited = edited_clip(world, model, torch.from_numpy(clip), scene, target)
        seams.append(seam(edited, torch.from_numpy(truth)))
    return {"seam": fmean(seams)}


def edited_clip(world: World, model, clip: Tensor, scene: scenes.Scene, target: scenes.Scene) -> Tensor:
    captions = scenes.caption(scene), scenes.caption(target)
    source, null = world.encode(captions[0]), world.encode("")
    inverted = host_inversion.invert_latent(
        model, source, null, world.vae.encode(clip), InversionSettings(DIRECT, world.steps)
    )
    edit = word_edit(world.clip, *captions, blend_source=(scene.object,), blend_target=(target.object,))
    (latent,) = sample(model, prepare_edit(model, inverted, [edit])).targets
    return world.vae.decode(latent)


def seam(clip: Tensor, truth: Tensor) -> float:
    """Of clips [frames, height, width, 3]; 1 where borders are like any other place."""
    change, true_change = ((after - before).abs().flatten(1).mean(dim=1) for before, after in map(pairs, (clip, truth)))
    relative = (change / true_change).tolist()
    at_border = borders()
    across, elsewhere = ([value for i, value in enumerate(relative) if (i in at_border) == where] for where in (1, 0))
    return fmean(across) / fmean(elsewhere)


def pairs(clip: Tensor) -> tuple[Tensor, Tensor]:
    return clip[:-1], clip[1:]


def borders() -> set[int]:
    """Frames after which a pass begins or ends."""
    windows = even_windows(FRAMES, PER_PASS - 1, OVERLAP)
    ends = {window[0] - 1 for window in windows} | {window[-1] for window in windows}
    return ends - {-1, FRAMES - 1}
