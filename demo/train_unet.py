"""Train the demo model's UNet and text encoder together, on cached latents and freshly worded captions.

The loss is the noise prediction's squared error over alpha_bar - the v-loss of an eps network - with the object's cells
counted more, plus two small terms on the cross-attention maps: the object's words belong inside its true mask.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from safetensors.torch import load_file, save_file

from . import data, runs, scenes, words, workers
from .train_vae import build_taesd

BATCH = 32  # pictures a worker
EMPTY_CAPTIONS = 0.1
OBJECT_WEIGHT = 2.0  # of an object's cell against a background cell in the noise loss
INSIDE_WEIGHT, DOMINANCE_WEIGHT = 0.05, 0.02
EMA_DECAY = 0.9995
STEPS_A_REPORT = 250


def alphas_cumprod() -> torch.Tensor:
    """SD1.x: scaled-linear betas, 1000 steps -> [1000]."""
    return torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2, dim=0)


def build_networks(vocabulary: tuple[str, ...]) -> torch.nn.ModuleDict:
    """UNet and text encoder on the host's classes; the token table holds the rows of `words.token_rows` only."""
    import comfy.ops
    from comfy.clip_model import CLIPTextModel
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    from ..videop2p_core.host.demo_model import TEXT, UNET

    ops = comfy.ops.disable_weight_init
    unet = UNetModel(**UNET, dtype=torch.float32, operations=ops)
    text = CLIPTextModel(TEXT, torch.float32, "cpu", ops)
    text.set_input_embeddings(ops.Embedding(len(words.token_rows(vocabulary)), TEXT["hidden_size"]))
    return torch.nn.ModuleDict({"unet": unet, "text": text})


@torch.no_grad()
def initialise(networks: torch.nn.ModuleDict) -> None:
    """Torch's own initial values, residual branches closed, and x_t passed straight through to eps.

    silu(x) - silu(-x) = x: the first four latent channels travel as +x and -x through the last skip connection, so the
    network starts at eps = x_t, which is nearly right where there is much noise.
    """
    from comfy.ldm.modules.attention import SpatialTransformer
    from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock

    for module in networks.modules():
        for kind in (torch.nn.Conv2d, torch.nn.Linear, torch.nn.GroupNorm, torch.nn.LayerNorm):
            if isinstance(module, kind):
                kind.reset_parameters(module)
        if isinstance(module, torch.nn.Embedding):
            torch.nn.init.normal_(module.weight, std=0.05)
    for module in networks.modules():
        last = {ResBlock: lambda m: m.out_layers[-1], SpatialTransformer: lambda m: m.proj_out}.get(type(module))
        if last:
            torch.nn.init.zeros_(last(module).weight)
            torch.nn.init.zeros_(last(module).bias)
    torch.nn.init.eye_(networks["text"].text_projection.weight)

    unet = networks["unet"]
    first, skip, out = unet.input_blocks[0][0], unet.output_blocks[-1][0].skip_connection, unet.out[-1]
    torch.nn.init.zeros_(out.weight)
    torch.nn.init.zeros_(out.bias)
    width = skip.weight.shape[1] - unet.model_channels
    for c in range(4):
        for sign in (0, 1):
            channel = 2 * c + sign
            first.weight[channel] = 0
            first.weight[channel, c, 1, 1] = 1 - 2 * sign
            first.bias[channel] = 0
            skip.weight[channel] = 0
            skip.weight[channel, width + channel] = 1
            skip.bias[channel] = 0
            out.weight[c, channel, 1, 1] = 1 - 2 * sign


@torch.no_grad()
def encoded_pictures(count: int, rank: int) -> torch.Tensor:
    """Latents [count, 2, 4, cells, cells] of the training pictures and their mirror images, encoded once: the VAE's
    training deletes them."""
    firsts = range(0, count, data.PART)
    for first in firsts[rank :: workers.WORKERS]:
        if not runs.part("latents", first).exists():
            images = data.part(first)[0]
            sides = [encoded(side) for side in (images, images[:, :, ::-1])]
            data.save(runs.part("latents", first), np.stack(sides, axis=1))
    torch.distributed.barrier()
    return torch.from_numpy(np.concatenate([np.load(runs.part("latents", first)) for first in firsts])[:count])


