"""What a family may or may not support beside the edit itself, and how a model that does not is refused."""

from enum import StrEnum

INSTEAD = "connect it to DDIM Invert, without Inflate UNet, Tune on Video or Load Tuning"


class Feature(StrEnum):
    """As the table in docs/models.md calls them."""

    INFLATION = "inflation"
    TUNING = "tuning"
    KEEP = "keeping the source"
    PASSES = "passes"
    CACHE = "cache every"
    STRUCTURE = "structure window"
    SHARP = "sharp maps"
    SOUND = "sound beside the pictures"
    EXPERTS = "two experts"


# What a model that lacks it is, and what to do.
LACKS = {
    Feature.INFLATION: ("sees all frames together as it is", INSTEAD),
    Feature.TUNING: ("sees all frames together as it is", INSTEAD),
    Feature.KEEP: ("has nothing of its source kept", "set keep_source to off"),
    Feature.PASSES: ("is edited with all frames at once", "remove the node that gives context windows"),
    Feature.CACHE: ("has no levels to leave out", "set cache_every to 1"),
    Feature.STRUCTURE: (
        "has no attention within each frame that an edit could keep",
        "set structure_window to 0, and temporal_window to what it was to be",
    ),
    Feature.SHARP: ("does not show what looks alike in a frame", "turn sharp off"),
    Feature.SOUND: (
        "takes nothing beside the pictures",
        "connect a latent of pictures alone (LTXVSeparateAVLatent takes the sound off)",
    ),
    Feature.EXPERTS: ("has no experts for high and for low noise", "connect it without Model Pair"),
}
EVERY = frozenset(Feature)


def refusal(called: str, feature: Feature) -> ValueError:
    """Of a model of a family, as sentences call it."""
    lack, remedy = LACKS[feature]
    return ValueError(f"{called} {lack}: {remedy}")
