"""What goes wrong, by whom it stops."""

START = "its start"  # the stage of a ComfyUI that does not come up, whatever job it is for


class BatchError(Exception):
    """The whole run cannot begin or go on; the message says what to do."""


class RowError(Exception):
    """One row cannot be done, and stops nobody else; the message is its sentence in the report."""


class LostError(Exception):
    """The ComfyUI that did the work is gone: another can do it. stage: what it was at."""

    def __init__(self, message: str, stage: str = "") -> None:
        super().__init__(message, stage)
        self.stage = stage

    def __str__(self) -> str:
        return self.args[0]
