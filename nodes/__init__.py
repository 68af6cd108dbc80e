"""What an artist sees: one file a topic, each with its NODES."""

from types import ModuleType

from ..videop2p_core.host.seam import host_check as seam

NAMES = (
    "demo",
    "clip",
    "inflate",
    "pair",
    "tune",
    "export",
    "invert",
    "control",
    "sample",
    "crop",
    "composite",
    "sweep",
    "attention_maps",
    "region",
    "words",
    "compare",
)


def _topic(name: str) -> ModuleType:
    match name:
        case "demo":
            from . import demo as topic
        case "clip":
            from . import clip as topic
        case "inflate":
            from . import inflate as topic
        case "pair":
            from . import pair as topic
        case "tune":
            from . import tune as topic
        case "export":
            from . import export as topic
        case "invert":
            from . import invert as topic
        case "control":
            from . import control as topic
        case "sample":
            from . import sample as topic
        case "crop":
            from . import crop as topic
        case "composite":
            from . import composite as topic
        case "sweep":
            from . import sweep as topic
        case "attention_maps":
            from . import attention_maps as topic
        case "region":
            from . import region as topic
        case "words":
            from . import words as topic
        case "compare":
            from . import compare as topic
    return topic


TOPICS = seam.imported(NAMES, _topic)  # those that this ComfyUI has everything for
