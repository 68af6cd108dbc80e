"""Pictures that explain: [1, height, width, 3], values 0 to 1."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from einops import rearrange, reduce, repeat
from torch import Tensor

from ...diffusion.tuning import running_mean
from ...edit.alignment import Alignment
from ...edit.prompt import Prompt, shortened
from ...images.crop import as_decoded
from .fonts import font_file

if TYPE_CHECKING:  # taken in where a picture is drawn, not whenever the pack is loaded
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties
    from PIL.ImageFont import FreeTypeFont

DPI = 100
POINTS = 72  # to an inch
CAPTION, LONGEST = 11, 60  # points; letters
NOTE, NOTE_LETTERS = 8, 17  # points; letters to an inch
STRIP, LETTERS = 24, 235  # of 255: the grey of a label's strip and of its letters
LEGIBLE = 8  # pixels, of a label's letters
TOKENS = 75  # of either prompt in one picture, as many as a chunk of CLIP holds: all of a long one take gigabytes
DIM = 0.5  # how bright frames are under heat
GRID, SMALLEST, LARGEST, GAP = 1080, 96, 256, 2  # pixels: a grid's width, its pictures' longer side, their margin


def loss_plot(losses: Sequence[float] | Tensor) -> Tensor:
    """The loss of every step, and its running mean."""
    losses = torch.as_tensor(losses).tolist()
    means = running_mean(losses)
    figure, axes = _figure(8, 4.5)
    steps = range(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.35, marker="." if len(losses) < 20 else None, label="loss")
    axes.plot(steps, means, color="tab:blue", label="running mean")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    return _picture(figure)


def psnr_plot(psnr: Sequence[float], bound: Sequence[float]) -> Tensor:
    """dB of every frame: of a reconstruction, and of the VAE alone above it."""
    figure, axes = _figure(8, 4.5)
    frames = range(1, len(psnr) + 1)
    axes.plot(frames, bound, color="gray", linestyle="--", marker="o", label="VAE alone, the upper bound")
    axes.plot(frames, psnr, color="tab:blue", marker="o", label="reconstruction")
    axes.fill_between(frames, psnr, bound, color="tab:red", alpha=0.12, label="lost by the inversion")
    axes.set(xlabel="frame", ylabel="PSNR, dB", xticks=frames if len(psnr) <= 16 else frames[:: len(psnr) // 8])
    axes.grid(alpha=0.3)
    axes.legend()
    return _picture(figure)


def alignment_picture(source: Prompt, target: Prompt, alignment: Alignment, weights: Tensor) -> Tensor:
    """How the target's tokens (columns) take the maps of the source's (rows), and in the last row what they keep.

    weights [N_target] are written under the tokens that they change. Of a long prompt a part is shown, about the first
    difference.
    """
    rows, columns = list(source.content), list(target.content)
    same = [a == b for a, b in zip(source.ids(rows), target.ids(columns), strict=False)]
    first = [*same, False].index(False)
    rows, ylabel = _part("source", rows, first)
    columns, xlabel = _part("target", columns, first)
    shares = torch.cat([alignment.source[rows][:, columns], alignment.target[None, columns]])
    labels = [_label(target, j) + ("" if weights[j] == 1 else f" × {weights[j]:g}") for j in columns]
    figure, axes = _figure(2.5 + 0.5 * len(columns), 2 + 0.4 * len(rows))
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.axhline(len(rows) - 0.5, color="gray", linewidth=1)
    axes.set_xticks(range(len(columns)), labels, rotation=45, ha="right", fontproperties=_properties(labels))
    names = [*(_label(source, i) for i in rows), "(its own)"]
    axes.set_yticks(range(len(rows) + 1), names, fontproperties=_properties(names))
    axes.set(xlabel=xlabel, ylabel=ylabel, title=alignment.kind)
    return _picture(figure)


def heat_overlay(heat: Tensor, images: Tensor | None = None) -> Tensor:
    """Heat [frames, height, width] in colours, shining on the images [frames, any height, any width, 3] in dim grey:
    [frames, height, width, 3]. Without images it shines on black."""
    from matplotlib import colormaps

    inferno: Any = colormaps["inferno"]
    colours = torch.tensor(inferno.colors)[(255 * heat).round().long()]
    if images is None:
        return colours
    images = as_decoded(images, heat.shape[1:])
    images = rearrange(images[..., :3].to(heat), "frames height width colour -> frames colour height width")
    images = F.interpolate(images, size=heat.shape[1:], mode="bilinear", antialias=True)
    grey = DIM * reduce(images, "frames colour height width -> frames height width 1", "mean")
    return 1 - (1 - colours) * (1 - grey)


def heat_grid(words: Sequence[str], overlays: Sequence[Tensor], title: str) -> Tensor:
    """A captioned row for each word of its overlay [frames, height, width, 3], a column for each frame."""
    frames, *size, _ = overlays[0].shape
    longer = min(max(GRID // frames, SMALLEST), LARGEST)
    cell = [round(longer * side / max(size)) for side in size]
    pictures = rearrange(torch.cat(list(overlays)), "pictures height width colour -> pictures colour height width")
    cells = F.pad(F.interpolate(pictures, size=cell, mode="bilinear", antialias=True), [GAP] * 4, value=1)
    high, wide = cells.shape[2:]
    tiled = rearrange(cells, "(words frames) c h w -> (words h) (frames w) c", frames=frames)
    captions = [_plain(shortened(word, LONGEST)) for word in words]

    # Placed by hand in inches, so that the tiles' pixels are the picture's and captions of any length have their room.
    left, top, end = 0.2 + max(map(_width, captions)), 0.6, 0.1
    height, width = (side / DPI for side in tiled.shape[:2])
    whole = left + width + end, top + height + end
    figure, axes = _figure(*whole)
    axes.set_position((left / whole[0], end / whole[1], width / whole[0], height / whole[1]))
    axes.imshow(tiled.numpy())
    axes.set_xticks([wide * (i + 0.5) for i in range(frames)], [f"frame {i + 1}" for i in range(frames)])
    axes.set_yticks([high * (i + 0.5) for i in range(len(words))], captions, size=CAPTION)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.set_frame_on(False)
    axes.set_title(title, size=CAPTION)
    return _picture(figure)


def labelled(images: Tensor, text: str, side: str = "left") -> Tensor:
    """Images [frames, height, width, 3] under a strip that says `text` at one side of it, "left" or "right", so that
    nothing of them is covered: [frames, strip + height, width, 3]."""
    from PIL import Image, ImageDraw

    _, height, width, _ = images.shape
    high = max(2 * round(height / 32), 16)  # even, as many video encoders want it
    strip, margin = Image.new("L", (width, high), STRIP), high // 3
    x, anchor = {"left": (margin, "lm"), "right": (width - margin, "rm")}[side]
    font, text = _fitted(shortened(text, 10 * width), round(0.7 * high), width - 2 * margin)
    ImageDraw.Draw(strip).text((x, high / 2), text, fill=LETTERS, font=font, anchor=anchor)
    grey = torch.tensor(list(strip.tobytes()), dtype=images.dtype, device=images.device) / 255
    strip = repeat(grey, "(h w) -> frames h w colour", frames=len(images), h=high, colour=3)
    return torch.cat([strip, images], dim=1)


def table_picture(rows: Sequence[Sequence[str]], notes: Sequence[str] = ()) -> Tensor:
    """Rows of texts, the first of them the heading; the first column begins at the left, the others end at the right.
    The notes stand below, in small."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(_width, column)) for column in columns]
    line, gap, edge = 0.32, 0.45, 0.25  # inches
    ends = [edge + widths[0] + sum(widths[1 : i + 1]) + gap * i for i in range(len(widths))]
    wide = ends[-1] + edge
    small = [part for note in notes for part in wrap(note, int((wide - 2 * edge) * NOTE_LETTERS))]
    tall = 2 * edge + line * len(rows) + (0.15 + 0.19 * len(small) if small else 0)

    # In inches from the upper left corner.
    figure, axes = _figure(wide, tall)
    axes.set(position=[0, 0, 1, 1], xlim=[0, wide], ylim=[tall, 0])
    axes.set_axis_off()
    for row, texts in enumerate(rows):
        y = edge + line * (row + 0.5)
        for column, text in enumerate(texts):
            x, side = (ends[column], "right") if column else (edge, "left")
            weight = "bold" if row == 0 else "normal"
            axes.text(x, y, _plain(text), size=CAPTION, ha=side, va="center_baseline", weight=weight)
    for row, thickness in ((0, 1.2), (1, 0.6), (len(rows), 1.2)):
        axes.hlines(edge + line * row, edge, wide - edge, color="black", linewidth=thickness)
    for i, text in enumerate(small):
        y = edge + line * len(rows) + 0.15 + 0.19 * (i + 0.5)
        axes.text(edge, y, _plain(text), size=NOTE, ha="left", va="center_baseline", color="0.35")
    return _picture(figure)


