"""Measure the demo model on scenes that training never saw, through ComfyUI: `python dev.py demo-eval --seed N`.

Every part draws its clips from the same seeds N, N + 1, ...; N is at least 1,000,000.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import comfy.sample
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw

from ..videop2p_core.diffusion.inversion import DIRECT, NEGATIVE_PROMPT, SHARED_NULL_TEXT, InversionSettings
from ..videop2p_core.edit.local_blend import WORDS, Blend, word_columns
from ..videop2p_core.edit.matrices import Edit, no_edit
from ..videop2p_core.edit.prompt import word_tokens
from ..videop2p_core.host.edit.decoupled_sampling import decoupled_sample
from ..videop2p_core.host.edit.target import PreparedEdit, Target
from ..videop2p_core.host.model.frame_attention import Inflation
from ..videop2p_core.host.model.inflate import inflate
from ..videop2p_core.host.prompts.clip_tokens import read_prompt
from ..videop2p_core.host.source import inversion as host_inversion
from ..videop2p_core.images.metrics import psnr
from . import scenes
from .accepted_edits import accepted_part
from .data import CELL
from .evaluation_world import MANY_STEPS, World, opened
from .judge import seen
from .long_clips import long_part
from .measured_ways import ways_part
from .word_edits import edits_part

SAMPLER, SCHEDULER, SAMPLE_STEPS, SAMPLE_CFG = "dpmpp_2m", "karras", 20, 4.0
NULL_TEXT_CLIPS = 4  # null-text takes ten times as long as all else: its figure is the mean of the first clips


def judge_part(world: World) -> dict[str, float]:
    """Is the judge right on clean renders, and on what the VAE makes of them? [fraction of all fields right]"""
    right = {"judge_on_renders": [], "judge_on_vae": []}
    for scene in world.scenes:
        image = torch.from_numpy(scenes.render(scene).image)[None]
        for name, frames in (("judge_on_renders", image), ("judge_on_vae", world.vae.decode(world.vae.encode(image)))):
            values_seen = seen(world.judge, frames)
            right[name] += [values_seen[field] == getattr(scene, field) for field in scenes.JUDGED]
    return {name: fmean(values) for name, values in right.items()}


def vae_part(world: World) -> dict[str, float]:
    """PSNR of the VAE's round trip on whole clips [dB]."""
    values, rows = [], []
    for scene in world.scenes:
        frames, _ = world.rendered(scene)
        decoded = world.vae.decode(world.vae.encode(frames))
        values.append(psnr(decoded, frames))
        rows.append([frames[0], decoded[0]])
    world.save("vae.png", sheet([picture for row in rows[:16] for picture in row], columns=8))
    return {"vae_psnr": fmean(values)}


def text_to_image_part(world: World) -> dict[str, float]:
    """What the judge sees in pictures drawn from captions by the stock sampler [fraction right]."""
    right = {field: [] for field in scenes.FIELDS}
    pictures, captions = [], []
    for scene in world.scenes:
        caption = scenes.caption(scene)
        cells = scenes.SIZE // CELL
        latent = torch.zeros(1, 4, cells, cells)
        noise = comfy.sample.prepare_noise(latent, scene.seed)
        samples = comfy.sample.sample(
            world.model, noise, SAMPLE_STEPS, SAMPLE_CFG, SAMPLER, SCHEDULER, world.encode(caption), world.encode(""),
            latent, disable_pbar=True, seed=scene.seed,
        )  # fmt: skip
        image = world.vae.decode(samples)
        values_seen = seen(world.judge, image)
        for field in right:
            right[field].append(values_seen[field] == getattr(scene, field))
        pictures.append(image[0])
        captions.append(caption)
    world.save("text_to_image.png", sheet(pictures, captions=captions))
    return {f"{field}_accuracy": fmean(values) for field, values in right.items()}


def attention_part(world: World) -> dict[str, float]:
    """Where the object's word looks while a clip is replayed: pointing [fraction], LocalBlend's mask [IoU]."""
    inside, overlap, pictures = [], [], []
    model = inflate(world.model, Inflation())
    null = world.encode("")
    for scene in world.scenes:
        frames, masks = world.rendered(scene)
        truth = F.avg_pool2d(masks[:, None], CELL)[:, 0] > 0.5
        caption = scenes.caption(scene)
        source = world.encode(caption)
        inverted = host_inversion.invert_latent(
            model, source, null, world.vae.encode(frames), InversionSettings(DIRECT, world.steps)
        )
        prompt = read_prompt(world.clip, caption)
        tokens = source[0][0].shape[1]
        columns = word_columns(tokens, word_tokens(prompt, scene.object))
        matrices = [part.expand(world.steps, *part.shape) for part in no_edit(tokens, tokens)]
        edit = Edit(*matrices, torch.zeros(world.steps, dtype=torch.bool))
        last = []
        target = Target(source, edit, Blend(columns, columns))
        edited = decoupled_sample(
            model, PreparedEdit(inverted, source, null, [target]),
            progress=lambda done, last=last: last.append(done.word_maps[0][0]),
        )  # fmt: skip
        maps = last[-1][:, WORDS]  # [frames, rows, columns]
        peaks = F.interpolate(maps[:, None], size=truth.shape[1:], mode="bilinear")[:, 0].flatten(1).argmax(dim=1)
        inside += truth.flatten(1).gather(1, peaks[:, None])[:, 0].tolist()
        mask = edited.masks[0] > 0.5
        overlap.append(((mask & truth).sum() / (mask | truth).sum()).item())
        heat = F.interpolate((maps / maps.amax(dim=(1, 2), keepdim=True))[:1, None], size=frames.shape[1:3])[0, 0]
        shown = F.interpolate(mask[:1, None].float(), size=frames.shape[1:3])[0, 0]
        pictures += [frames[0], heat[..., None].expand(-1, -1, 3), shown[..., None].expand(-1, -1, 3)]
    world.save("attention.png", sheet(pictures[:48], columns=9))
    return {"pointing": fmean(inside), "mask_iou": fmean(overlap)}


