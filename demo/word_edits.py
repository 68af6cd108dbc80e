"""One word of each clip's caption is edited: does the judge see it, and does the rest stay?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING

from torch import Tensor

from ..videop2p_core.diffusion.attention_records import RecordSettings
from ..videop2p_core.diffusion.inversion import DIRECT, Inversion, InversionSettings
from ..videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ..videop2p_core.host.model.frame_attention import Inflation
from ..videop2p_core.host.model.inflate import inflate
from ..videop2p_core.host.source import inversion as host_inversion
from . import scenes
from .measure import Figures, figures

if TYPE_CHECKING:
    from .evaluation_world import World

BLENDED = ("object", "colour")  # fields whose words also say where the edit may act
CHANGED = (*BLENDED, "place", "style")
CROSS_WINDOWS = {"style": 0.8}  # as in the workflows; the others take the controller's own


@dataclass(frozen=True)
class Case:
    """An edit of `scene`, a clip of the evaluation, and what its variants share. model: inflated."""

    world: World
    model: object
    scene: scenes.Scene

    @property
    def field(self) -> str:
        return CHANGED[self.scene.seed % len(CHANGED)]

    @cached_property
    def target(self) -> scenes.Scene:
        others = [value for value in scenes.FIELDS[self.field] if value != getattr(self.scene, self.field)]
        return replace(self.scene, **{self.field: str(self.scene.random("edit").choice(others))})

    @property
    def captions(self) -> tuple[str, str]:
        return scenes.caption(self.scene), scenes.caption(self.target)

    @cached_property
    def frames(self) -> Tensor:
        return self.world.rendered(self.scene)[0]

    @cached_property
    def latent(self) -> Tensor:
        return self.world.vae.encode(self.frames)

    @cached_property
    def inverted(self) -> Inversion:
        return self.invert(self.model)

    def invert(self, model, **settings) -> Inversion:
        source, null = self.world.encode(self.captions[0]), self.world.encode("")
        settings = InversionSettings(DIRECT, self.world.steps, **settings)
        return host_inversion.invert_latent(model, source, null, self.latent, settings)

    def edited(self, model=None, inverted=None, plan=None, **settings) -> Tensor:
        """The edited frames, by the model and the inversion that all variants share unless others are given. plan: what
        the edit's plan has beside its words; settings go to `sample`."""
        model, inverted = model or self.model, inverted or self.inverted
        edit = word_edit(self.world.clip, *self.captions, **self.words() | (plan or {}))
        (latent,) = sample(model, prepare_edit(model, inverted, [edit]), **settings).targets
        return self.world.vae.decode(latent)

    def words(self) -> dict[str, object]:
        if self.field in BLENDED:
            old, new = (getattr(scene, self.field) for scene in (self.scene, self.target))
            return {"blend_source": (old,), "blend_target": (new,)}
        return {"cross": CROSS_WINDOWS[self.field]} if self.field in CROSS_WINDOWS else {}

    def judged(self, edited: Tensor) -> Figures:
        return figures(self.scene, self.captions[1], self.frames.numpy(), edited.numpy())


EXACT = "exact"
Variant = Callable[[Case], Tensor]  # gives the edited frames
# By name: the edit as it is, and cheaper ways to it.
VARIANTS: dict[str, Variant] = {
    EXACT: Case.edited,
    "kept": lambda case: case.edited(
        inverted=case.invert(case.model, record_settings=RecordSettings(cross=max(CROSS_WINDOWS.values())))
    ),
    "frozen": lambda case: case.edited(plan={"freeze": 0.5}),
    "cached": lambda case: case.edited(cache_every=2),
}


def edits_part(world: World) -> dict[str, float]:
    """Of each variant the share of edits in which the judge sees all that the target prompt says, and what lies outside
    of the old and the new object against the source, where there are blend words [dB]."""
    model = inflate(world.model, Inflation())
    success, background = ({name: [] for name in VARIANTS} for _ in range(2))
    for scene in world.scenes:
        case = Case(world, model, scene)
        for name, variant in VARIANTS.items():
            judgement = case.judged(variant(case))
            success[name].append(not judgement.missed)
            if case.field in BLENDED:
                background[name].append(judgement.background)
    return means("edit_success", success) | means("background_psnr", background)


def means(figure: str, values: dict[str, list[float]]) -> dict[str, float]:
    """Those of the exact edit have no suffix; what was never measured has no mean."""
    return {
        figure if name == EXACT else f"{figure}_{name}": fmean(numbers) for name, numbers in values.items() if numbers
    }
