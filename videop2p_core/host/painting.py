"""Pictures that a model goes by beside the text, as an inpainting model does: its CONDITIONING brings them along.

Where it brings none the host gives an inpainting model a blank picture, all of it to be painted: it draws from the text
alone then, as the model that it was made of. That is as good a clip's model as any, so long as all branches agree.
"""

PICTURE, MASK = "concat_latent_image", "concat_mask"


def has_picture(conditioning) -> bool:
    return any(PICTURE in options for _, options in conditioning)


def check_alike(**conditionings) -> None:
    """Whether all CONDITIONINGs, by their names, bring a picture or none does."""
    having = {name: has_picture(conditioning) for name, conditioning in conditionings.items()}
    if len(set(having.values())) > 1:
        found, lacking = (next(name for name in having if having[name] is kind) for kind in (True, False))
        raise ValueError(
            f"the {found} conditioning has a picture for the model to go by, the {lacking} conditioning has none: put "
            "both through the same node (InpaintModelConditioning, for instance) and connect what comes out"
        )


def check_inverted_alike(inverted_with_picture: bool, source) -> None:
    """Whether the clip was inverted under a source CONDITIONING of this kind."""
    if has_picture(source) != inverted_with_picture:
        now, then = ("has one", "without") if has_picture(source) else ("has none", "with")
        raise ValueError(
            f"the clip was inverted {then} a picture for the model to go by (from InpaintModelConditioning, for "
            f"instance), but the source conditioning {now}: connect to the source, target and null inputs what went "
            "through the same node as the source and null text of the inversion"
        )


def check_frames(frames: int, **conditionings) -> None:
    """Whether the pictures and masks are those of all frames: the host would spread others over the clip."""
    for name, conditioning in conditionings.items():
        for _, options in conditioning:
            for kind, called in ((PICTURE, "pictures to paint in"), (MASK, "masks to paint in")):
                given = options.get(kind)
                if given is not None and given.ndim <= 4 and len(given) not in (1, frames):
                    raise ValueError(
                        f"the {name} conditioning has {len(given)} {called}, the clip {frames} frames: give it one for "
                        "each frame, or a single one for all"
                    )
