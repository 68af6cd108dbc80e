"""What loads into a model or changes its prompts: chains of LoRAs, merges, hypernetworks, hooks, CLIP skip."""

import folder_paths
import pytest
import torch
from comfy_extras.nodes_hooks import ConditioningSetProperties, CreateHookLora
from comfy_extras.nodes_hypernetwork import HypernetworkLoader
from comfy_extras.nodes_model_merging import ModelMergeBlocks, ModelMergeSimple, ModelSubtract
from comfyui_videop2p.tests.host.calls import SOURCE, control, encode, run, sample
from comfyui_videop2p.tests.host.checkpoints import Noise, lora
from comfyui_videop2p.tests.host.test_wiring import assert_null_text_runs_on_this_model
from comfyui_videop2p.videop2p_core.host.demo_model import load_unet
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of
from safetensors.torch import save_file

import nodes as stock

DOWN = "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q"
MID = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v"
TEXT = "lora_te_text_model_encoder_layers_1_self_attn_v_proj"
LORAS = {
    "one.safetensors": {DOWN: (64, 64), MID: (128, 128), TEXT: (128, 128)},
    "two.safetensors": {MID: (128, 128), TEXT: (128, 128)},
}


def inverted(inverting, model, **inputs):
    return run("DDIMInvert", **inverting | {"model": model, "steps": 2} | inputs)[0]


def edited(model, inversion, edit, **inputs):
    return sample(model, inversion, edit, **inputs)[0][0]["samples"]


# --- LoRAs ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def loras(tmp_path, monkeypatch):
    """{name: (model, clip) -> (model, clip)}, and their folder in the host's list."""
    for seed, (name, layers) in enumerate(LORAS.items()):
        save_file(lora(layers, Noise(seed, values=2**16)), tmp_path / name)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))

    def loader(name):
        return lambda model, clip: stock.LoraLoader().load_lora(model, clip, name, 1.0, 1.0)

    return [loader(name) for name in LORAS]


def test_a_chain_of_loras_acts_wherever_the_inflation_stands_in_it(loras, demo, inverting):
    def inflate(model, clip):
        return run("InflateUNet", model=model)[0], clip

    found = []
    for place in range(3):
        model, clip = demo[:2]
        for load in [*loras[:place], inflate, *loras[place:]]:
            model, clip = load(model, clip)
        inversion = inverted(inverting, model, source=encode(clip, SOURCE), null=encode(clip, ""))
        found.append((inversion, edited(model, inversion, control(clip)[0]), identity_of(model)))
    (first, edit, name), *others = found
    for inversion, other, identity in others:
        assert torch.equal(inversion.trajectory, first.trajectory) and torch.equal(inversion.source, first.source)
        assert torch.equal(other, edit)
        assert identity == name
    one = run("InflateUNet", model=loras[0](*demo[:2])[0])[0]
    assert identity_of(one) != name
    assert not torch.equal(inverted(inverting, one).trajectory, first.trajectory)


def test_a_hook_lora_on_the_prompts_is_the_lora_on_the_model(loras, demo, model, inverting):
    clip = demo[1]
    (hooks,) = CreateHookLora().create_hook("one.safetensors", 1.0, 0.0)

    def hooked(conditioning):
        return ConditioningSetProperties().set_properties(conditioning, 1.0, "default", hooks=hooks)[0]

    source, null = hooked(inverting["source"]), hooked(inverting["null"])
    edit, _, target, _ = control(clip, blend_source="rabbit")
    inversion = inverted(inverting, model, source=source, null=null)
    by_hook = edited(model, inversion, edit, source=[source], target=[hooked(target)], null=[null])

    with_lora = loras[0](model, clip)[0]
    expected = inverted(inverting, with_lora)
    torch.testing.assert_close(inversion.trajectory, expected.trajectory, atol=1e-3, rtol=0)
    by_model = edited(with_lora, expected, edit)
    assert (by_hook - by_model).square().mean().sqrt() < 1e-2 * by_model.std()
    without = inverted(inverting, model)
    assert not torch.allclose(without.trajectory, expected.trajectory, atol=1e-2)
    losses = [
        run("TuneOnVideo", model=m, positive=positive, latent=inverting["latent"], steps=2)[1].losses
        for m, positive in ((model, source), (with_lora, inverting["source"]))
    ]
    torch.testing.assert_close(*losses, rtol=1e-4, atol=0)


