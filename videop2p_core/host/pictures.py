"""Pictures that explain: [1, height, width, 3], values 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..prompts import Alignment, Prompt


def loss_plot(losses: Sequence[float] | Tensor, smooth: float = 0.95) -> Tensor:
    """The loss of every step, and its running mean: v := smooth v + (1 - smooth) loss, corrected for its start."""
    losses = torch.as_tensor(losses).tolist()
    means, mean = [], 0.0
    for step, loss in enumerate(losses, 1):
        mean = smooth * mean + (1 - smooth) * loss
        means.append(mean / (1 - smooth**step))
    figure, axes = _figure(8, 4.5)
    steps = range(1, len(losses) + 1)
    axes.plot(steps, losses, color="tab:blue", alpha=0.35, marker="." if len(losses) < 20 else None, label="loss")
    axes.plot(steps, means, color="tab:blue", label="running mean")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    return _picture(figure)


def alignment_picture(source: Prompt, target: Prompt, alignment: Alignment, weights: Tensor) -> Tensor:
    """How the target's tokens (columns) take the maps of the source's (rows), and in the last row what they keep.

    weights [N_target] are written under the tokens that they change.
    """
    rows, columns = list(source.content), list(target.content)
    shares = torch.cat([alignment.source[rows][:, columns], alignment.own[None, columns]])
    labels = [_label(target, j) + ("" if weights[j] == 1 else f" × {weights[j]:g}") for j in columns]
    figure, axes = _figure(2.5 + 0.5 * len(columns), 2 + 0.4 * len(rows))
    axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.axhline(len(rows) - 0.5, color="gray", linewidth=1)
    axes.set_xticks(range(len(columns)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(rows) + 1), [*(_label(source, i) for i in rows), "(its own)"])
    axes.set(xlabel="target", ylabel="source", title=alignment.kind)
    return _picture(figure)


def _label(prompt: Prompt, position: int) -> str:
    # A stray byte of a character has no glyph, and a dollar sign would start a formula.
    return prompt.pieces[position].text.encode("utf-8", "replace").decode().replace("$", r"\$")


def _figure(width: float, height: float):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    return figure, figure.add_subplot()


def _picture(figure) -> Tensor:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return torch.from_numpy(np.array(canvas.buffer_rgba())[None, ..., :3]).float() / 255
