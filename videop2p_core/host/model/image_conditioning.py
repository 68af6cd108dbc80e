"""Pictures that a model goes by beside the text, as an inpainting model does, and the cameras and voices of some: its
CONDITIONING brings them along.

Where it brings none the host gives an inpainting model a blank picture, all of it to be painted: it draws from the text
alone then, as the model that it was made of. That is as good a clip's model as any, so long as all branches agree.
"""

from collections.abc import Set
from typing import Any

from comfy.model_patcher import ModelPatcher

from ..comfy.conditioning import Conditioning
from ..families.table import family_of, family_of_network
from ..families.wan import IN_TOKENS


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


def places_beside(model: ModelPatcher, conditioning: Conditioning) -> int:
    """Of how many places of a latent there are tokens beside a clip's, for the pictures that a CONDITIONING shows."""
    network = model.get_model_object("diffusion_model")
    return max((family_of(model).places_beside(network, options) for _, options in conditioning), default=0)


def places_counted(model: ModelPatcher, conditioning: Conditioning) -> float:
    """For how many places of a latent the pictures that a CONDITIONING shows count in a forward: the host's number, and
    at least those that have tokens, as it leaves some kinds out."""
    base_model, counted = model.model, [0.0]
    one_place = base_model.memory_required([1])
    for _, options in conditioning:
        shapes = {kind: [shape] for kind, shape in base_model.extra_conds_shapes(**options).items()}
        counted.append(base_model.memory_required([0], cond_shapes=shapes) / one_place)
    return max(*counted, places_beside(model, conditioning))


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
