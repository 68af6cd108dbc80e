"""One prompt in several precisions, and several prompts."""

import pytest
import torch
from comfyui_videop2p.tests.host.calls import SOURCE, encode
from comfyui_videop2p.tests.host.wan import CAPTIONS, tiny_text
from comfyui_videop2p.videop2p_core.host.comfy.conditioning import same_embedding
from comfyui_videop2p.videop2p_core.host.demo_model import load_demo_model

LONG = "rabbit " * 74
TEXTS = {
    "CLIP": ([SOURCE, "a blue star in the meadow", f"{LONG}red", ""], [
        ("a blue rabbit on the beach", SOURCE), ("a red star on the beach", SOURCE),
        ("a red rabbit at the beach", SOURCE), ("a red rabbit on the photo", SOURCE),
        ("a (red:1.2) rabbit on the beach", SOURCE), (f"{LONG}blue", f"{LONG}red"), ("", SOURCE),
    ]),
    "T5": ([*CAPTIONS[:3], ""], [
        *((caption, CAPTIONS[0]) for caption in CAPTIONS[1:]), ("a (red:1.1) ball on sand", CAPTIONS[0]),
        ("", CAPTIONS[0]),
    ]),
}  # fmt: skip


def text_encoder(kind, dtype=torch.float32):
    """Its weights rounded to what the type holds."""
    with torch.inference_mode():
        clip = load_demo_model()[1] if kind == "CLIP" else tiny_text.__wrapped__()
        for parameter in clip.cond_stage_model.parameters():
            eight_bits = dtype.itemsize == 1 and parameter.ndim > 1
            scale = parameter.abs().max() / 448 if eight_bits else 1  # the largest number of the format
            if eight_bits or dtype.itemsize > 1:
                parameter.data = (parameter.data / scale).to(dtype).to(parameter) * scale
    return clip


@pytest.fixture(scope="module", params=TEXTS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def exact(kind):
    return text_encoder(kind)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float8_e4m3fn])
def test_a_prompt_is_itself_in_every_precision(kind, exact, dtype):
    rounded = text_encoder(kind, dtype)
    for prompt in TEXTS[kind][0]:
        found, embedding = encode(rounded, prompt), encode(exact, prompt)[0][0]
        assert same_embedding(found, embedding) and same_embedding([[embedding, {}]], found[0][0])
        if dtype.itemsize > 1:
            assert same_embedding([[found[0][0].to(dtype), {}]], embedding)


def test_another_prompt_of_as_many_tokens_is_another(kind, exact):
    for prompt, other in TEXTS[kind][1]:
        found, embedding = encode(exact, prompt), encode(exact, other)[0][0]
        assert found[0][0].shape == embedding.shape
        assert not same_embedding(found, embedding), prompt
