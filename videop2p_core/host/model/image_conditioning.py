"""Pictures that a model goes by beside the text, as an inpainting model does: its CONDITIONING brings them along.

Where it brings none the host gives an inpainting model a blank picture, all of it to be painted: it draws from the text
alone then, as the model that it was made of. That is as good a clip's model as any, so long as all branches agree.
"""

from typing import Any

from torch import Tensor

from ..comfy.conditioning import Conditioning
from ..families.table import family_of_network
from ..families.unet import PICTURE
from ..families.wan import BESIDE, VACE

MASK = "concat_mask"
GUIDES, SOUND = "keyframe_idxs", "ref_audio"


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
            f"the {other} conditioning has a picture for the model to go by, the {lacking} conditioning has none: put "
            "both through the same node (InpaintModelConditioning or WanImageToVideo, for instance) and connect what "
            "comes out"
        )


def check_inverted_alike(base_model: Any, inverted_with_picture: bool | None, source: Conditioning) -> None:
    """Whether the clip was inverted under a source CONDITIONING of this kind, where that is known."""
    has = has_picture(base_model, source)
    if inverted_with_picture not in (None, has):
        now, then = ("has one", "without") if has else ("has none", "with")
        raise ValueError(
            f"the clip was inverted {then} a picture for the model to go by (from InpaintModelConditioning, for "
            f"instance), but the source conditioning {now}: connect to the source, target and null inputs what went "
            "through the same node as the source and null text of the inversion"
        )


def check_frames(frames: int, **conditionings: Conditioning) -> None:
    """Whether the pictures and masks are those of all latent frames: the host would spread others over the clip, or
    fail."""
    for name, conditioning in conditionings.items():
        for _, options in conditioning:
            for kind, called in ((PICTURE, "pictures to paint in"), (MASK, "masks to paint in")):
                images = options.get(kind)
                if images is not None:
                    _check_number(images, frames, f"the {name} conditioning has", called)
            controls = options.get(VACE) or ()
            if len(controls) > 1:
                raise ValueError(
                    f"the {name} conditioning has {len(controls)} VACE controls and an edit takes one: remove all "
                    "WanVaceToVideo nodes but one"
                )
            for images in controls:
                _check_number(images, frames, f"the {name} conditioning has", "latent frames of VACE control")
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
            if options.get(BESIDE) is not None:
                raise ValueError(
                    f"the {name} conditioning shows the model reference pictures beside the clip (Phantom, for "
                    "instance), which an edit cannot tell from it: remove them"
                )


def _check_number(images: Tensor, frames: int, has: str, called: str) -> None:
    """images: [frames, ...], or [1, channels, frames, ...] of a video model."""
    number = images.shape[2] if images.ndim == 5 else len(images)
    if number not in (1, frames):
        raise ValueError(
            f"{has} {number} {called}, the clip {frames} latent frames: give it one for each frame of the clip and no "
            "reference image beside them, or a single one for all"
        )
