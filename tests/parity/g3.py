"""G3: the DDIM trajectory of a clip."""

from einops import rearrange

from ...videop2p_core.diffusion.schedule import ddim_timesteps
from ...videop2p_core.host.source.inversion import ddim_invert
from .model import frames_of, inflated_model, load_json, load_tensors
from .result import Result, compare

NAME = "g3_ddim_inversion"


def check(directory):
    tensors, settings = load_tensors(directory, NAME), load_json(directory, NAME)
    model = inflated_model(directory)
    positive, negative = [[tensors["context"], {}]], [[tensors["uncond"], {}]]
    latent = model.model.process_latent_out(frames_of(tensors["latent"]))
    results = []
    for case, setting in settings.items():
        if not isinstance(setting, dict):
            continue
        steps = setting["num_steps"]
        wrong = ddim_timesteps(steps).tolist() != setting["timesteps"]
        trajectory, _ = ddim_invert(model, positive, negative, latent, steps=steps)
        trajectory = rearrange(trajectory, "n f c h w -> n c f h w")
        results += [
            Result(f"{case}.timesteps", float(wrong), 0.0),
            compare(f"{case}.trajectory", trajectory, tensors[f"{case}.trajectory"], atol=5e-5),
        ]
    return results
