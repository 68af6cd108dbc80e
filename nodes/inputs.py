"""Inputs that several nodes have alike."""

from comfy_api.latest import io

from ..videop2p_core.host.images.preview import SLOWEST
from .types import Edit, Inversion

REPLACING = (
    "In the place of the controller's {name} conditioning: the same prompt with a ControlNet applied, or with the "
    "picture that a node for inpainting or Wan adds."
)


def an_edit(tooltip: str) -> list[io.Input]:
    """What an edit of an inverted clip is made from. tooltip: of the edit itself."""
    return [
        io.Model.Input("model", tooltip="The model that the clip was inverted with."),
        Inversion.Input("inversion", tooltip="From DDIM Invert or Load Inversion: sets steps, size and cfg."),
        Edit.Input("edit", tooltip=tooltip),
    ]


def replacements() -> list[io.Conditioning.Input]:
    null = "The null conditioning of the inversion, where it carries more than text: needed for SDXL."
    return [
        *(
            io.Conditioning.Input(name, optional=True, tooltip=REPLACING.format(name=name))
            for name in ("source", "target")
        ),
        io.Conditioning.Input("null", optional=True, tooltip=null),
    ]


def filename_prefix(default: str) -> io.String.Input:
    return io.String.Input(
        "filename_prefix",
        default=default,
        tooltip="The beginning of the file's name; a number is added, so nothing is overwritten.",
    )


def fps() -> io.Float.Input:
    return io.Float.Input(
        "fps",
        default=8.0,
        min=SLOWEST,
        max=120.0,
        step=0.1,
        tooltip="Frames a second of the preview on the node; the output is the same at any.",
    )
