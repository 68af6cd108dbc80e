"""Record and replay: the source's queries and keys, from one model call to the next (arXiv 2303.04761, section 3.3).

A control lives for one sampling call, in that call's own options. A wrapper around the model fills the attn2 slots when
all other patches are known, wraps whatever sits in them, and leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from functools import cache, partial
from typing import Any, TypeVar
from uuid import UUID

from torch import Tensor

from ...device_transfer import sent
from ...diffusion.attention import Attend, attention, edited_attention, word_probabilities
from ...diffusion.attention_records import WHOLE, AttentionRecords, FileLayers, QueryKey
from ...edit.local_blend import Blend
from ..comfy.model_patches import AttentionCall, host_attention, options_of
from ..families.table import family_of_network
from .affinities import Affinities, places_of
from .attention_slots import (
    around,
    check_rows,
    frame_layer,
    once,
    only_seen,
    rows_of,
    seen_alone,
    splice,
    with_frames_read,
)
from .controlled_target import ControlledTarget, Looking
from .in_step import InStep
from .source_recording import SourceRecording, joined, parts_of
from .word_maps import WordMaps

T = TypeVar("T")
Lead = Callable[[InStep], None]  # makes a prediction of the source that leads one of a target
RECORD, REPLAY = "record", "replay"


class AttentionControl:
    """What the attention layers of one sampling call do.

    source: uuid of the source's conditioning entry; targets: one ControlledTarget each; records: the source's queries
    and keys of all steps, where an inversion kept them; full(step): whether all layers are evaluated in a step, as only
    then word maps count; on_cpu: where a step's queries and keys are kept; finds_places: whether `places` has any.
    Each model call runs within an `evaluation`; a clip in passes goes through all branches of one pass before the next.
    `end_step` adds up what the words looked at.
    """

    def __init__(
        self, source: UUID, targets: Sequence[ControlledTarget], records: AttentionRecords | None = None,
        full: Callable[[int], bool] = lambda step: True, on_cpu: bool = False, finds_places: bool = False,
    ) -> None:  # fmt: skip
        self.source, self.targets, self.records, self.full = source, targets, records, full
        self.finds_places, self.recording = finds_places, SourceRecording(on_cpu)
        self.step, self.mode = 0, RECORD
        self.target = 0  # the one that is replayed, where one is
        self.matrices: dict[Hashable, Any] = {}  # what the layers of this branch multiply by, on their device
        self.lead: Lead | None = None  # what the source is predicted by, where it leads this target
        self.in_step: InStep | None = None  # during a call that leads or is led
        self.inverted: Mapping[str, QueryKey] | FileLayers = {}  # what an inversion kept of the same
        self.recalled = None  # the step and pass whose records these are
        self.unseen = None  # layers that did not run since, None before the model did
        self.source_maps = [WordMaps() for _ in targets]
        self.target_maps = [WordMaps() for _ in targets]
        self.source_affinities, self.target_affinities = Affinities(), [Affinities() for _ in targets]

    # --- what the sampler says and asks ------------------------------------------------------------------------------

    @contextmanager
    def evaluation(
        self, step: int, target: int | None = None, part: str = WHOLE, lead: Lead | None = None
    ) -> Generator[None, None, None]:
        """One call of the model: of the source, which is recorded, or of a target, in which it is replayed.

        part: the pass, as the records name it; lead: predicts the source in step with this target. Raises ValueError,
        in a sentence, where another node left out layers that the edit looks into.
        """
        if target is None or self.recording.at != (step, part):
            self.recording.begin(step, part)
        if target is not None:
            self.recording.ferry.land()
            if self.records is not None and self.recalled != (step, part):
                self.inverted, self.recalled = self.records.read(step, part), (step, part)
        self.mode = RECORD if target is None else REPLAY
        self.step, self.target, self.unseen, self.matrices = step, target or 0, None, {}
        self.lead = lead
        try:
            yield
        finally:
            self.lead = None  # it holds the run that holds this
        self._check_seen()

    def source_needed(self, step: int) -> bool:
        """Whether any target looks at the source in this step, and nobody kept what it sees."""
        looked_at = self._cross_edited(step) or self._temporal_edited(step) or self._maps_count(step)
        if self.records is None and looked_at:
            return True
        return not self._structure_kept(step) and (self._structured(step) or self._shows_places(step, RECORD))

    def of_source(self) -> AttentionControl:
        """A control of the source alone that reports to the same places, for one that leads."""
        return copy(self)

    def end_step(self) -> None:
        """Add the step's word maps to the sums."""
        for target, *maps in zip(self.targets, self.source_maps, self.target_maps, strict=True):
            if looking := self._looking(target, self.step):
                for branch in maps:
                    branch.end_step(looking.layers.grid)
        for affinities in (self.source_affinities, *self.target_affinities):
            affinities.end_step()

    def word_maps(self, target: int) -> tuple[Tensor | None, Tensor | None]:
        """The cumulative word maps of the source and of a target, [frames, groups, rows, columns] each; None for maps
        of a conditioning that was not in use so far."""
        return self.source_maps[target].total, self.target_maps[target].total

    def places(self, target: int) -> tuple[Tensor, Tensor] | None:
        """Where the old and the new thing are, [frames, rows, columns] each, 0 to 1; None without words that say so."""
        old_map, new_map = self.word_maps(target)
        old, new = places_of(old_map, self.source_affinities), places_of(new_map, self.target_affinities[target])
        return None if old is None or new is None else (old, new)

    # --- what the host calls -----------------------------------------------------------------------------------------

    def __call__(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        """Around the model: fill the cross-attention slots of this call, in step with the source where it leads."""
        x, options = args[0], options_of(args, kwargs)
        if self.lead is None or self._own_rows(len(x), options) is None:
            return self._acting(executor, *args, **kwargs)
        try:
            with InStep(self.lead, x.device) as self.in_step:
                return self._acting(executor, *args, **kwargs)
        finally:
            self.in_step = None

    def block(self, name: str, rows: int, options: dict[str, Any]) -> None:
        """Before each block of a network whose blocks have slots."""
        if self.in_step is None or self._own_rows(rows, options) is None:
            return
        if self.mode == RECORD:
            self.in_step.wait(name)
            self.recording.layers.clear()
        else:
            self.in_step.follow(name)
            self.recording.ferry.land()

    def _acting(self, executor: Any, *args: Any, **kwargs: Any) -> Tensor:
        cross = self.cross_attention if self._acts_on_cross_attention() else None
        frame = self.frame_attention if self._acts_on_frame_attention() else None
        if cross is None and frame is None:
            return executor(*args, **kwargs)
        network = executor.class_obj.diffusion_model
        family = family_of_network(network)
        if cross is not None and self.unseen is None:
            self.unseen = set(family.cross_attention_layers(network))
        return family.fill_attention(cross, frame, executor, *args, **kwargs)

    def cross_attention(self, call: AttentionCall) -> Tensor:
        """An attn2 slot."""
        layer, options, heads = call.slot, call.options, call.heads
        if self.unseen is not None:
            self.unseen.discard(layer)
        check_rows(call)
        q = call.q
        rows = self._own_rows(len(q), options)
        if rows is None:
            return call.attended()
        if self.mode == RECORD:
            source_k = once(call.k[rows], self.targets[0].edit.source.shape[1], "source")
            self.recording.mask = call.mask_of(rows)
            if self._cross_edited(self.step):
                self.recording.keep(str(layer), q[rows], source_k)
            for index in range(len(self.targets)):
                self._add_source_words(index, layer, q[rows], source_k, options)
            return call.attended()

        target = self.targets[self.target]
        tokens = target.edit.target.shape[1]
        mask = call.mask_of(rows)
        k, v = (once(x[rows], tokens, "target") for x in (call.k, call.v))
        qkv = q[rows], k, only_seen(v, mask)
        recorded = cache(partial(self._recorded, layer, qkv[0]))  # once for all that asks, however far it travels
        looking = self._looking(target, self.step)
        if looking and looking.layers.feed(layer, options):
            words = looking.layers.by_frame(self._target_words(recorded, *qkv[:2], mask, heads, looking.blend), options)
            self.target_maps[self.target].add(layer, words, options)
            if self.records is not None:
                self._add_source_words(self.target, layer, *recorded(), options)
        if target.edit.is_identity(self.step) or self._left_out(layer):
            return call.attended()
        pair = self._matrix(("pair", v.dtype), lambda: target.edit.pair(self.step, v))
        attend, of_source = host_attention(options, mask), host_attention(options, self.recording.mask)
        edited = edited_attention(*qkv, *recorded(), *pair, heads, attend, of_source)
        if call.occupant:
            whole = call.attended()
            return splice(whole, rows, whole[rows] + edited - attend(*qkv, heads))
        return around(edited, rows, len(q), call.attended)

    def frame_attention(self, call: AttentionCall) -> Tensor:
        """An attn1 slot, of each frame itself; what it reads of others is added here."""
        layer, options, q, k = frame_layer(call.slot), call.options, call.q, call.k
        rows = self._own_rows(len(q), options)
        if self.mode == REPLAY and self._structured_target() and not self._left_out(layer):
            source = self._recorded(layer, q[: len(q) // len(options["uuids"])])
            q, k = (x.repeat(len(q) // len(x), 1, 1) for x in source)  # of all conditioning entries alike
        elif rows is not None and self.mode == RECORD and self._structured(self.step):
            self.recording.keep(layer, q[rows], k[rows])
        if rows is not None and self._shows_places(self.step, self.mode):
            affinities = self.source_affinities if self.mode == RECORD else self.target_affinities[self.target]
            affinities.add(q[rows], k[rows], options)
            if self.mode == REPLAY and self._structure_kept(self.step) and self._shows_places(self.step, RECORD):
                self.source_affinities.add(*self._recorded(layer, q[rows]), options)
        return with_frames_read(replace(call, q=q, k=k))

    def temporal(self, layer: Hashable, options: dict[str, Any], attend: Attend = attention) -> Attend:
        """attend(q, k, v, heads) of a temporal layer: [rows, frames, channels], rows = entries x places; of a video
        model's own attention over all frames [entries, places of all frames, channels]."""

        def looking(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
            rows = self._own_rows(len(q), options)
            if rows is None:
                return attend(q, k, v, heads)
            parts = parts_of(str(layer), q.shape[-1], heads, several=self.in_step is not None)
            replayed = self.targets[self.target].edit.temporal[self.step]
            if self.mode == RECORD and self._temporal_edited(self.step):
                for name, channels, _ in parts:
                    self.recording.keep(name, q[rows][..., channels], k[rows][..., channels])
            elif self.mode == REPLAY and replayed and not self._left_out(parts[0][0]):
                edited = joined(
                    attend(*self._recorded(name, q[rows][..., channels]), v[rows][..., channels], some)
                    for name, channels, some in parts
                )
                return around(edited, rows, len(q), lambda part: attend(q[part], k[part], v[part], heads))
            return attend(q, k, v, heads)

        return looking

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _check_seen(self) -> None:
        if self.unseen and self.full(self.step):
            raise ValueError(
                f"another node on this model left out {len(self.unseen)} layers that an edit looks into (a cache of "
                "steps or features, for instance): remove it; on a UNet cache every in Decoupled Sample does as much"
            )

    def _cross_edited(self, step: int) -> bool:
        return not all(target.edit.is_identity(step) for target in self.targets)

    def _temporal_edited(self, step: int) -> bool:
        return any(target.edit.temporal[step] for target in self.targets)

    def _looking(self, target: ControlledTarget, step: int) -> Looking | None:
        """Which words of a target look for a mask in this step."""
        return target.looking(step) if self.full(step) else None

    def _maps_count(self, step: int) -> bool:
        return any(self._looking(target, step) is not None for target in self.targets)

    def _acts_on_cross_attention(self) -> bool:
        if self.mode == RECORD:
            return self._cross_edited(self.step) or self._maps_count(self.step)
        target = self.targets[self.target]
        return self._looking(target, self.step) is not None or not target.edit.is_identity(self.step)

    def _structured(self, step: int) -> bool:
        return any(target.edit.is_structured(step) for target in self.targets)

    def _structure_kept(self, step: int) -> bool:
        """Whether nobody need look at the source's frame attention."""
        return self.records is not None and self.records.has_structure(step)

    def _structured_target(self) -> bool:
        return self.targets[self.target].edit.is_structured(self.step)

    def _shows_places(self, step: int, mode: str) -> bool:
        """The source at its cleanest, a target in the second half of its steps."""
        if not self.finds_places:
            return False
        if mode == RECORD:
            return any(target.blend and step == target.edit.steps - 1 for target in self.targets)
        target = self.targets[self.target]
        return target.blend is not None and step >= target.edit.steps // 2

    def _acts_on_frame_attention(self) -> bool:
        if self._shows_places(self.step, self.mode):
            return True
        return self._structured(self.step) if self.mode == RECORD else self._structured_target()

    def _own_rows(self, rows: int, options: dict[str, Any]) -> slice | None:
        """The rows of the conditioning entry that the edit belongs to, None where this call does not hold it."""
        return rows_of(self.source if self.mode == RECORD else self.targets[self.target].entry, rows, options)

    def _left_out(self, layer: Hashable) -> bool:
        """Whether the source left this layer out of a step in which the target, new to its features, does not."""
        return not self.full(self.step) and self._of_source(layer) is None

    def _of_source(self, layer: Hashable) -> QueryKey | None:
        return self.recording.layers.get(str(layer)) or self.inverted.get(str(layer))

    def _recorded(self, layer: Hashable, q: Tensor) -> QueryKey:
        record = self._of_source(layer)
        if record is None:
            raise ValueError(
                f"step {self.step} edits the target where the source prompt is not in use: give both conditionings the "
                "same timestep range"
            )
        if record[0].shape != q.shape:
            raise ValueError(
                "another node on this model predicts a part of the picture by itself (Sliding Window Guidance, for "
                "instance), where an edit sees the whole: take it off this model"
            )
        source_q, source_k = (self.recording.ferry.back(x, q) for x in record)
        return source_q, source_k

    def _add_source_words(self, index: int, layer: Hashable, q: Tensor, k: Tensor, options: dict[str, Any]) -> None:
        looking = self._looking(self.targets[index], self.step)
        if looking and looking.layers.feed(layer, options):
            columns = self._matrix(("source", index), lambda: sent(looking.blend.source, q.device))
            words = word_probabilities(q, *seen_alone(k, columns, self.recording.mask), options["n_heads"])
            self.source_maps[index].add(layer, looking.layers.by_frame(words, options), options)

    def _target_words(
        self, recorded: Callable[[], QueryKey], q: Tensor, k: Tensor, mask: Tensor | None, heads: int, blend: Blend
    ) -> Tensor:
        """The word maps of the target, as they are after the edit."""
        target = self.targets[self.target]
        words = blend.target.float()
        if target.edit.is_identity(self.step):
            columns = self._matrix("target", lambda: sent(words, q.device))
            return word_probabilities(q, *seen_alone(k, columns, mask), heads)
        pair = self._matrix("edited", lambda: [sent(x, q.device) for x in target.edit.values(self.step, words)])
        source_q, source_k = recorded()
        of_source = word_probabilities(source_q, *seen_alone(source_k, pair[0], self.recording.mask), heads)
        return of_source + word_probabilities(q, *seen_alone(k, pair[1], mask), heads)

    def _matrix(self, name: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made for the first layer of a branch that asks."""
        if name not in self.matrices:
            self.matrices[name] = make()
        return self.matrices[name]
