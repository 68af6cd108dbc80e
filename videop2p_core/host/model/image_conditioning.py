"""Pictures that a model goes by beside the text, as an inpainting model does, and the cameras and voices of some: its
CONDITIONING brings them along.

Where it brings none the host gives an inpainting model a blank picture, all of it to be painted: it draws from the text
alone then, as the model that it was made of. That is as good a clip's model as any, so long as all branches agree.
"""

from collections.abc import Iterator, Set
from typing import Any

from torch import Tensor

from ..comfy.conditioning import Conditioning
from ..families.table import family_of_network
from ..families.unet import PICTURE
from ..families.wan import IN_TOKENS, REFERENCE_MASKS, REFERENCES, VACE, VOICE

MASK, CAMERA, CONTROL_VIDEO = "concat_mask", "camera_conditions", "control_video"
GUIDES, SOUND = "keyframe_idxs", "ref_audio"
FOR_EACH_FRAME = {
    PICTURE: "pictures to paint in",
    MASK: "masks to paint in",
    CAMERA: "views of a camera",
    CONTROL_VIDEO: "frames of a control video",
}


def pictures_in(base_model: Any, conditioning: Conditioning) -> set[str]:
    """The kinds of pictures that a CONDITIONING brings and the model looks at."""
    read = family_of_network(base_model.diffusion_model).pictures_read(base_model)
    return {kind for _, options in conditioning for kind in read if options.get(kind) is not None}


def has_picture(base_model: Any, conditioning: Conditioning) -> bool:
    """Whether a CONDITIONING brings a picture that the model goes by."""
    return bool(pictures_in(base_model, conditioning))


def check_alike(base_model: Any, **conditionings: Conditioning) -> None:
    """Whether all CONDITIONINGs, by their names, bring pictures of the same kinds."""
    kinds = {name: pictures_in(base_model, conditioning) for name, conditioning in conditionings.items()}
    every = set().union(*kinds.values())
    lacking = next((name for name in kinds if kinds[name] != every), None)
    if lacking is not None:
        missing = every - kinds[lacking]
        other = next(name for name in kinds if missing & kinds[name])
        raise ValueError(
            f"the {other} conditioning has a picture, camera or voice for the model to go by "
            f"({', '.join(sorted(missing & kinds[other]))}), the {lacking} conditioning has none: put both through the "
            "same node (InpaintModelConditioning or WanImageToVideo, for instance) and connect what comes out"
        )
    shapes = {
        name: _shapes_of(every.intersection(IN_TOKENS), conditioning) for name, conditioning in conditionings.items()
    }
    first, *others = shapes
    other = next((name for name in others if shapes[name] != shapes[first]), None)
    if other is not None:
        raise ValueError(
            f"the {first} conditioning shows the model pictures beside the clip in another number or size than the "
            f"{other} conditioning does: put both through the same node and connect what comes out"
        )


def _shapes_of(kinds: Set[str], conditioning: Conditioning) -> set[tuple[str, tuple[Any, ...]]]:
    """(kind, the shapes of its pictures), of every entry of a CONDITIONING."""
    values = [(kind, options[kind]) for _, options in conditioning for kind in kinds if options.get(kind) is not None]
    return {(kind, tuple(x.shape for x in (value if isinstance(value, list) else [value]))) for kind, value in values}


def check_inverted_alike(base_model: Any, inverted_with_picture: bool | None, source: Conditioning) -> None:
    """Whether the clip was inverted under a source CONDITIONING of this kind, where that is known."""
    has = has_picture(base_model, source)
    if inverted_with_picture not in (None, has):
        now, then = ("has one", "without") if has else ("has none", "with")
        raise ValueError(
            f"the clip was inverted {then} a picture, camera or voice for the model to go by (from "
            f"InpaintModelConditioning, for instance), but the source conditioning {now}: connect to the source, "
            "target and null inputs what went through the same node as the source and null text of the inversion"
        )


def check_frames(frames: int, **conditionings: Conditioning) -> None:
    """Whether what a CONDITIONING has one of for each latent frame is that of the clip's: the host would spread others
    over the clip, or fail."""
    for name, conditioning in conditionings.items():
        for _, options in conditioning:
            controls = options.get(VACE) or ()
            if len(controls) > 1:
                raise ValueError(
                    f"the {name} conditioning has {len(controls)} VACE controls and an edit takes one: remove all "
                    "WanVaceToVideo nodes but one"
                )
            for called, number in _for_each_frame(options):
                if number not in (1, frames):
                    raise ValueError(
                        f"the {name} conditioning has {number} {called}, the clip {frames} latent frames: give it one "
                        "for each frame of the clip, or a single one for all (a reference picture before them wants "
                        "its latent before the clip's too)"
                    )
            _check_voice(options.get(VOICE), frames, name)
            if options.get(GUIDES) is not None:
                raise ValueError(
                    f"the {name} conditioning holds guides (of LTXVAddGuide), whose frames stand behind the clip's own "
                    "in its latent, so that an edit cannot tell them apart: connect prompts and latent without them"
                )
            if options.get(SOUND) is not None:
                raise ValueError(
                    f"the {name} conditioning brings a voice to speak in (of LTXVReferenceAudio), and an edit draws no "
                    "sound: connect it without"
                )


def _for_each_frame(options: dict[str, Any]) -> Iterator[tuple[str, int]]:
    """(what an entry has one of for each latent frame, how many)."""
    for kind, called in FOR_EACH_FRAME.items():
        images = options.get(kind)
        if images is not None:  # [frames, ...], or [1, channels, frames, ...] of a video model
            yield called, images.shape[2] if images.ndim == 5 else len(images)
    for images in options.get(VACE) or ():
        yield "latent frames of VACE control", images.shape[2]
    masks = options.get(REFERENCE_MASKS)  # [1, references and frames, channels, height, width]
    if masks is not None:
        yield "masks of who is who", masks.shape[1] - len(options.get(REFERENCES) or ())


def _check_voice(voice: Tensor | None, frames: int, name: str) -> None:
    if voice is None:
        return
    number = frames
    if voice.ndim == 5:  # HuMo's [1, frames, windows, layers, channels]
        number = voice.shape[1]
    elif voice.ndim == 4:  # S2V's [1, layers, channels, 4 frames], of which the model cuts off what is too long
        number = min(voice.shape[3] // 4, frames)
    if number != frames:
        raise ValueError(
            f"the {name} conditioning has a voice of {number} latent frames, the clip {frames}: give the node that "
            "made it the clip's length, and a sound that lasts as long"
        )