def encoded(images: np.ndarray) -> np.ndarray:
    """Pictures [count, height, width, 3] uint8 -> latents [count, 4, cells, cells]."""
    vae = build_taesd()
    vae.load_state_dict(load_file(runs.VAE))
    encoder = vae.taesd_encoder.to(memory_format=torch.channels_last)
    parts = []
    for first in range(0, len(images), 50):
        pixels = torch.from_numpy(np.array(images[first : first + 50])).permute(0, 3, 1, 2).float() / 255
        with workers.autocast():
            parts.append(encoder(pixels.contiguous(memory_format=torch.channels_last)).float())
    return torch.cat(parts).contiguous().numpy()


def weigh(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, bias: torch.Tensor | float = 0.0):
    """Attention with its softmax written out -> (result [b, n, heads * d], probabilities [b, heads, n, m]).

    Its backward is faster on a CPU than the fused kernel's, and the maps can be judged.
    """
    q, k, v = (rearrange(x, "b n (h d) -> b h n d", h=heads) for x in (q, k, v))
    probabilities = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(dim=-1)
    return rearrange(probabilities.to(v.dtype) @ v, "b h n d -> b n (h d)"), probabilities


def encode_text(text: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Token rows [batch, 77] -> context [batch, 77, channels].

    The host's layers, with sums that autograd can go back through: the host adds in place.
    """
    model = text.text_model
    causal = torch.full((words.LENGTH, words.LENGTH), float("-inf")).triu(1)
    x = model.embeddings(rows)
    for layer in model.encoder.layers:
        x = x + layer.self_attn(layer.layer_norm1(x), causal, lambda *qkv_heads_mask: weigh(*qkv_heads_mask)[0])
        x = x + layer.mlp(layer.layer_norm2(x))
    return model.final_layer_norm(x)


class Attention:
    """The UNet's attention as `weigh`, installed as replace patches.

    `maps` holds the probabilities [batch, tokens_q, tokens_k], averaged over heads, of the cross-attention layers of
    the latest forward.
    """

    def __init__(self, unet: torch.nn.Module):
        places = [("input", i) for i in range(len(unet.input_blocks))] + [("middle", i) for i in range(3)]
        places += [("middle", 0)] + [("output", i) for i in range(len(unet.output_blocks))]
        self.maps: list[torch.Tensor] = []
        self.options = {
            "patches_replace": {"attn1": dict.fromkeys(places, self.attend), "attn2": dict.fromkeys(places, self.cross)}
        }

    def attend(self, q, k, v, extra_options):
        return weigh(q, k, v, extra_options["n_heads"])[0]

    def cross(self, q, k, v, extra_options):
        out, probabilities = weigh(q, k, v, extra_options["n_heads"])
        self.maps.append(reduce(probabilities, "b h q k -> b q k", "mean"))
        return out

    def forward(self, unet, x, t, context):
        self.maps = []
        return unet(x, t, context, transformer_options=dict(self.options))


def localisation(
    maps: list[torch.Tensor], coverage: torch.Tensor, word_tokens: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """How much of the things' words' attention lies outside them, and how little they dominate inside.

    maps: layers of [batch, cells, tokens]; coverage [batch, things, height, width]; word_tokens [batch, things, tokens]
    >= 0.
    """
    named = word_tokens.sum(dim=2) > 0
    outside, faint = [], []
    for attention in maps:
        side = int(attention.shape[1] ** 0.5)
        if side < 8:  # coarser cells than the object's outline teach nothing
            continue
        inside = rearrange(F.adaptive_avg_pool2d(coverage, side), "b t h w -> b t (h w)")
        words_map = torch.einsum("bqk,btk->btq", attention.float(), word_tokens)
        share = (words_map * inside).sum(dim=2) / words_map.sum(dim=2).clamp_min(1e-6)
        level = (words_map * inside).sum(dim=2) / inside.sum(dim=2).clamp_min(1e-6)
        outside.append(1 - share[named])
        faint.append(F.relu(0.6 - level[named]))
    return torch.cat(outside).mean(), torch.cat(faint).mean()


class Captions:
    """Freshly worded captions of training pictures, as token rows and as weights of the things' words."""

    def __init__(self, count: int, rng: np.random.Generator):
        self.rng = rng
        self.scenes = [scenes.random_scene(seed) for seed in range(count)]

    def draw(self, picks: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """-> rows [batch, 77], word_tokens [batch, things, 77]."""
        rows, weights = [], np.zeros((len(picks), data.THINGS, words.LENGTH), np.float32)
        for i, pick in enumerate(picks):
            scene = self.scenes[pick]
            empty = self.rng.random() < EMPTY_CAPTIONS
            text = "" if empty else scenes.varied_caption(scene, self.rng)
            tokens = words.tokenize(scenes.VOCABULARY, text)
            rows.append(tokens.rows)
            for word, thing, weight in thing_words(scene):
                weights[i, thing, tokens.spans.get(word, [])] = weight
        return torch.from_numpy(np.stack(rows)), torch.from_numpy(weights)

    def plain(self, picks: np.ndarray) -> torch.Tensor:
        """Rows [batch, 77] of the plain full captions."""
        texts = [scenes.caption(self.scenes[pick]) for pick in picks]
        return torch.from_numpy(np.stack([words.tokenize(scenes.VOCABULARY, text).rows for text in texts]))


def thing_words(scene: scenes.Scene) -> list[tuple[str, int, float]]:
    """(word, number of its thing, weight) of each word that belongs to one thing alone."""
    owned_words = [
        (getattr(thing, field), number, weight)
        for number, thing in enumerate(scene.things)
        for field, weight in scenes.WORD_WEIGHTS.items()
    ]
    return [item for item in owned_words if sum(item[0] == other[0] for other in owned_words) == 1]


@torch.no_grad()
def text_gap(networks, attention: Attention, latents, captions: Captions, picks: np.ndarray, timestep: int):
    """The noise loss with the right captions, with another picture's and with none: equal means that the text is not
    used."""
    generator = torch.Generator().manual_seed(5)
    z = latents[torch.from_numpy(picks), 0]
    noise = torch.randn(z.shape, generator=generator)
    a = alphas_cumprod()[timestep]
    x = a.sqrt() * z + (1 - a).sqrt() * noise
    rows = captions.plain(picks)
    empty = torch.from_numpy(words.tokenize(scenes.VOCABULARY, "").rows).expand_as(rows)
    losses = []
    for r in (rows, rows.roll(1, dims=0), empty):
        context = encode_text(networks["text"], r)
        eps = attention.forward(networks["unet"], x, torch.full((len(picks),), float(timestep)), context)
        losses.append((eps - noise).square().mean().item())
    return losses


def train(steps: int, learning_rate: float, pictures: int, settle: float, resume: bool, begun: bool) -> None:
    rank = workers.join()
    torch.manual_seed(0)
    latents = encoded_pictures(pictures, rank)
    coverage = torch.from_numpy(data.coverage(pictures).astype(np.float32))
    held_out, training = np.arange(pictures - 128, pictures), pictures - 128
    networks = build_networks(scenes.VOCABULARY)
    initialise(networks)
    attention = Attention(networks["unet"])
    parameters = list(networks.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=True)
    first_step = 0
    if begun or (resume and runs.UNET.exists()):
        networks.load_state_dict(load_file(runs.UNET))
    average = {k: v.clone() for k, v in networks.state_dict().items()}
    if resume and runs.UNET_STATE.exists():
        state = torch.load(runs.UNET_STATE, weights_only=True)
        networks.load_state_dict(state["networks"])
        optimizer.load_state_dict(state["optimizer"])
        average, first_step = state["average"], state["step"]
    workers.broadcast([p.data for p in parameters])
    rng = np.random.default_rng([11, rank, first_step])
    torch.manual_seed(1000 * first_step + rank)
    captions = Captions(pictures, rng)
    alpha = alphas_cumprod()
    started, losses, clock = time.time(), [], workers.Clock(workers.SECONDS_A_CHECKPOINT)
    for step in range(first_step, steps):
        rate = min(1.0, (step + 1) / 300, (1 - step / steps) / settle)
        optimizer.param_groups[0]["lr"] = learning_rate * rate
        picks = rng.integers(0, training, BATCH)
        rows, word_tokens = captions.draw(picks)
        mirrored, picks = torch.from_numpy(rng.integers(0, 2, BATCH)), torch.from_numpy(picks)
        z, cover = latents[picks, mirrored], coverage[picks]
        cover = torch.where(mirrored[:, None, None, None] == 1, cover.flip(-1), cover)
        t = ((torch.arange(BATCH) + torch.rand(BATCH)) * (1000 / BATCH)).long()
        a = alpha[t][:, None, None, None]
        noise = torch.randn_like(z)
        x = a.sqrt() * z + (1 - a).sqrt() * noise
        with workers.autocast():
            context = encode_text(networks["text"], rows)
            eps = attention.forward(networks["unet"], x, t.float(), context)
        weight = (1 + (OBJECT_WEIGHT - 1) * cover.sum(dim=1, keepdim=True)) / a
        noise_loss = (weight * (eps.float() - noise).square()).mean()
        outside, faint = localisation(attention.maps, cover, word_tokens)
        loss = noise_loss + INSIDE_WEIGHT * outside + DOMINANCE_WEIGHT * faint
        optimizer.zero_grad()
        loss.backward()
        workers.average_gradients(parameters)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        losses.append([noise_loss.item(), outside.item(), faint.item()])
        if rank == 0:
            decay = min(EMA_DECAY, (step + 1) / (step + 20))
            with torch.no_grad():
                torch._foreach_lerp_([average[k] for k in average], list(networks.state_dict().values()), 1 - decay)
            reports = step % STEPS_A_REPORT == STEPS_A_REPORT - 1 or step == steps - 1
            if reports:
                mean = np.mean(losses[-STEPS_A_REPORT:], axis=0)
                gaps = "; ".join(
                    f"t={t}: {right:.4f} right, {wrong:.4f} shuffled, {none:.4f} empty"
                    for t in (900, 600)
                    for right, wrong, none in [text_gap(networks, attention, latents, captions, held_out[:64], t)]
                )
                speed = (step + 1 - first_step) * BATCH * workers.WORKERS / (time.time() - started)
                done = f"unet step {step + 1}/{steps} {time.time() - started:.0f} s {speed:.1f} samples/s"
                terms = f"loss {mean[0]:.4f} outside {mean[1]:.3f} faint {mean[2]:.3f}"
                print(f"{done} | {terms} | {gaps}", flush=True)
            if reports or clock.rings():
                save_file({k: v.contiguous() for k, v in average.items()}, runs.UNET)
                state = {"networks": networks.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
                workers.save(state | {"step": step + 1}, runs.UNET_STATE)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=runs.STEPS["unet"])
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--pictures", type=int, default=data.PICTURES)
    parser.add_argument(
        "--settle", type=float, default=0.3, help="the last part of the steps, in which the learning rate falls to zero"
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="go on from the last checkpoint, optimiser and all")
    begin.add_argument("--begun", action="store_true", help="start from the averaged weights that are there")
    a = parser.parse_args()
    train(a.steps, a.learning_rate, a.pictures, a.settle, a.resume, a.begun)