# --- merges -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def other(demo):
    """A checkpoint of the same architecture with other weights."""
    with torch.inference_mode():
        model = load_unet()
        generator = torch.Generator().manual_seed(1)
        for weight in model.model.diffusion_model.parameters():
            weight.mul_(1 + 0.1 * torch.randn(weight.shape, generator=generator))
        return model


MERGES = {
    "ModelMergeSimple": lambda one, two: ModelMergeSimple().merge(one, two, 0.6),
    "ModelMergeBlocks": lambda one, two: ModelMergeBlocks().merge(one, two, input=0.5, middle=0.0, out=1.0),
    "ModelSubtract": lambda one, two: ModelSubtract().merge(one, two, 0.1),
}


@pytest.mark.parametrize("name", MERGES)
def test_a_merge_acts_before_inflation_and_after_it_alike(demo, model, clip, other, inverting, name):
    merge = MERGES[name]
    before, after = run("InflateUNet", model=merge(demo[0], other)[0])[0], merge(model, other)[0]
    first, second = (inverted(inverting, m) for m in (before, after))
    assert torch.equal(first.trajectory, second.trajectory)
    assert first.base_model == second.base_model != identity_of(model)
    assert not torch.allclose(first.trajectory, inverted(inverting, model).trajectory, atol=1e-2)
    assert edited(after, first, control(clip)[0]).isfinite().all()  # made with the one, edited with the other


def test_a_merge_is_there_while_the_model_is_tuned_on_and_differentiated(model, other, inverting, tuning):
    merged = MERGES["ModelMergeSimple"](model, other)[0]
    tuned, learnt, _ = run(
        "TuneOnVideo", model=merged, positive=inverting["source"], latent=inverting["latent"], steps=2
    )
    assert learnt.losses[0] != pytest.approx(tuning[1].losses[0].item(), rel=1e-3)
    assert_null_text_runs_on_this_model(tuned, inverting["source"], inverting["null"], inverting["latent"])


# --- hypernetworks ----------------------------------------------------------------------------------------------------


@pytest.fixture
def hypernetwork(tmp_path, monkeypatch):
    """Load Hypernetwork: keys and values of the widths 64 and 128 go through a linear layer each."""
    noise = Noise(values=2**16)
    layers = {
        width: [{"linear.0.weight": noise.weight((width, width)).float(), "linear.0.bias": torch.zeros(width)}] * 2
        for width in (64, 128)
    }
    torch.save(layers, tmp_path / "hyper.pt")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "hypernetworks", ([str(tmp_path)], {".pt"}))
    return lambda model: HypernetworkLoader.execute(model, "hyper.pt", 0.5).result[0]


def test_a_hypernetwork_acts_before_inflation_and_after_it_alike(hypernetwork, demo, model, clip, inverting):
    before, after = run("InflateUNet", model=hypernetwork(demo[0]))[0], hypernetwork(model)
    edit = control(clip, blend_source="rabbit")[0]
    first, second = (inverted(inverting, m) for m in (before, after))
    assert torch.equal(first.trajectory, second.trajectory)
    assert torch.equal(edited(before, first, edit), edited(after, second, edit))
    assert not torch.allclose(first.trajectory, inverted(inverting, model).trajectory, atol=1e-2)
    with pytest.raises(RuntimeError, match="holds weights that were loaded for inference"):
        run("TuneOnVideo", model=after, positive=inverting["source"], latent=inverting["latent"], steps=1)


# --- CLIP -------------------------------------------------------------------------------------------------------------


def test_clip_skip_belongs_to_all_prompts_of_an_edit(clip, model, inverting):
    (skipped,) = stock.CLIPSetLastLayer().set_last_layer(clip, -2)
    inversion = inverted(inverting, model, source=encode(skipped, SOURCE), null=encode(skipped, ""))
    assert edited(model, inversion, control(skipped)[0]).isfinite().all()
    with pytest.raises(ValueError, match="the clip was inverted with a prompt of another CLIP than"):
        edited(model, inversion, control(clip)[0])
