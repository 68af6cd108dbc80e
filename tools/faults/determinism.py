"""The same seed and inputs, the same bits: again, in another process, and on every way that promises it.

Promised on one machine at one thread: each operation, again and in a process of its own; `save memory` as fast; a
source kept on disk as in memory; several edits at once as each by itself; Decoupled Guider as Decoupled Sample.
Measured, not promised: several threads, which add up in another order, and the host's ways to save memory, which
compute the halves of guidance one after the other or attention in slices. The loading of weights in parts needs a GPU.
Passes, cached features and edits of a kept source are other numbers by construction.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import comfy.model_management
import torch
from comfy.ldm.modules.attention import attention_split, attention_sub_quad
from comfy.model_patcher import ModelPatcher
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...videop2p_core.diffusion.attention_records import RecordSettings
from ...videop2p_core.diffusion.tuning import TuningSettings
from ...videop2p_core.host.edit.custom_sampler import DecoupledGuider, DecoupledSampler
from ...videop2p_core.host.edit.edit_inputs import prepare_edit, sample, word_edit
from ...videop2p_core.host.source.tuning import tune
from ..pack import ROOT, host_path
from .faults import Calls, calls_of_models, equal
from .figures import Figure
from .operations import SOURCE, Operation, World, run

SHORT = "tuning", "edit"
OTHERS = "a red star on the beach", "a striped red ball on the beach"
WITH_GRADIENTS = "null text", "tuning"
SCARCE = 2**20  # bytes: a tenth of what one attention of the world takes
THREADS = 2

Ways = dict[str, tuple[Operation, Operation]]


def figures(short: bool) -> Iterator[Figure]:
    with torch.inference_mode():
        world = World()
    operations = {name: made for name, made in world.operations().items() if not short or name in SHORT}
    with tempfile.TemporaryDirectory() as folder, elsewhere(list(operations), Path(folder)) as other:
        expected = {name: [value.clone() for value in run(made, world.model)] for name, made in operations.items()}
        yield promised(
            "the same operation again", {n: (run(m, world.model), expected[n]) for n, m in operations.items()}
        )
        for name, ways in promises(world, short).items():
            yield promised(name, {way: [run(one, world.model) for one in pair] for way, pair in ways.items()})
        # Those with gradients have no halves, and slices of the host's sub-quadratic attention no gradients.
        forward = {name: made for name, made in operations.items() if name not in WITH_GRADIENTS}
        yield from savings(world, forward, short)
        yield in_threads(world, operations, expected)
        found = other()
    yield promised("the same operation in another process", {n: (found[n], expected[n]) for n in operations})


def promised(what: str, pairs: dict[str, tuple[list[Tensor], list[Tensor]]]) -> Figure:
    """pairs: what was found, and what it must be."""
    wrong = tuple(f"{what}: {name} differs by {apart(*pair):.0e}" for name, pair in pairs.items() if not equal(*pair))
    return Figure(what, len(pairs), "results", wrong)


def apart(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference of all tensors."""
    return max((a - b).abs().max().item() for a, b in zip(found, expected, strict=True))


# --- what is promised -------------------------------------------------------------------------------------------------


def promises(world: World, short: bool) -> dict[str, Ways]:
    """Of each promise, ways to the same result in pairs."""

    def tuned(**settings):
        def operation(model):
            found = tune(model, world.source, world.latent, TuningSettings(2, learning_rate=1e-3, **settings))
            return [found.losses, *found.deltas.values(), *found.temporal.values()]

        return operation

    def null_text(**settings):
        return lambda model: [world.inverted(model, "shared null-text", **settings).inversion.null]

    def kept(folder):
        def operation(model):
            inversion = world.inverted(model, "direct", kept=RecordSettings(0.5, 0.5, folder)).inversion
            return targets(model, inversion, world.edit)

        return operation

    edits = [world.edit, *(word_edit(world.clip, SOURCE, target, cross=0.75, temporal=0.25) for target in OTHERS)]
    saved = {"tuning": (tuned(checkpointing=True), tuned())}
    if not short:
        saved["null text"] = null_text(checkpointing=True), null_text()
    with tempfile.TemporaryDirectory() as folder:
        disk = Path(folder, "kept")  # which the records make, and take with them
    return {
        "to save memory as fast": saved,
        "a source kept on disk as in memory": {"edit": (kept(disk), kept(None))},
        "edits at once as each by itself": {
            "three edits": (
                lambda model: targets(model, world.inversion, *edits),
                lambda model: [made for edit in edits for made in targets(model, world.inversion, edit)],
            )
        },
        "Decoupled Guider as Decoupled Sample": {
            "edit": (
                lambda model: [under_custom_sampler(model, world)],
                lambda model: targets(model, world.inversion, world.edit),
            )
        },
    }


