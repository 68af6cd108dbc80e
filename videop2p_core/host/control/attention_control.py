"""Record and replay: the source's queries and keys, from one model call to the next (arXiv 2303.04761, section 3.3).

A control lives for one sampling call, in that call's own options. A wrapper around the model fills the attn2 slots when
all other patches are known, wraps whatever sits in them, and leaves nothing behind.
"""

from collections.abc import Callable, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from uuid import UUID

import torch

from ...device_transfer import Ferry, sent
from ...diffusion.attention import attention, edited_attention, word_probabilities
from ...diffusion.attention_records import WHOLE, AttentionRecords
from ...edit.local_blend import Blend
from ...edit.matrices import Edit
from ..comfy.model_patches import host_attention, may_lock_pages
from ..families.family import WordMapLayers
from ..families.table import family_of_network
from .attention_slots import once, rows_of, splice
from .word_maps import WordMaps

RECORD, REPLAY = "record", "replay"


@dataclass(frozen=True)
class ControlledTarget:
    """One target: its edit, its blend, and the uuid of the conditioning entry that the edit belongs to.

    layers: those that make the word maps of the blend
    """

    edit: Edit
    entry: UUID
    blend: Blend | None = None
    layers: WordMapLayers | None = None


class AttentionControl:
    """What the attention layers of one sampling call do.

    source: uuid of the source's conditioning entry; targets: one ControlledTarget each; records: the source's queries
    and keys of all steps, where an inversion kept them; full(step): whether all layers are evaluated in a step, as only
    then the words' maps count; on_cpu: where a step's queries and keys are kept.
    Each model call runs within an `evaluation`; a clip in passes goes through all branches of one pass before the next.
    `end_step` adds up what the words looked at.
    """

    def __init__(
        self, source: UUID, targets: Sequence[ControlledTarget], records: AttentionRecords | None = None,
        full: Callable[[int], bool] = lambda step: True, on_cpu: bool = False,
    ):  # fmt: skip
        self.source, self.targets, self.records, self.full = source, targets, records, full
        self.on_cpu, self.ferry = on_cpu, Ferry(may_lock_pages())
        self.step, self.mode, self.target = 0, RECORD, None
        self.matrices = {}  # what the layers of this branch multiply by, on their device
        self.kept = {}  # layer -> (q, k) of the source in this step and pass
        self.recalled = None  # the step and pass whose records these are
        self.unseen = None  # layers that did not run since, None before the model did
        self.source_maps = [WordMaps() for _ in targets]
        self.target_maps = [WordMaps() for _ in targets]

    # --- what the sampler says and asks ------------------------------------------------------------------------------

    @contextmanager
    def evaluation(self, step: int, target: int | None = None, part: Hashable = WHOLE):
        """One call of the model: of the source, which is recorded, or of a target, in which it is replayed.

        part: the pass, as the records name it. Raises ValueError, in a sentence, where another node left out layers
        that the edit looks into.
        """
        self.ferry.land()
        if target is None:
            self.kept = {}
        elif self.records is not None and self.recalled != (step, part):
            self.kept, self.recalled = self.records.read(step, part), (step, part)
        self.mode = RECORD if target is None else REPLAY
        self.step, self.target, self.unseen, self.matrices = step, target, None, {}
        yield
        self._check_seen()

    def source_needed(self, step):
        """Whether any target looks at the source in this step, and nobody kept what it sees."""
        looked_at = self._cross_edited(step) or self._temporal_edited(step) or self._maps_count(step)
        return looked_at and self.records is None

    def end_step(self):
        """Add the step's word maps to the sums."""
        for target, *maps in zip(self.targets, self.source_maps, self.target_maps, strict=True):
            if self._counts(target, self.step):
                for branch in maps:
                    branch.end_step(target.layers.grid)

    def word_maps(self, target):
        """The cumulative word maps of the source and of a target, [frames, groups, rows, columns] each; None for maps
        of a conditioning that was not in use so far."""
        return self.source_maps[target].total, self.target_maps[target].total

    # --- what the host calls -----------------------------------------------------------------------------------------

    def __call__(self, executor, *args, **kwargs):
        """Around the model: fill the cross-attention slots of this call."""
        if not self._acts_on_cross_attention():
            return executor(*args, **kwargs)
        network = executor.class_obj.diffusion_model
        family = family_of_network(network)
        if self.unseen is None:
            self.unseen = set(family.cross_attention_layers(network))
        return family.fill_cross_attention(self.cross_attention, executor, *args, **kwargs)

    def cross_attention(self, layer, occupant, q, k, v, options):
        """An attn2 slot: [rows, tokens, channels] each, rows = conditioning entries x frames."""
        if self.unseen is not None:
            self.unseen.discard(layer)
        heads = options["n_heads"]
        attend = host_attention(options)

        def unedited(part=slice(None)):
            return (
                occupant(q[part], k[part], v[part], options) if occupant else attend(q[part], k[part], v[part], heads)
            )

        rows = self._own_rows(len(q), options)
        if rows is None:
            return unedited()
        if self.mode == RECORD:
            source_k = once(k[rows], self.targets[0].edit.source.shape[1], "source")
            if self._cross_edited(self.step):
                self._keep(layer, q[rows], source_k)
            for index in range(len(self.targets)):
                self._add_source_words(index, layer, q[rows], source_k, options)
            return unedited()

        target = self.targets[self.target]
        tokens = target.edit.target.shape[1]
        own = q[rows], once(k[rows], tokens, "target"), once(v[rows], tokens, "target")
        recorded = cache(partial(self._recorded, layer, own[0]))  # once for all that asks, however far it travels
        if self._counts(target, self.step) and target.layers.feed(layer, options):
            words = target.layers.by_frame(self._target_words(recorded, *own[:2], heads), options)
            self.target_maps[self.target].add(layer, words, options)
            if self.records is not None:
                self._add_source_words(self.target, layer, *recorded(), options)
        if target.edit.is_identity(self.step) or self._left_out(layer):
            return unedited()
        pair = self._matrix(("pair", v.dtype), lambda: target.edit.pair(self.step, v))
        edited = edited_attention(*own, *recorded(), *pair, heads, attend)
        if occupant:
            whole = unedited()
            return splice(whole, rows, whole[rows] + edited - attend(*own, heads))
        around = slice(0, rows.start), slice(rows.stop, len(q))
        before, after = ([unedited(part)] if part.start < part.stop else [] for part in around)
        return torch.cat([*before, edited, *after])

    def temporal(self, layer, options, attend=attention):
        """attend(q, k, v, heads) of a temporal layer: [rows, frames, channels], rows = entries x places; of a video
        model's own attention over all frames [entries, places of all frames, channels]."""

        def edited(q, k, v, heads):
            rows = self._own_rows(len(q), options)
            if rows is not None and self.mode == RECORD and self._temporal_edited(self.step):
                self._keep(layer, q[rows], k[rows])
            elif (
                rows is not None
                and self.mode == REPLAY
                and self.targets[self.target].edit.temporal[self.step]
                and not self._left_out(layer)
            ):
                source_q, source_k = self._recorded(layer, q[rows])
                q, k = splice(q, rows, source_q), splice(k, rows, source_k)
            return attend(q, k, v, heads)

        return edited

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _check_seen(self):
        if self.unseen and self.full(self.step):
            raise ValueError(
                f"another node on this model left out {len(self.unseen)} layers that an edit looks into (a cache of "
                "steps or features, for instance): remove it; on a UNet cache every in Decoupled Sample does as much"
            )

    def _cross_edited(self, step):
        return not all(target.edit.is_identity(step) for target in self.targets)

    def _temporal_edited(self, step):
        return any(target.edit.temporal[step] for target in self.targets)

    def _counts(self, target, step):
        """Whether the words of a target look for its mask in this step."""
        return bool(target.blend) and target.blend.looks(step, target.edit.steps) and self.full(step)

    def _maps_count(self, step):
        return any(self._counts(target, step) for target in self.targets)

    def _acts_on_cross_attention(self):
        if self.mode == RECORD:
            return self._cross_edited(self.step) or self._maps_count(self.step)
        target = self.targets[self.target]
        return self._counts(target, self.step) or not target.edit.is_identity(self.step)

    def _own_rows(self, rows, options):
        """The rows of the conditioning entry that the edit belongs to, None where this call does not hold it."""
        return rows_of(self.source if self.mode == RECORD else self.targets[self.target].entry, rows, options)

    def _keep(self, layer, q, k):
        if str(layer) not in self.kept:  # the first evaluation of a step counts, as in WordMaps.add
            # A slice would keep the other half of the batch alive for the whole step.
            self.kept[str(layer)] = tuple(self.ferry.out(x, x.dtype) if self.on_cpu else x.clone() for x in (q, k))

    def _left_out(self, layer):
        """Whether the source left this layer out of a step in which the target, new to its features, does not."""
        return not self.full(self.step) and self.kept.get(str(layer)) is None

    def _recorded(self, layer, q):
        kept = self.kept.get(str(layer))
        if kept is None:
            raise ValueError(
                f"step {self.step} edits the target where the source prompt is not in use: give both conditionings the "
                "same timestep range"
            )
        if kept[0].shape != q.shape:
            raise ValueError(
                "the source and the target conditioning cover different areas of the picture: an edit needs both whole"
            )
        return tuple(self.ferry.back(x, q) for x in kept)

    def _add_source_words(self, index, layer, q, k, options):
        target = self.targets[index]
        if self._counts(target, self.step) and target.layers.feed(layer, options):
            columns = self._matrix(("source", index), lambda: sent(target.blend.source, q.device))
            words = word_probabilities(q, k, columns, options["n_heads"])
            self.source_maps[index].add(layer, target.layers.by_frame(words, options), options)

    def _target_words(self, recorded, q, k, heads):
        """The word maps of the target, as they are after the edit."""
        target = self.targets[self.target]
        words = target.blend.target.float()
        if target.edit.is_identity(self.step):
            return word_probabilities(q, k, self._matrix("target", lambda: sent(words, q.device)), heads)
        pair = self._matrix("edited", lambda: [sent(x, q.device) for x in target.edit.values(self.step, words)])
        return word_probabilities(*recorded(), pair[0], heads) + word_probabilities(q, k, pair[1], heads)

    def _matrix(self, name, make):
        """What `make` gives, made for the first layer of a branch that asks."""
        if name not in self.matrices:
            self.matrices[name] = make()
        return self.matrices[name]
