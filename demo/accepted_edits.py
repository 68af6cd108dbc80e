"""Edits that a person would keep: the default way and the published one, by the yardstick of acceptance.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import torch
from comfy.patcher_extension import WrappersMP
from PIL import Image, ImageDraw
from torch import Tensor

from ..tools.bench.meter import Meter
from ..videop2p_core.diffusion.attention_records import RecordSettings
from ..videop2p_core.diffusion.inversion import DIRECT, DIRECT_EXACT, VIRTUAL, Inversion, InversionSettings
from ..videop2p_core.host.edit.edit_inputs import pixel_places, prepare_edit, sample, word_edit
from ..videop2p_core.host.images.composite_edit import composite_edit
from ..videop2p_core.host.model.frame_attention import Inflation
from ..videop2p_core.host.model.inflate import inflate
from ..videop2p_core.host.source import inversion as host_inversion
from ..videop2p_core.images.matte import EXCHANGED, MatteSettings
from . import scenes
from .acceptance import SEEN_IN, Acceptance, Truth, accepted, words_seen
from .differences import overlap
from .evaluation_world import FRAMES, World
from .scenes import Scene
from .ways import Way

KINDS = ("object", "colour", "pattern", "refinement", "background")
WORST = 10  # edits on the sheet of those that are refused for most
LABEL = 30  # pixels, of the lines under which an edit is shown
PUBLISHED_GUIDANCE = 2.5  # on the demo model fewer of its edits are accepted at the paper's 7.5


@dataclass(frozen=True)
class AcceptedCase:
    """One edit of a seed, all kinds in turn. model: inflated."""

    world: World
    model: Any
    seed: int

    @property
    def kind(self) -> str:
        return KINDS[self.seed % len(KINDS)]

    @property
    def field(self) -> str:
        """What changes."""
        return scenes.EDITED[self.kind]

    @cached_property
    def source(self) -> Scene:
        scene = scenes.random_scene(self.seed)
        surface = scenes.EDITED["pattern"]
        if self.kind == "refinement":
            return replace(scene, **{surface: "plain"})
        is_plain = self.kind == "pattern" and getattr(scene, surface) == "plain"
        return replace(scene, **{surface: "striped"}) if is_plain else scene

    @cached_property
    def target(self) -> Scene:
        old = getattr(self.source, self.field)
        values = [value for value in scenes.FIELDS[self.field] if value not in ("plain", old)]
        return replace(self.source, **{self.field: str(self.source.random("edit").choice(values))})

    @property
    def captions(self) -> tuple[str, str]:
        return scenes.caption(self.source), scenes.caption(self.target)

    @property
    def is_told(self) -> bool:
        """Whether the true target shows its words: spots may all lie on the side of a thing that is turned away."""
        return words_seen(self.target, self.truth.true, self.world.judge) >= SEEN_IN

    @property
    def blended(self) -> dict[str, tuple[str]]:
        """The thing, which is new, or is kept where its background is new."""
        return {"blend_source": (self.source.object,), "blend_target": (self.target.object,)}

    @cached_property
    def frames(self) -> Tensor:
        return self.world.rendered(self.source)[0]

    @cached_property
    def truth(self) -> Truth:
        true, _ = self.world.rendered(self.target)
        trips = (self.world.vae.decode(self.world.vae.encode(frames)).numpy() for frames in (self.frames, true))
        return Truth(self.source, self.target, self.frames.numpy(), *trips)

    def inverted(self, method: str, steps: int, record_settings: RecordSettings | None = None) -> Inversion:
        source, null = self.world.encode(self.captions[0]), self.world.encode("")
        settings = InversionSettings(method, steps, record_settings=record_settings)
        return host_inversion.invert_latent(self.model, source, null, self.world.vae.encode(self.frames), settings)

    def edited(self, inversion: Inversion, **plan: Any) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(frames, places of the old and the new thing)"""
        edit = word_edit(self.world.clip, *self.captions, **plan)
        edited = sample(self.model, prepare_edit(self.model, inversion, [edit]))
        (old,), (new,) = pixel_places(self.model, edited)
        return self.world.vae.decode(edited.targets[0]), (old, new)

    def by(self, way: Way) -> tuple[Tensor, Tensor]:
        """(frames, matte): an exact source, its structure kept from the inversion where the shape stays, else noise
        that is one for all frames, and one matte at the end."""
        exchanged, behind = self.kind == "object", self.kind == "background"
        if exchanged or behind:
            inversion = self.inverted(VIRTUAL, way.new_steps)
        else:
            inversion = self.inverted(DIRECT_EXACT, way.steps, RecordSettings(structure=1.0))
        plan = {"start": 1.0, "structure": 0.0 if behind else None, "guidance": way.guidance}
        frames, places = self.edited(inversion, **self.blended, **plan)
        settings = EXCHANGED if exchanged else MatteSettings(keep_things=behind)
        return composite_edit(self.frames, frames, *places, settings)

    def published(self) -> Tensor:
        """Direct inversion as published, blended from the paper's step on; a new background is not blended."""
        inversion = self.inverted(DIRECT, self.world.way.steps)
        blended = {} if self.kind == "background" else self.blended
        plan = {"guidance": PUBLISHED_GUIDANCE}
        return self.edited(inversion, **blended, **plan)[0]


