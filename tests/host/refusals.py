"""A refusal by its sentence, and a model that must not be run before it."""

import re

import pytest
from comfyui_videop2p.tests.host.calls import control

ATTENTION = "middle_block.1.transformer_blocks.0.attn1.to_q.weight"


def refused(sentence):
    return pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence))


class NoWork:
    """Fails the test where the model is run."""

    def __call__(self, executor, *args, **kwargs):
        raise AssertionError("the model was run before the input was looked at")


@pytest.fixture(scope="module")
def idle(model):
    model = model.clone()
    model.add_wrapper_with_key("diffusion_model", "no work", NoWork())
    return model


@pytest.fixture(scope="module")
def edit(clip):
    return control(clip)[0]
