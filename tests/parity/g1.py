"""G1: one forward pass of the inflated UNet, and what goes in and out of its modules."""

from contextlib import contextmanager
from os.path import commonprefix

import torch

from ...videop2p_core.host.model.inflate import temporal_of
from .model import inflated_model, load_json, load_tensors, predict_noise, video_of
from .result import compare

NAME = "g1_unet_forward"
TOLERANCE = {"atol": 5e-5, "rtol": 1e-4}


def check(directory):
    model = inflated_model(directory)
    tensors = load_tensors(directory, NAME)
    results = []
    for case, settings in load_json(directory, NAME).items():
        video, context = tensors[f"{case}.sample"], tensors[f"{case}.context"]
        with watch(model, directory, settings["hooks"]) as seen, torch.no_grad():
            eps = predict_noise(model, video, tensors[f"{case}.timestep"], context)
        results.append(compare(f"{case}.eps", eps, tensors[f"{case}.eps"], **TOLERANCE))
        for name, tensor in seen.items():
            expected = tensors[f"{case}.hook.{name}"]
            actual = video_of(tensor, len(video)) if expected.ndim == 5 else tensor
            results.append(compare(f"{case}.{name}", actual.cpu(), expected, **TOLERANCE))
    return results


@contextmanager
def watch(model, directory, names):
    """{"<module>.in": first argument, "<module>.out": output} of the modules, by the reference's names."""
    seen, handles = {}, []

    def see(name):
        def hook(module, args, output):
            seen[f"{name}.in"], seen[f"{name}.out"] = args[0].clone(), output.clone()

        return hook

    handles.extend(module_of(model, directory, name).register_forward_hook(see(name)) for name in names)
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in names if f"{name}.out" not in seen]
    if missing:
        raise RuntimeError(f"these modules were not run: {', '.join(missing)}")


def module_of(model, directory, name):
    """The host's module for the reference's, by the names of its parameters."""
    ldm = load_json(directory, "diffusers_to_ldm")
    owned = [parameter.removeprefix(f"{name}.") for parameter in ldm if parameter.startswith(f"{name}.")]
    inner = commonprefix([parameter.split(".")[:-1] for parameter in owned])  # a sampler holds nothing but its `conv`
    path = commonprefix([ldm[f"{name}.{parameter}"].split(".")[:-1] for parameter in owned])
    path = ".".join(path[: len(path) - len(inner)])
    if name.endswith("attn_temp"):
        return temporal_of(model).model.get_submodule(path)
    return model.model.diffusion_model.get_submodule(path)