def told_cases(world: World, model: Any) -> Iterator[AcceptedCase]:
    """As many as the world has scenes, from the first one's seed on."""
    count = 0
    for scene in scenes.of_one_thing(world.scenes[0].seed):
        if count == len(world.scenes):
            return
        case = AcceptedCase(world, model, scene.seed)
        if case.is_told:
            count += 1
            yield case
        else:
            print(f"{case.seed} {case.kind}: passed over, {case.captions[1]} does not show all of that", flush=True)


def accepted_part(world: World) -> dict[str, Any]:
    """The shares of edits that are accepted: by the default way, the published one, of the true targets' and of the
    sources' round trips; how well the matte fits, and what each edit was refused for."""
    model, meter, rows, sheets = inflate(world.model, Inflation()), Meter(FRAMES), [], {}
    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, meter)
    for case in told_cases(world, model):
        meter.forwards()  # of the case before
        frames, matte = case.by(world.way)
        forwards = meter.forwards()  # before the published way's
        judged = {
            "default": accepted(case.truth, frames.numpy(), world.judge),
            "published": accepted(case.truth, case.published().numpy(), world.judge),
            "truth": accepted(case.truth, case.truth.true_round_trip, world.judge),
            "source": accepted(case.truth, case.truth.round_trip, world.judge),
        }
        rows.append(row(case, judged, fit(case, matte), forwards))
        print(line(rows[-1]), flush=True)
        sheets[case.seed] = sheet(case, frames, matte)
        world.save(f"accepted_{case.seed}.png", sheets[case.seed])
    world.save("worst.jpg", worst(rows, sheets))
    missed = [one["default"]["missed"] for one in rows if one["kind"] == "object"]
    kinds = {kind: [one for one in rows if one["kind"] == kind] for kind in KINDS}
    return {
        "accepted": share(rows, "default"),
        "accepted_published": share(rows, "published"),
        "accepted_truth": share(rows, "truth"),
        "accepted_source": share(rows, "source"),
        "accepted_by_kind": {kind: share(some, "default") for kind, some in kinds.items() if some},
        "mask_iou": fmean(one["mask_iou"] for one in rows if one["kind"] != "background"),
        "flicker": fmean(one["default"]["flicker"] for one in rows),
        "missed_motion": fmean(missed) if missed else None,
        "forwards": fmean(one["forwards"] for one in rows),
        "edits": rows,
    }


def row(case: AcceptedCase, judged: dict[str, Acceptance], iou: float, forwards: float) -> dict[str, Any]:
    source, target = case.captions
    return {
        "seed": case.seed, "kind": case.kind, "source_prompt": source, "target_prompt": target, "mask_iou": iou,
        "forwards": forwards, **{name: asdict(one) for name, one in judged.items()},
    }  # fmt: skip


def line(one: dict[str, Any]) -> str:
    words = ", ".join(one["default"]["refused"])
    return f"{one['seed']} {one['kind']}: {one['source_prompt']} -> {one['target_prompt']}: {words or 'accepted'}"


def worst(rows: list[dict[str, Any]], sheets: Mapping[int, Image.Image]) -> Image.Image:
    """The edits that are refused for most, each with why: source, edit and true target, at half their size."""
    some = sorted(rows, key=lambda one: len(one["default"]["refused"]), reverse=True)[:WORST]
    width, height = (side // 2 for side in sheets[some[0]["seed"]].size)
    shown = height * 3 // 4  # without the matte
    picture = Image.new("RGB", (width, len(some) * (shown + LABEL)), "white")
    for i, one in enumerate(some):
        top = i * (shown + LABEL)
        words = f"{one['source_prompt']} -> {one['target_prompt']}", ", ".join(one["default"]["refused"])
        ImageDraw.Draw(picture).multiline_text((2, top + 2), "\n".join(words), fill="black")
        half = sheets[one["seed"]].resize((width, height), Image.Resampling.LANCZOS)
        picture.paste(half.crop((0, 0, width, shown)), (0, top + LABEL))
    return picture


def share(rows: list[dict[str, Any]], name: str) -> float:
    return fmean(not one[name]["refused"] for one in rows)


def fit(case: AcceptedCase, matte: Tensor) -> float:
    """How the matte overlaps the place of both things, or all around the thing."""
    truth = case.truth
    things = truth.edited(truth.old) | truth.edited(truth.new)
    wanted = ~truth.old.covers if case.kind == "background" else things
    return overlap(matte.numpy() > 0.5, wanted)


def sheet(case: AcceptedCase, frames: Tensor, matte: Tensor) -> Image.Image:
    """Source, edit, true target and matte, a row each."""
    clips = case.frames, frames, torch.from_numpy(case.truth.true), matte[..., None].expand(-1, -1, -1, 3)
    rows = [np.concatenate(list(clip.numpy()), axis=1) for clip in clips]
    return Image.fromarray((np.concatenate(rows).clip(0, 1) * 255).astype(np.uint8))
