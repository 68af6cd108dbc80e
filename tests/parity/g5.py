"""G5: whole edits through the host - replace, refine, re-weight; null text or fast; with and without LocalBlend."""

from types import SimpleNamespace

import torch
from comfy.sd1_clip import SD1Tokenizer
from einops import rearrange

from ...videop2p_core.diffusion import inversion, schedule
from ...videop2p_core.edit.local_blend import WORDS, Blend, threshold_maps, word_columns
from ...videop2p_core.edit.matrices import compile_edit
from ...videop2p_core.edit.prompt import word_tokens
from ...videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from ...videop2p_core.host.edit.target import PreparedEdit, Target
from ...videop2p_core.host.prompts.clip_tokens import read_prompt
from .model import frames_of, inflated_model, load_json, load_tensors
from .result import Result, compare

LATENTS = 5e-4
MASK_MAPS = 1e-3  # relative
MASK_PIXELS = 2e-3  # share that may differ: pixels closer to the threshold than rounding
FLIPPED_LATENTS, CLOSEST = 1e-3, 0.995  # what holds once a pixel has flipped


def check(directory):
    model = inflated_model(directory)
    results = []
    for name in ("g5_edits", "g5_edits_localblend"):
        tensors = load_tensors(directory, name)
        for case, settings in load_json(directory, name).items():
            own = {
                key.removeprefix(f"{case}."): value
                for key, value in tensors.items()
                if key.startswith(f"{case}.") or "." not in key
            }
            steps = run(model, settings, own)
            latents = torch.stack([torch.stack([done.source, *done.targets]) for done in steps])
            latents = rearrange(latents, "n b f c h w -> n b c f h w").cpu()
            if settings["blend_words"]:
                results += check_blend(case, settings, own, steps, latents)
            else:
                results.append(compare(f"{case}.latents", latents, own["latents"], LATENTS))
    return results


def run(model, settings, tensors):
    """The edit of one case, as what the host reports after each step."""
    clip = clip_tokenizer()
    prompts = [read_prompt(clip, text) for text in settings["prompts"]]
    reweighted = settings["eq_params"] or {"words": [], "values": []}
    edit = compile_edit(
        *prompts,
        steps=settings["num_steps"],
        kind="replace" if settings["is_word_swap"] else "refine",
        alignment="official",
        cross=as_windows(settings["cross_replace_steps"]),
        temporal=as_windows(settings["self_replace_steps"]),
        weights=dict(zip(reweighted["words"], reweighted["values"], strict=True)),
    )
    blend = None
    if settings["blend_words"]:
        columns = [
            word_columns(len(prompt), word_tokens(prompt, word, "official"))
            for prompt, word in zip(prompts, settings["blend_words"], strict=True)
        ]
        blend = Blend(*columns, threshold=settings["mask_th"][0])
    source, null = ([[tensors[name], {}]] for name in ("source_context", "uncond"))
    target = Target([[tensors["target_context"], {}]], edit, blend)
    done = []
    prepared = PreparedEdit(inverted(model, settings, tensors), source, null, [target])
    decoupled_sample(model, prepared, progress=done.append)
    return done


def inverted(model, settings, tensors):
    """The case's starting point as an inversion. Of the path the noise alone is recorded, and read by these methods."""
    sigmas = model.get_model_object("model_sampling").sigmas
    levels = schedule.ddim_sigmas(sigmas, settings["num_steps"])
    if not torch.equal(levels[:-1], sigmas[settings["timesteps"]]):
        raise ValueError(f"the reference's timesteps are {settings['timesteps']}, not those of its documentation")
    noise = frames_of(tensors["x_T"])
    per_step = tensors.get("uncond_per_step")
    return inversion.Inversion(
        method=inversion.NEGATIVE_PROMPT if settings["fast"] else inversion.SHARED_NULL_TEXT,
        trajectory=noise.expand(len(levels), *noise.shape),
        sigmas=levels,
        source=tensors["source_context"],
        initial_null=tensors["uncond"],
        null=None if settings["fast"] else per_step[:, None],
    )


def check_blend(case, settings, tensors, steps, latents):
    """A pixel nearer to the threshold than rounding may flip and change what follows; up to there all is compared."""
    blended = settings["mask_step_indices"]
    size = latents.shape[-2:]
    maps = [torch.stack([branch[:, WORDS] for branch in steps[i].word_maps[0]]) for i in blended]
    maps = torch.stack(maps).cpu()  # [steps, 2, frames, rows, columns]
    masks = torch.stack([
        torch.stack([threshold_maps(maps[n, 0], size, settings["mask_th"][0]), steps[i].masks[0].cpu() > 0])
        for n, i in enumerate(blended)
    ])  # fmt: skip
    wrong = (masks != tensors["masks"].bool()).flatten(1).float().mean(dim=1)  # of each blended step
    results = [Result(f"{case}.masks", wrong.max().item(), MASK_PIXELS)]
    if not wrong.any():
        results.append(compare(f"{case}.mask_maps", maps, tensors["mask_maps"], 0.0, MASK_MAPS))
        results.append(compare(f"{case}.latents", latents, tensors["latents"], LATENTS))
        return results
    first = wrong.nonzero()[0].item()
    whole, rest = slice(0, blended[first]), slice(blended[first], None)
    results.append(compare(f"{case}.mask_maps", maps[: first + 1], tensors["mask_maps"][: first + 1], 0.0, MASK_MAPS))
    if blended[first]:
        results.append(compare(f"{case}.latents", latents[whole], tensors["latents"][whole], LATENTS))
    error = (latents[rest] - tensors["latents"][rest]).abs().flatten()
    results.append(Result(f"{case}.latents after a flipped pixel", closest(error), FLIPPED_LATENTS))
    return results


def closest(error):
    return error.kthvalue(int(CLOSEST * len(error))).values.item()


def as_windows(value):
    """Windows of the JSON: lists are (start, end)."""
    if isinstance(value, dict):
        return {word: as_windows(window) for word, window in value.items()}
    return tuple(value) if isinstance(value, list) else value


def clip_tokenizer():
    """The tokenizing half of the host's CLIP: the reference holds no text encoder."""
    tokenizer = SD1Tokenizer()
    return SimpleNamespace(
        tokenizer=tokenizer, tokenize=lambda text, **options: tokenizer.tokenize_with_weights(text, **options)
    )
