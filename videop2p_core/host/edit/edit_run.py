"""One sampling call of an edit: what the editing loop asks for, answered by the host's model."""

from collections.abc import Generator, Hashable, Mapping
from contextlib import contextmanager
from math import prod
from typing import Any

import comfy.model_management
import torch
from comfy.model_patcher import create_model_options_clone
from torch import Tensor

from ...diffusion.attention_records import WHOLE
from ...diffusion.editing_loop import (
    Branch,
    Predictions,
    edit_clip,
    has_source_for_null,
)
from ...diffusion.fresh_noise import renewed
from ...diffusion.inversion import Inversion
from ...diffusion.schedule import to_z
from ...edit.local_blend import fit_mask, local_mask
from ..comfy.denoiser import with_embedding
from ..comfy.latents import as_clip, as_latent
from ..comfy.model_patches import install
from ..comfy.other_packs import check_windows
from ..comfy.remembered_guidance import RememberedGuidance
from ..control.attention_control import AttentionControl, Lead
from ..control.controlled_target import ControlledTarget
from ..control.in_step import InStep
from ..control.word_maps import word_map_layers
from ..families.table import family_of
from ..model.context_passes import Pass, cut, cut_conditioning, during, merged, passes_of
from .edit_guider import NULL, SOURCE, EditGuider, Proximal, with_pre_cfg
from .target import Preview, Progress, StepDone, Target