def _part(name: str, tokens: list[int], first: int) -> tuple[list[int], str]:
    """(TOKENS of them at most, a quarter before the first that differs; the name of the side, and which they are)"""
    start = max(min(first - TOKENS // 4, len(tokens) - TOKENS), 0)
    part = tokens[start : start + TOKENS]
    whole = len(part) == len(tokens)
    return part, name if whole else f"{name}: tokens {start + 1} to {start + len(part)} of {len(tokens)}"


def _label(prompt: Prompt, position: int) -> str:
    text = prompt.pieces[position].text
    if any("\udc80" <= letter <= "\udcff" for letter in text):  # a byte of a character, which has no glyph
        word = prompt.word_at.get(position)
        text = word.text if word is not None and position == word.tokens[0] else "…"
    return _plain(shortened(text, LONGEST))


def _plain(text: str) -> str:
    return text.replace("$", r"\$")  # a dollar sign would start a formula


def _fitted(text: str, size: int, room: float) -> tuple[FreeTypeFont, str]:
    """(font, text) to fit into so many pixels: smaller letters, down to what can be read, then fewer."""
    font = _font(text, size)
    while font.getlength(text) > room and font.size > LEGIBLE:
        font = font.font_variant(size=font.size - 1)
    if font.getlength(text) > room:
        too_many = bisect_right(range(len(text)), room, key=lambda n: font.getlength(_cut(text, n)))
        text = _cut(text, max(too_many - 1, 0))
    return font, text


def _cut(text: str, letters: int) -> str:
    return text[:letters].rstrip() + "…"


def _font(text: str, size: int) -> FreeTypeFont:
    from PIL import ImageFont

    return ImageFont.truetype(font_file(text), size)


def _properties(texts: Sequence[str]) -> FontProperties:
    from matplotlib.font_manager import FontProperties

    return FontProperties(fname=font_file("".join(texts)))


def _width(caption: str) -> float:
    """In inches."""
    return _font(caption, POINTS).getlength(caption) / POINTS * CAPTION / POINTS


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    return figure, figure.add_subplot()


def _picture(figure: Figure) -> Tensor:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[None, ..., :3]).float() / 255
