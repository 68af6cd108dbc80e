"""An edit of Prompt-to-Prompt as a pair of matrices, from a mapper or from columns, as its paper writes them."""

import torch


def swap(mapper):
    """Source maps sent through a word-to-word mapper [N_source, N_target] (arXiv 2208.01626, 3.1)."""
    return mapper, torch.zeros_like(mapper[..., 0, :])


def refine(columns, gain, source_tokens):
    """Each target column n takes gain[n] of source column columns[n], and keeps the rest (arXiv 2208.01626, 3.2).

    columns: [N_target] source token of each target token, -1 for none (its gain must be 0).
    """
    taken = torch.arange(source_tokens)[:, None] == columns  # [N_source, N_target]
    return taken * gain, 1 - gain
