"""How much memory is free, as a test says it, and what was given up for it."""

import logging

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfyui_videop2p.videop2p_core.host.model import free_memory as room
from comfyui_videop2p.videop2p_core.host.model import gradients
from comfyui_videop2p.videop2p_core.host.model import memory_budget as budget

LONG = 9  # frames


@pytest.fixture(scope="module")
def long():
    return {"samples": 2 * torch.randn(LONG, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


@pytest.fixture
def free(monkeypatch):
    """free(bytes): all that the host says is free."""

    def patch(amount):
        for module in (budget, room):
            monkeypatch.setattr(module, "free_memory", lambda device: amount)

    return patch


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    return caplog


@pytest.fixture
def checkpointed(monkeypatch):
    """Whether a copy was made that recomputes its activations."""
    asked = []
    real = gradients.checkpoint_blocks
    monkeypatch.setattr(gradients, "checkpoint_blocks", lambda model: (asked.append(model), real(model)))
    return asked


def seen_by(model):
    """(the model, rows of every call of its UNet)"""
    rows, model = [], model.clone()

    def watch(executor, x, *args, **kwargs):
        rows.append(len(x))
        return executor(x, *args, **kwargs)

    model.add_wrapper(WrappersMP.DIFFUSION_MODEL, watch)
    return model, rows


def warnings_in(log):
    return [record.getMessage() for record in log.records if record.levelno == logging.WARNING]