class EditRun:
    """The model of a guider, for one inversion and targets that share a path of the source.

    inversion: where the guider's model computes; targets: by the guider's keys; sigmas, extra_args, noise,
    latent_image, denoise_mask: as the host hands them to a sampler.
    """

    def __init__(
        self,
        guider: EditGuider,
        inversion: Inversion,
        targets: Mapping[int, Target],
        sigmas: Tensor,
        extra_args: dict[str, Any],
        noise: Tensor,
        latent_image: Tensor | None,
        denoise_mask: Tensor | None,
        coupled: bool,
    ) -> None:
        self.guider, self.coupled = guider, coupled
        self.keys, self.targets = list(targets), list(targets.values())
        begin, fresh = self.targets[0].begin, self.targets[0].edit.fresh
        path = inversion.under(renewed(inversion.noise, fresh, inversion.seed)) if fresh else inversion
        self.inversion, self.sigmas = path.after(begin), sigmas[begin:]
        self.seed, self.denoise_mask = extra_args["seed"], denoise_mask
        self.clip = as_clip(noise)
        height, width = noise.shape[-2:]
        self.size = height, width
        self.sampling_options = extra_args["model_options"]
        check_windows(self.sampling_options)
        handler = self.sampling_options.get("context_handler")
        in_turns = guider.target_count > 1 or (handler is not None and handler.cuts(self.clip))
        self.remembered = RememberedGuidance(self.sampling_options) if in_turns else None
        self.memories: dict[Hashable, dict[str, Any]] = {}  # of each branch and pass, what guidance wrote down
        null = SOURCE if has_source_for_null(inversion, coupled) else NULL
        family = family_of(guider.model_patcher)
        self.whole_clip, self.in_step = family.sees_whole_clip, family.goes_in_step
        # Wan 2.2 would take what a mask keeps for clean already; here it is brought back after each step.
        self.pairs = guider.pairs(noise, latent_image, None if self.whole_clip else denoise_mask, self.seed, null)
        self.control = AttentionControl(
            guider.entry(SOURCE),
            [self._controlled(index) for index in range(len(targets))],
            self.inversion.records,
            guider.cache.full,
            on_cpu=self.whole_clip,
            finds_places=self.inversion.is_exact,
        )
        self.model_options = self._controlled_by(self.control)
        self.leading = self.control.of_source()
        self.leading_options = self._controlled_by(self.leading)
        self.user_masks = [
            None if target.mask is None else fit_mask(target.mask.to(noise), len(self.clip), self.size)
            for target in self.targets
        ]
        self.denoised = self.clip  # of the last branch of the last step
        self.masks: list[torch.Tensor | None] = [None] * len(targets)

    @property
    def places(self) -> list[tuple[Tensor, Tensor] | None]:
        """Of each target, see AttentionControl."""
        return [self.control.places(index) for index in range(len(self.targets))]

    def run(self, progress: Progress | None = None, callback: Preview | None = None) -> tuple[Tensor, list[Tensor]]:
        """(source, targets): z_0 of each, [frames, channels, height, width] at the model's scale."""

        def report(step: int, source: Tensor, edited: list[Tensor]) -> None:
            if progress:
                progress(self._step_done(step, source, edited))
            if callback:
                callback(step, self._latent(self.denoised), self._latent(edited[-1]), self.inversion.steps)

        torch.manual_seed(self.seed or 0)  # as a stock sampler's noise does: other nodes' patches draw from there
        return edit_clip(
            self.denoise, self.inversion, len(self.targets), coupled=self.coupled,
            guidance=[target.edit.guidance for target in self.targets],
            emphasis=[target.edit.emphasis for target in self.targets], source_needed=self.control.source_needed,
            end_step=self.end_step, progress=report,
        )  # fmt: skip

    def denoise(self, sigma: Tensor, predictions: Predictions) -> list[Tensor]:
        """denoised of every (branch, x) that is asked for, the clip in passes where the host cuts it."""
        windows = passes_of(self.clip, sigma.expand(len(self.clip)), self.guider.inner_model, self.model_options)
        predicted = [self._predicted(window, sigma, predictions) for window in windows]
        clips = [merged(zip(windows, parts, strict=True)) for parts in zip(*predicted, strict=True)]
        self.denoised = clips[-1]
        return clips

    def end_step(self, step: int) -> list[Tensor | None]:
        """The masks of all targets, from the words up to this step and from the user."""
        self.control.end_step()
        self.masks = [self._mask(step, index) for index in range(len(self.targets))]
        return self.masks

    # --- the parts ---------------------------------------------------------------------------------------------------

    def _controlled_by(self, control: AttentionControl) -> dict[str, Any]:
        options = create_model_options_clone(self.sampling_options)
        install(control, options)
        return options

    def _predicted(self, window: Pass | None, sigma: Tensor, predictions: Predictions) -> list[Tensor]:
        """denoised of every branch of a pass. A source that leads is predicted with each target that looks at it, and
        by itself where none does."""
        (first, shown), *others = predictions
        if first.target is not None or first.unedited or not self.in_step:
            return [self._predict(window, sigma, branch, x) for branch, x in predictions]

        sources, targets = list[Tensor](), []

        def lead(in_step: InStep) -> None:
            self.leading.in_step = in_step
            try:
                sources.append(self._predict(window, sigma, first, shown, self.leading))
            finally:
                self.leading.in_step = None  # it holds `lead`, and so this run

        for branch, x in others:
            target = None if branch.target is None or branch.unedited else self.control.targets[branch.target]
            looks = target is not None and target.takes_from_source(branch.step)
            targets.append(self._predict(window, sigma, branch, x, lead=lead if looks else None))
        return [sources[0] if sources else self._predict(window, sigma, first, shown), *targets]

    def _controlled(self, index: int) -> ControlledTarget:
        target, model = self.targets[index], self.guider.model_patcher
        layers = None if target.blend is None else word_map_layers(model, self.size, target.blend_blocks)
        return ControlledTarget(target.edit, self.guider.entry(self.keys[index]), target.blend, layers)

    def _key(self, branch: Branch) -> Hashable:
        """What the guider knows its conditioning by."""
        return SOURCE if branch.target is None else self.keys[branch.target]

    @contextmanager
    def _evaluation(
        self, branch: Branch, window: Pass | None, control: AttentionControl, lead: Lead | None
    ) -> Generator[None, None, None]:
        """One prediction of the model, which knows in it whose it is."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        part = None if window is None else window.key
        self.guider.cache.at(branch.step, (self._key(branch), branch.unedited, part))
        if branch.unedited:
            yield
            return
        with control.evaluation(branch.step, branch.target, WHOLE if part is None else part, lead):
            yield

    def _predict(
        self,
        window: Pass | None,
        sigma: Tensor,
        branch: Branch,
        x: Tensor,
        control: AttentionControl | None = None,
        lead: Lead | None = None,
    ) -> Tensor:
        """control: in the place of that of all branches; lead: as AttentionControl.evaluation has it"""
        positive, negative = self.pairs[SOURCE if branch.unedited else self._key(branch)]
        # A video model's is never optimised, and the host may have made more of it than its embedding.
        if branch.null is not None and not self.whole_clip:
            negative = with_embedding(negative, branch.null)
        positive, negative = (cut_conditioning(cond, x, window, self.model_options) for cond in (positive, negative))
        edited = self.model_options if control is None else self.leading_options
        options = during(window, self.sampling_options if branch.unedited else edited)
        proximal = Proximal(self.inversion)
        is_proximal = branch.proximal and branch.cfg != 1
        if is_proximal:
            options = with_pre_cfg(options, proximal)
        x = self._latent(cut(x, window))
        prediction = x, sigma.expand(len(x)), positive, negative, branch.cfg, options
        with self._evaluation(branch, window, control or self.control, lead):
            if branch.target is None:
                denoised = self.guider.as_inverted(*prediction)
            else:
                memory = self.memories.setdefault((self._key(branch), branch.unedited, window and window.key), {})
                denoised = self.guider.guided(*prediction, self.seed, memory)
                if self.remembered is not None:
                    self.remembered.check(x)
        if is_proximal and not proximal.acted:
            raise ValueError(
                "another node on this model samples in a way of its own (AnimateDiff-Evolved, for instance) and "
                "leaves proximal guidance out: choose another method in DDIM Invert"
            )
        return as_clip(denoised)

    def _mask(self, step: int, index: int) -> Tensor | None:
        target, masks = self.targets[index], []
        by_words = target.blend and not (target.mask_replaces and target.mask is not None)
        if by_words and target.blend.acts(step, self.inversion.steps):
            source_maps, target_maps = self.control.word_maps(index)
            if source_maps is not None and target_maps is not None:
                masks.append(local_mask(target.blend, source_maps, target_maps, self.size))
        if self.user_masks[index] is not None:
            masks.append(self.user_masks[index])
        if self.denoise_mask is not None:
            masks.append(as_clip(self._latent_mask(step, self.denoise_mask)).mean(dim=1))
        return prod(masks) if masks else None

    def _latent_mask(self, step: int, mask: Tensor) -> Tensor:
        """The mask of the LATENT, as other nodes change it from step to step."""
        if "denoise_mask_function" not in self.sampling_options:
            return mask
        sigma = self.sigmas[step].expand(len(self._latent(self.clip)))
        extra = {"model": self.guider, "sigmas": self.sigmas}
        return self.sampling_options["denoise_mask_function"](sigma, mask, extra_options=extra)

    def _step_done(self, step: int, source: Tensor, edited: list[Tensor]) -> StepDone:
        z = [to_z(x, self.inversion.sigmas[step + 1], flow=self.inversion.flow) for x in (source, *edited)]
        maps = [self.control.word_maps(i) if target.blend else None for i, target in enumerate(self.targets)]
        return StepDone(step, z[0], z[1:], list(self.masks), maps, self.control.target_affinities)

    def _latent(self, clip: Tensor) -> Tensor:
        return as_latent(self.guider.inner_model, clip)
