"""A stand-in with the habits of Advanced-ControlNet: a ControlNet whose strength is told by keyframes.

Where it is among them it keeps to itself. It goes on, never back, as the noise falls below the next one's start; each
keyframe is in force for a step at least, unless the run begins below it. What resets it is the start of a run.
"""

from comfy.controlnet import ControlNet


class Keyframed(ControlNet):
    """keyframes: (share of the run at which it starts, strength), the earliest first."""

    @classmethod
    def of(cls, control, keyframes):
        keyed = cls(None, load_device=control.load_device, manual_cast_dtype=control.manual_cast_dtype)
        keyed.control_model, keyed.control_model_wrapped = control.control_model, control.control_model_wrapped
        control.copy_to(keyed)
        keyed.keyframes = keyframes
        return keyed

    def copy(self):
        return self.of(self, self.keyframes)

    def pre_run(self, model, percent_to_timestep_function):
        super().pre_run(model, percent_to_timestep_function)
        self.starts = [percent_to_timestep_function(share) for share, _ in self.keyframes]
        self.place, self.steps, self.last = 0, 0, None

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        self.go_on(t[0].item(), transformer_options["sample_sigmas"].max().item())
        return super().get_control(x_noisy, t, cond, batched_number, transformer_options)

    def go_on(self, level, noisiest):
        if level == self.last:
            return
        due = [place for place, start in enumerate(self.starts) if place > self.place and start >= level]
        if due and (self.steps or self.starts[self.place] > noisiest):
            begun = [place for place in due if self.starts[place] > noisiest]
            self.place, self.steps = begun[-1] if begun else due[0], 0
        self.steps, self.last = self.steps + 1, level

    @property
    def strength_now(self):
        return self.strength * self.keyframes[self.place][1]

    def control_merge(self, control, control_prev, output_dtype):
        strength, self.strength = self.strength, self.strength_now
        try:
            return super().control_merge(control, control_prev, output_dtype)
        finally:
            self.strength = strength