def targets(model, inversion, *edits) -> list[Tensor]:
    return sample(model, prepare_edit(model, inversion, edits)).targets


def under_custom_sampler(model, world: World) -> Tensor:
    guider = DecoupledGuider(model, prepare_edit(model, world.inversion, [world.edit]))
    given = Noise_EmptyNoise(), guider, DecoupledSampler(), world.inversion.sigmas, world.latent
    return SamplerCustomAdvanced.execute(*given).result[0]["samples"]


# --- what is measured -------------------------------------------------------------------------------------------------


@dataclass
class Asked:
    """Answers the host's question for free memory, in its own words, and counts."""

    free: int
    number: int = 0

    def __call__(self, *args, torch_free_too=False):
        self.number += 1
        return (self.free, self.free) if torch_free_too or True in args else self.free


def savings(world: World, operations: dict[str, Operation], short: bool) -> Iterator[Figure]:
    """The host short of memory, which only looks as if it were."""

    def attending(way):
        model = world.model.clone()
        options = model.model_options["transformer_options"]
        options["optimized_attention_override"] = lambda _, *args, **kwargs: way(*args, **kwargs)
        return model

    memory = comfy.model_management, "get_free_memory"
    halves = ModelPatcher, "get_free_memory"
    yield measured("halves of guidance one after the other", world.model, operations, Asked(0), halves)
    yield measured(
        "attention in slices, sub-quadratic", attending(attention_sub_quad), operations, Asked(SCARCE), memory
    )
    yield measured("attention in slices, split", attending(attention_split), operations, Asked(SCARCE), memory)


def measured(what: str, model, operations: dict[str, Operation], asked: Asked, place: tuple[object, str]) -> Figure:
    """Each operation on the MODEL, `asked` in the place of the host's own function, beside the same with memory to
    spare."""
    wrong, said = [], []
    for name, operation in operations.items():
        plain, counted = Calls(), Calls()
        with calls_of_models(plain):
            whole = run(operation, model)
        before = asked.number
        with patch.object(*place, asked), calls_of_models(counted):
            found = run(operation, model)
        if asked.number == before:
            wrong.append(f"{what}, {name}: the host did not ask for its free memory")
        calls = f" in {counted.number} calls for {plain.number}" * (counted.number != plain.number)
        said.append(f"{name} {far(found, whole)}{calls}")
    return Figure(what, len(operations), "results", tuple(wrong), ", ".join(said))


def far(found, expected) -> str:
    return "the same bits" if equal(found, expected) else f"{apart(found, expected):.0e} off"


def in_threads(world: World, operations: dict[str, Operation], expected: dict[str, list[Tensor]]) -> Figure:
    before, said = torch.get_num_threads(), []
    torch.set_num_threads(THREADS)
    try:
        for name, operation in operations.items():
            first, second = run(operation, world.model), run(operation, world.model)
            said.append(f"{name} {far(first, expected[name])}, again {far(second, first)}")
    finally:
        torch.set_num_threads(before)
    return Figure(f"on {THREADS} threads beside one", len(operations), "results", (), "; ".join(said))


# --- another process --------------------------------------------------------------------------------------------------


@contextmanager
def elsewhere(names: list[str], folder: Path) -> Iterator[Callable[[], dict[str, list[Tensor]]]]:
    """A process that runs the operations meanwhile; what is yielded waits for its results."""
    command = [sys.executable, str(ROOT / "tools" / "pack.py"), "tools.faults.determinism", str(folder), *names]
    log = folder / "log"
    with log.open("wb") as said:
        environment = {**os.environ, "COMFYUI_PATH": str(host_path())}
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)

    def results():
        if process.wait():
            raise RuntimeError(f"the other process failed: {log.read_text(errors='replace')[-2000:]}")
        files = {name: load_file(folder / f"{name}.safetensors") for name in names}
        return {name: [tensors[key] for key in sorted(tensors, key=int)] for name, tensors in files.items()}

    try:
        yield results
    finally:
        process.kill()
        process.wait()


def main(folder: str, *names: str) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        world = World()
    operations = world.operations()
    for name in names:
        made = run(operations[name], world.model)
        save_file(
            {str(i): value.contiguous().clone() for i, value in enumerate(made)}, Path(folder, f"{name}.safetensors")
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
