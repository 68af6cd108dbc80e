"""What a long run may keep of itself while it is not done, for another one of the same inputs to go on from."""

from collections.abc import Callable, Mapping

from torch import Tensor

State = Mapping[str, Tensor]


class Unfinished:
    """Keeps nothing."""

    def of_same_run(self, first: Tensor) -> State | None:
        """What was kept last by a run whose first step gave `first` as well; None where there is no such run."""

    def keep(self, done: int, state: Callable[[], State]) -> None:
        """Called after every step, `done` counting them; `state()` gives all that the rest of the run depends on."""
