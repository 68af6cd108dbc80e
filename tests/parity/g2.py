"""G2: five steps of one-shot tuning, with and without the down blocks."""

from dataclasses import dataclass

import torch

from ...videop2p_core.diffusion import tuning
from ...videop2p_core.diffusion.tuning import TuningSettings
from ...videop2p_core.host.comfy.denoiser import SOURCE, model_sigmas
from ...videop2p_core.host.model.gradients import run_differentiable
from ...videop2p_core.host.model.inflate import inflate
from ...videop2p_core.host.model.temporal_layers import temporal_patcher
from ...videop2p_core.host.source import tuning as host_tuning
from .model import OFFICIAL, frames_of, image_model, load_json, load_tensors, predict_noise, weights
from .result import Result, compare

NAME = "g2_tuning"


@dataclass(frozen=True)
class Clip:
    latent: torch.Tensor  # [frames, channels, h, w], at the model's scale
    positive: list
    timesteps: torch.Tensor  # [steps]
    noises: torch.Tensor  # [steps, frames, channels, h, w]


def check(directory):
    tensors, settings = load_tensors(directory, NAME), load_json(directory, NAME)
    clip = Clip(
        latent=frames_of(tensors["latents"]),
        positive=[[tensors["context"], {}]],
        timesteps=tensors["timesteps"],
        noises=torch.stack([frames_of(noise) for noise in tensors["noise"]]),
    )
    unknown = set(settings["rounding_noise_gradient"])
    variants = {name: value for name, value in settings.items() if isinstance(value, dict) and "losses" in value}
    results = []
    for variant, reference in variants.items():
        expected = {
            key.removeprefix(f"{variant}."): tensor for key, tensor in tensors.items() if key.startswith(f"{variant}.")
        }
        model, initial = variant_model(directory, reference["official_init"])
        names = load_json(directory, "diffusers_to_ldm")

        found = {
            **tuned_results(directory, model, initial, names, clip, tensors["noisy0"], reference, expected, unknown),
            **gradient_results(model, names, clip, reference, expected, unknown),
        }
        results += [Result(f"{variant}.{name}", *rest) for name, rest in found.items()]
    return results


def variant_model(directory, official_init):
    """(MODEL, {LDM name: initial value})."""
    image, temporal = weights(directory)
    if official_init:
        replaced = {"attn_temp.to_out.0.weight": 0.0, "norm_temp.weight": 1.0, "norm_temp.bias": 0.0}
        temporal = {
            name: next(
                (torch.full_like(tensor, value) for end, value in replaced.items() if name.endswith(end)), tensor
            )
            for name, tensor in temporal.items()
        }
    model = image_model(directory)
    return inflate(model, OFFICIAL, temporal_patcher(model, temporal)), image | temporal


def tuned_results(directory, model, initial, names, clip, noisy, reference, expected, unknown):
    tuned = host_tuning.tune_latent(
        model,
        clip.positive,
        model.model.process_latent_out(clip.latent),
        TuningSettings(
            checkpointing=reference["gradient_checkpointing"],
            freeze_down_blocks=reference["gradient_checkpointing"],
            steps=len(clip.timesteps),
            learning_rate=reference["lr"],
        ),
        timesteps=clip.timesteps,
        noises=clip.noises,
    )
    deltas = {
        ldm: tuned.deltas[ldm] if ldm in tuned.deltas else tuned.temporal.get(ldm, initial[ldm]) - initial[ldm]
        for ldm in map(names.get, reference["delta_norm"])
    }
    never = {names[name] for name in reference["no_gradient"]}
    still = {name for name, delta in deltas.items() if not delta.any()}
    norms = {name: norm for name, norm in reference["delta_norm"].items() if name not in unknown}
    context = clip.positive[0][0]
    with torch.no_grad():
        eps = predict_noise(host_tuning.with_tuning(model, tuned), noisy, clip.timesteps[:1], context)
    after = compare("eps_after", eps, expected["eps_after"], atol=1e-4)
    results = {
        "losses": (relative(tuned.losses.tolist(), reference["losses"]), 1e-5),
        "grad_norms": (relative(tuned.grad_norms.tolist(), reference["grad_norms_before_clip"]), 1e-4),
        "tensors that learn though they should not, or the reverse": (float(len(never ^ still)), 0.0),
        "delta_norm": (relative([deltas[names[name]].norm().item() for name in norms], norms.values()), 2e-3),
        "eps_after": (after.error, after.tolerance),
    }
    for key, tensor in expected.items():
        if key.startswith("final."):
            name = key.removeprefix("final.")
            error = initial[names[name]] + deltas[names[name]] - tensor
            results[key] = (error.norm().item(), 2e-2 * reference["delta_norm"][name])
    return results


def gradient_results(model, names, clip, reference, expected, unknown):
    def first_gradients(copy, denoise, z0, sigmas):
        parameters = host_tuning.trainable(copy)
        trained = tuning.trained_names(parameters, freeze_down_blocks=reference["gradient_checkpointing"])
        values = [parameters[name].requires_grad_() for name in trained]
        with torch.enable_grad():
            sigma = sigmas[clip.timesteps[0]]
            loss = tuning.tuning_loss(denoise, z0, clip.noises[0].to(z0), sigma, SOURCE)
            return dict(zip(trained, torch.autograd.grad(loss, values), strict=True))

    latent = model.model.process_latent_out(clip.latent)
    gradients = run_differentiable(
        model, clip.positive, clip.positive, latent, model_sigmas(model), first_gradients,
        checkpointing=reference["gradient_checkpointing"],
    )  # fmt: skip
    gradients = {name: gradient.cpu() for name, gradient in gradients.items()}
    norms = {name: norm for name, norm in reference["grad_norm_step0"].items() if name not in unknown}
    results = {
        "grad_norm_step0": (relative([gradients[names[name]].norm().item() for name in norms], norms.values()), 1e-4)
    }
    for key, tensor in expected.items():
        if key.startswith("grad0."):
            error = (gradients[names[key.removeprefix("grad0.")]] - tensor).abs().max()
            results[key] = (error.item(), 1e-3 * tensor.square().mean().sqrt().item())
    return results


def relative(actual, expected):
    """The largest relative error; infinite where a value should be zero and is not."""
    pairs = list(zip(actual, expected, strict=True))
    return max(0.0 if a == b else abs(a - b) / abs(b) if b else float("inf") for a, b in pairs)
