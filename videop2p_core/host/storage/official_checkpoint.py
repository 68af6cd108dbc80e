"""Checkpoints of the official Video-P2P and Tune-A-Video, read as tunings of a MODEL and written from a tuned one.

The diffusers library is needed to write them alone, and imported then.
"""

import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...diffusion.tuning import Tuning, is_temporal
from ...storage import artifacts as weights
from ...storage import official_checkpoint as foreign
from ...storage.artifacts import WeightsError
from ...storage.official_checkpoint import WEIGHTS, ForeignError
from ..comfy.base_weights import NETWORK, original_weights, values_of
from ..comfy.quantised_weights import is_coarse, kind_of
from ..model.identity import TUNINGS, base_of, fingerprint_of
from ..model.inflate import inflation_of
from ..model.input_checks import check_tunable
from ..model.temporal_layers import temporal_shapes
from ..source.tuning import tuning_of

CPU = torch.device("cpu")


class Weights(Mapping):
    """{name: weight in float32} of a MODEL's UNet, each made when it is asked for.

    patched: with the LoRAs and tunings that are in the MODEL.
    """

    def __init__(self, model: ModelPatcher, patched: bool) -> None:
        self.entries, self.patched = original_weights(model), patched

    @property
    def has_patches(self) -> bool:
        return any(len(entry) > 1 for entry in self.entries.values())

    def __getitem__(self, name: str) -> Tensor:
        comfy.model_management.throw_exception_if_processing_interrupted()
        (weight, convert), *patches = self.entries[NETWORK + name]
        weight = comfy.model_management.cast_to_device(convert(weight), CPU, torch.float32, copy=True)
        return comfy.lora.calculate_weight(patches, weight, NETWORK + name) if self.patched else weight

    def __iter__(self) -> Iterator[str]:
        return (name.removeprefix(NETWORK) for name in self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class Layout:
    """The names of a MODEL's UNet with temporal layers: names {diffusers name: own name}, shapes {own name: shape}."""

    def __init__(self, model: ModelPatcher) -> None:
        unet = model.get_model_object("diffusion_model")
        self.config = model.model.model_config.unet_config
        self.shapes = {name: parameter.shape for name, parameter in unet.named_parameters()}
        self.shapes |= temporal_shapes(unet)
        self.names = foreign.names_of(comfy.utils.unet_to_diffusers(self.config), self.shapes)


# --- reading ----------------------------------------------------------------------------------------------------------


def load(path: str | os.PathLike, model: ModelPatcher) -> Tuning:
    """A checkpoint as the tuning that makes it of an inflated MODEL: a diffusers folder, of a pipeline or of the UNet
    alone, or one safetensors file, in diffusers' names or in ours."""
    check_tunable(model)
    if inflation_of(model) is None:
        raise ValueError("the model reads images, not clips: put Inflate UNet before it")
    if model.get_attachment(TUNINGS):
        raise ValueError("the model is tuned already: connect it as it comes from Inflate UNet")
    check_fine(model)
    path, layout = Path(path), Layout(model)
    try:
        checkpoint = foreign.by_own_names(read(path), layout.names, layout.shapes)
        tuning = foreign.tuning_between(base_for(checkpoint, model), checkpoint)
    except ForeignError as error:
        raise WeightsError(f"{path.name} {error}") from error
    return replace(tuning, base_model=base_of(model), fingerprint=fingerprint_of(model))


def check_fine(model: ModelPatcher) -> None:
    """A MODEL whose weights are near enough to those of its file to tell what another one has changed."""
    weights = (weight for (weight, _), *_ in original_weights(model).values())
    coarse = next((kind_of(weight) for weight in weights if is_coarse(weight)), None)
    if coarse:
        raise ValueError(
            f"the connected model's weights are quantised ({coarse}), which hides what a checkpoint of the official "
            "code has changed: load the model in half precision or better"
        )


def base_for(checkpoint: Mapping[str, Tensor], model: ModelPatcher) -> Weights:
    """Which weights of the MODEL a checkpoint was tuned on: those with its LoRAs, else those without."""
    base = Weights(model, patched=True)
    differences = foreign.differing(checkpoint, base)
    if differences and base.has_patches:
        base = Weights(model, patched=False)
        differences = foreign.differing(checkpoint, base)
    if differences:
        worst = max(differences, key=lambda name: differences[name])
        raise ForeignError(
            f"was tuned on another base model: {len(differences)} of the weights that tuning leaves alone differ from "
            f"the connected model's, by {differences[worst]:.1%} in {worst}; load the checkpoint that it was tuned on, "
            "in half precision or better"
        )
    return base


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by the names in it."""
    if not path.is_dir():
        return weights.read(path)[0]
    folder = path / "unet" if (path / "unet").is_dir() else path
    files = foreign.weight_files(os.listdir(folder))
    if not files:
        raise ForeignError(f"holds no {WEIGHTS}.safetensors and no {WEIGHTS}.bin: copy the whole folder anew")
    tensors = {}
    for file in files:
        tensors |= read_pickle(folder / file) if file.endswith(".bin") else weights.read(folder / file)[0]
    return tensors


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The tensors of a .bin file, of which nothing is run."""
    try:
        if zipfile.is_zipfile(path) and unpacked_size(path) > path.stat().st_size:
            raise ValueError("it is compressed, which weights are not")
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged pickle makes its reader raise is beyond listing
        raise WeightsError(
            f"{path.name} cannot be read as weights and nothing else: it is damaged, or holds code, which is never "
            "run; get the checkpoint as a safetensors file"
        ) from error
    if not isinstance(tensors, dict) or not all(map(is_named_weight, tensors.items())):
        raise WeightsError(f"{path.name} holds something else than weights by their names: get the UNet's own file")
    return {name: tensor.detach() for name, tensor in tensors.items()}


def unpacked_size(path: Path) -> int:
    """Bytes of all that is in a zip file."""
    with zipfile.ZipFile(path) as file:
        return sum(entry.file_size for entry in file.infolist())


def is_named_weight(item: tuple[Any, Any]) -> bool:
    """Whether a dictionary's item is a plain tensor, its values all there, by a name."""
    name, tensor = item
    plain = isinstance(name, str) and type(tensor) in (Tensor, torch.nn.Parameter)
    return plain and tensor.layout == torch.strided and tensor.device == CPU


# --- writing ----------------------------------------------------------------------------------------------------------


def export(model: ModelPatcher) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(config, tensors) of a tuned MODEL's whole UNet, as the official UNet3DConditionModel reads them: with LoRAs and
    tuning in the weights, float32."""
    check_tunable(model)
    temporal, layout = tuning_of(model).temporal, Layout(model)
    if not temporal:
        raise ValueError(
            "the tuning has no temporal layers, which the official layout needs: turn them on in Inflate UNet and tune "
            "again, or export a LoRA"
        )
    config = foreign.unet_config(layout.config)
    check_readable(config, layout)
    base = Weights(model, patched=True)
    return config, {
        diffusers_name: (temporal if is_temporal(name) else base)[name] for diffusers_name, name in layout.names.items()
    }


def check_readable(config: Mapping[str, Any], layout: Layout) -> None:
    """Whether the diffusers library makes a UNet of just this model's weights of the configuration."""
    try:
        from diffusers import UNet2DConditionModel
    except ImportError as error:
        raise ValueError(
            "a diffusers folder is written with the diffusers library, which is missing: pip install diffusers"
        ) from error
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel.from_config(foreign.image_config(config))
    expected = {name: value.shape for name, value in values_of(unet).items()}
    if expected != {
        diffusers_name: layout.shapes[name] for diffusers_name, name in layout.names.items() if not is_temporal(name)
    }:
        raise ValueError(
            "the official code could not read this model: its UNet is built otherwise than those of Stable Diffusion "
            "1.x and 2.x; export a LoRA"
        )
