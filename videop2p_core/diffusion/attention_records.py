"""Queries and keys of the source, kept from its inversion: an edit that has them needs no source branch.

They are those of the inversion's own evaluations, z of the level below under the label of a step, where the source
branch would see z of the step itself: an approximation, which fixed-point rounds make nearly exact.
"""

from __future__ import annotations

import shutil
import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..edit.curves import cross_grain, steps_before
from ..edit.edit_plan import EditPlan
from ..edit.matrices import Edit

QueryKey = tuple[Tensor, Tensor]
WHOLE = "whole"  # the pass of a clip that is not cut
GONE = (
    "the kept source is gone from the temporary folder, or damaged there: invert again, with keep_source at "
    "'in memory' or 'off', as ComfyUI would not run DDIM Invert anew with the same settings"
)


@dataclass(frozen=True)
class RecordSettings:
    """What an inversion keeps of the source.

    cross, temporal  for what share of an edit's steps the queries and keys of cross and of temporal attention are kept;
                     those of the layers that make word maps are kept for all steps
    folder           where they are kept until the inversion is gone; None keeps them in memory
    structure        the share of the steps for which those of frame attention are kept: several times the rest
    """

    cross: float = EditPlan.cross
    temporal: float = EditPlan.temporal
    folder: Path | None = None
    structure: float = 0.0

    def __post_init__(self) -> None:
        for name in ("cross", "temporal", "structure"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"the kept {name} window is {share:g}: it lies between 0 and 1")

    def cross_steps(self, steps: int) -> int:
        """For how many of so many steps those of cross attention are kept."""
        return min(steps_before(self.cross, cross_grain(steps)), steps)

    def temporal_steps(self, steps: int) -> int:
        return steps_before(self.temporal, steps)

    def structure_steps(self, steps: int) -> int:
        return steps_before(self.structure, steps)


class AttentionRecords:
    """The queries and keys of every step (0 = the noisiest), pass of the clip and layer, in half precision; one file a
    step and pass where the settings name a folder, which goes when the records go.

    directions: the source's own of each step, [*latent], where a path does not tell them
    """

    def __init__(self, settings: RecordSettings, steps: int) -> None:
        self.settings, self.steps, self.first = settings, steps, 0  # the step that is called 0
        self.directions: list[Tensor] = []
        self.whole: AttentionRecords | None = None  # whose files these are
        self._memory: dict[tuple[int, str], Mapping[str, QueryKey]] = {}
        self._sizes: dict[tuple[int, str], int] = {}  # in bytes
        if settings.folder is not None:
            with _written(settings.folder):
                settings.folder.mkdir(parents=True)
            weakref.finalize(self, shutil.rmtree, settings.folder, ignore_errors=True)

    def after(self, step: int) -> AttentionRecords:
        """The same, to read, of a run that begins at this step."""
        later = copy(self)
        later.first, later.whole, later.directions = self.first + step, self, self.directions[step:]
        return later

    @property
    def bytes(self) -> int:
        return sum(self._sizes.values())

    def has_cross(self, step: int) -> bool:
        return self.first + step < self.settings.cross_steps(self.steps)

    def has_temporal(self, step: int) -> bool:
        return self.first + step < self.settings.temporal_steps(self.steps)

    def has_structure(self, step: int) -> bool:
        return self.first + step < self.settings.structure_steps(self.steps)

    def write(self, step: int, part: str, layers: Mapping[str, QueryKey]) -> None:
        """In the place of what the step and pass had. layers: in half precision, on the CPU."""
        self._sizes[step, part] = sum(x.numel() * x.element_size() for pair in layers.values() for x in pair)
        if self.settings.folder is None:
            self._memory[step, part] = layers
        else:
            tensors = {
                f"{name} {layer}": x for layer, pair in layers.items() for name, x in zip("qk", pair, strict=True)
            }
            with _written(self.settings.folder):
                save_file(
                    {name: x.contiguous() for name, x in tensors.items()}, _file(self.settings.folder, step, part)
                )

    def read(self, step: int, part: str) -> Mapping[str, QueryKey] | FileLayers:
        """What `get(layer)` gives the queries and keys of, None for a layer of which none are kept."""
        step += self.first
        parts = [known for known_step, known in self._sizes if known_step == step]
        if not parts:
            return {}
        if part not in parts:
            raise ValueError(
                "the inversion took the clip in other passes than the edit does: give both the same frames per pass, "
                "or keep nothing"
            )
        if self.settings.folder is None:
            return self._memory[step, part]
        return FileLayers(_file(self.settings.folder, step, part))

    def check_there(self) -> None:
        """Whether all that was written still is: other programs empty folders of temporary files."""
        folder = self.settings.folder
        if folder is not None and not all(_file(folder, *key).is_file() for key in self._sizes):
            raise ValueError(GONE)


def _file(folder: Path, step: int, part: str) -> Path:
    return folder / f"{step:04} {part}.safetensors"


@dataclass(frozen=True)
class FileLayers:
    """The layers of one step and pass, each read when it is asked for."""

    path: Path

    def get(self, layer: str) -> QueryKey | None:
        try:
            with safe_open(self.path, "pt") as file:
                if f"q {layer}" not in file.keys():
                    return None
                return file.get_tensor(f"q {layer}"), file.get_tensor(f"k {layer}")
        except (OSError, SafetensorError) as error:
            raise ValueError(GONE) from error


@contextmanager
def _written(folder: Path) -> Generator[None, None, None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"the source cannot be kept in {folder} ({error}): free space on that disk, or set keep_source to "
            "'in memory' or 'off'"
        ) from error


def check_kept(records: AttentionRecords, edit: Edit) -> None:
    """Whether the records are there and reach as far as the edit's windows; a ValueError says what to do where not."""
    records.check_there()
    for window, has, needs in (
        ("cross", records.has_cross, lambda step: not edit.is_identity(step)),
        ("temporal", records.has_temporal, lambda step: bool(edit.temporal[step])),
    ):
        lacking = [step for step in range(edit.steps) if needs(step) and not has(step)]
        if lacking:
            end, recorded = (records.first + step for step in (lacking[-1] + 1, lacking[0]))
            raise ValueError(
                f"the {window} window of the edit reaches to step {end}, the inversion kept the source's queries and "
                f"keys up to step {recorded}: invert with a larger kept {window} window, or keep nothing"
            )
