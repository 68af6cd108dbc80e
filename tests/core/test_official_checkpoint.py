import os

import pytest
import torch
from comfyui_videop2p.videop2p_core.storage import official_checkpoint as foreign

BLOCK, THEIRS = "middle_block.1.transformer_blocks.0", "mid_block.attentions.0.transformer_blocks.0"
QUERY, KEY, CONV = f"{BLOCK}.attn1.to_q.weight", f"{BLOCK}.attn1.to_k.weight", "input_blocks.0.0.weight"
TEMPORAL, NORM = f"{BLOCK}.attn_temp.to_q.weight", f"{BLOCK}.norm_temp.bias"
IMAGE_NAMES = {
    "conv_in.weight": CONV,
    f"{THEIRS}.attn1.to_q.weight": QUERY,
    f"{THEIRS}.attn1.to_k.weight": KEY,
    f"{THEIRS}.attn1.to_q.bias": f"{BLOCK}.attn1.to_q.bias",  # the host maps what no UNet has
}


@pytest.fixture
def own():
    generator = torch.Generator().manual_seed(0)
    shapes = {CONV: (4, 2, 3, 3), QUERY: (4, 4), KEY: (4, 4), TEMPORAL: (4, 4), NORM: (4,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


@pytest.fixture
def names(own):
    return foreign.names_of(IMAGE_NAMES, own)


@pytest.fixture
def shapes(own):
    return {name: tensor.shape for name, tensor in own.items()}


@pytest.fixture
def checkpoint(own, names):
    return {theirs: own[name] for theirs, name in names.items()}


# --- names ------------------------------------------------------------------------------------------------------------


def test_temporal_layers_are_named_after_their_block(own, names):
    assert names[f"{THEIRS}.attn_temp.to_q.weight"] == TEMPORAL and names[f"{THEIRS}.norm_temp.bias"] == NORM
    assert set(names.values()) == set(own)


@pytest.mark.parametrize("prefix", ["", *foreign.PREFIXES])
def test_both_sorts_of_names_are_read_whatever_stands_before_them(own, names, shapes, checkpoint, prefix):
    other = {"first_stage_model.conv.weight": torch.zeros(1)} if prefix else {}
    for tensors in (checkpoint, own):
        given = foreign.by_own_names({prefix + n: t for n, t in tensors.items()} | other, names, shapes)
        assert given.keys() == own.keys() and all(given[name] is own[name] for name in own)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            lambda c: c.update({"motion.weight": torch.zeros(1)}),
            "holds what this model's UNet has not, motion.weight: co",
        ),
        (lambda c: c.pop("conv_in.weight"), "lacks conv_in.weight: a whole UNet is needed"),
        (lambda c: c.pop(f"{THEIRS}.norm_temp.bias"), rf"lacks {THEIRS}\.norm_temp\.bias"),
        (
            lambda c: c.update({"conv_in.weight": torch.zeros(8, 2, 3, 3)}),
            r"another size, with input_blocks.0.0.weight \[8, 2, 3, 3\]",
        ),
        (
            lambda c: [c.update({f"{i}.lora": c.pop(name)}) for i, name in enumerate(list(c))],
            r"no weight of this model's UNet, but 0\.lora, 1\.lora, 2\.lora and 2 more",
        ),
        (dict.clear, "holds no weight at all"),
    ],
)
def test_what_does_not_fit_is_named(names, shapes, checkpoint, change, sentence):
    change(checkpoint)
    with pytest.raises(foreign.ForeignError, match=sentence):
        foreign.by_own_names(checkpoint, names, shapes)


def test_a_checkpoint_may_have_no_temporal_layers(names, shapes, checkpoint):
    image = {name: tensor for name, tensor in checkpoint.items() if "_temp" not in name}
    assert set(foreign.by_own_names(image, names, shapes)) == {CONV, QUERY, KEY}


# --- what differs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_no_other_base_model(own, dtype):
    own[KEY] = own[KEY] * 1e-7  # below what half precision resolves
    rounded = {name: tensor.to(dtype) for name, tensor in own.items()}
    assert not foreign.differing(rounded, own) and not foreign.differing(own, rounded)


def test_another_base_model_is_told_by_what_tuning_leaves_alone(own):
    given = {name: 1.01 * tensor for name, tensor in own.items()}
    assert foreign.differing(given, own) == pytest.approx({CONV: 0.01, KEY: 0.01}, rel=1e-3)
    given |= {CONV: own[CONV], KEY: own[KEY] + torch.nan}
    assert set(foreign.differing(given, own)) == {KEY}


def test_a_tuning_is_what_changed(own):
    given = own | {QUERY: own[QUERY] + 1, TEMPORAL: (own[TEMPORAL] + 1).half()}
    tuning = foreign.tuning_between(own, given)
    assert set(tuning.deltas) == {QUERY} and set(tuning.temporal) == {TEMPORAL, NORM}
    torch.testing.assert_close(tuning.deltas[QUERY], torch.ones(4, 4))
    assert tuning.temporal[TEMPORAL].dtype == torch.float32 and tuning.steps == 0


def test_what_training_froze_is_no_delta(own):
    assert not foreign.tuning_between(own, own).deltas


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files, chosen",
    [
        (["config.json", "diffusion_pytorch_model.bin"], ["diffusion_pytorch_model.bin"]),
        (
            ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"],
            ["diffusion_pytorch_model.safetensors"],
        ),
        (
            [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (2, 1)]
            + ["diffusion_pytorch_model.safetensors.index.json"],
            [f"diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)],
        ),
        (["pytorch_model.bin", "diffusion_pytorch_model.bin.index.json"], []),
    ],
)
def test_weights_are_found_in_a_folder(files, chosen):
    assert foreign.weight_files(files) == chosen


def test_folders_with_a_unet_are_found_once_each():
    file = "diffusion_pytorch_model.safetensors"
    files = [
        f"rider/unet/{file}", "rider/unet/config.json", f"rider/vae/{file}", "rider/text_encoder/model.safetensors",
        "clips/ball/diffusion_pytorch_model.bin", f"unet/{file}", f".new/unet/{file}", file, "own.safetensors",
    ]  # fmt: skip
    files = [file.replace("/", os.sep) for file in files]
    assert foreign.checkpoint_folders(files) == [os.path.join("clips", "ball"), "rider", "unet"]