def inversion_part(world: World) -> dict[str, float]:
    """PSNR of clips replayed from their noise, against the clips [dB]: direct at guidance 1 without putting the source
    back on its path, and shared null-text at the full guidance."""
    direct, null_text = [], []
    model, null = inflate(world.model, Inflation()), world.encode("")
    for i, scene in enumerate(world.scenes):
        frames, _ = world.rendered(scene)
        source = world.encode(scenes.caption(scene))
        latent = world.vae.encode(frames)

        def replayed(method, source=source, latent=latent):
            inverted = host_inversion.invert_latent(model, source, null, latent, InversionSettings(method, world.steps))
            if method == DIRECT:  # put back on its path it could not fail; without, it is a replay at guidance 1
                inverted = replace(inverted, method=NEGATIVE_PROMPT)
            z0 = host_inversion.reconstruct(model, source, null, inverted)[-1]
            return world.vae.decode(model.model.process_latent_out(z0))

        direct.append(psnr(replayed(DIRECT), frames))
        if i < NULL_TEXT_CLIPS:
            null_text.append(psnr(replayed(SHARED_NULL_TEXT), frames))
    return {"direct_psnr": fmean(direct), "null_text_psnr": fmean(null_text), "null_text_clips": len(null_text)}


PARTS = {
    "judge": judge_part,
    "vae": vae_part,
    "text-to-image": text_to_image_part,
    "attention": attention_part,
    "inversion": inversion_part,
    "long": long_part,
    "edits": edits_part,
    "accepted": accepted_part,
    "ways": ways_part,
}


def sheet(pictures: list[torch.Tensor], columns: int = 8, captions: list[str] | None = None) -> Image.Image:
    """Pictures [height, width, 3] in 0..1 in rows, with captions beneath where given."""
    height, width, _ = pictures[0].shape
    caption_height = 24 if captions else 0
    rows = math.ceil(len(pictures) / columns)
    canvas = Image.new("RGB", (columns * width, rows * (height + caption_height)), "white")
    pen = ImageDraw.Draw(canvas)
    for i, picture in enumerate(pictures):
        x, y = i % columns * width, i // columns * (height + caption_height)
        canvas.paste(Image.fromarray((picture.float().clamp(0, 1) * 255).byte().numpy()), (x, y))
        if captions:
            cut = captions[i].rfind(" ", 0, 24) if len(captions[i]) > 23 else len(captions[i])
            pen.multiline_text(
                (x + 2, y + height),
                f"{captions[i][:cut]}\n{captions[i][cut + 1 :]}",
                fill="black",
                font_size=10,
                spacing=1,
            )
    return canvas


def evaluate(seed: int, clips: int, parts: list[str], steps: int | None, folder: Path | None) -> dict:
    world = opened(seed, clips, steps, folder)
    figures = {"seed": seed, "clips": clips, "steps": world.steps}
    for name in parts:
        with torch.inference_mode():
            result = PARTS[name](world)
        figures |= result
        shown = {key: value for key, value in result.items() if isinstance(value, float)}
        print("  ".join(f"{key} {value:.3f}" for key, value in shown.items()), flush=True)
    return figures


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1_000_000)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument(
        "--parts",
        default=",".join(name for name in PARTS if name not in ("accepted", "ways")),
        help=f"any of {', '.join(PARTS)}, joined by commas",
    )
    parser.add_argument(
        "--steps", type=int, help=f"of inversion and edit: {MANY_STEPS}; of accepted edits, see ways.py"
    )
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--pictures", type=Path, help="write contact sheets into this folder")
    a = parser.parse_args()
    unknown = [name for name in a.parts.split(",") if name not in PARTS]
    if unknown:
        parser.error(f"'{unknown[0]}' is not a part of the evaluation: {', '.join(PARTS)}")
    measured = evaluate(a.seed, a.clips, a.parts.split(","), a.steps, a.pictures)
    if a.json:
        a.json.write_text(json.dumps({"figures": measured}, indent=1) + "\n")
