"""The nodes on the demo model, as ComfyUI calls them: in inference mode, by their schema's names."""

import asyncio
import json
import re

import comfy.model_management
import comfy.samplers
import comfy.utils
import folder_paths
import latent_preview
import pytest
import torch
from comfy_api.latest import io
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.nodes import VideoP2PExtension
from comfyui_videop2p.videop2p_core.host import pictures
from comfyui_videop2p.videop2p_core.host.demo import load_demo_model
from comfyui_videop2p.videop2p_core.host.identity import base_of, identity_of
from comfyui_videop2p.videop2p_core.host.progress import loss_progress
from safetensors.torch import save_file

FRAMES, STEPS = 2, 3
SOURCE = "a red ball on the beach"
NODES = {node.GET_SCHEMA().node_id: node for node in asyncio.run(VideoP2PExtension().get_node_list())}
OURS = sorted(NODES)


def run(node_id, **inputs):
    """The outputs of a node; inputs that are not given have their schema's defaults."""
    schema = NODES[f"VP2P_{node_id}"].GET_SCHEMA()
    defaults = {entry.id: entry.default for entry in schema.inputs if hasattr(entry, "default")}
    if schema.is_input_list:
        defaults = {name: [value] for name, value in defaults.items()}
    with torch.inference_mode():
        return NODES[schema.node_id].execute(**defaults | inputs).result


def encode(clip, text):
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))


@pytest.fixture(scope="module")
def demo():
    with torch.inference_mode():
        return load_demo_model()


@pytest.fixture(scope="module")
def clip(demo):
    return demo[1]


@pytest.fixture(scope="module")
def model(demo):
    return run("InflateUNet", model=demo[0])[0]


@pytest.fixture(scope="module")
def latent():
    return {"samples": 2 * torch.randn(FRAMES, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


@pytest.fixture(scope="module")
def inverting(model, clip, latent):
    """The inputs of a small inversion."""
    return {
        "model": model, "source": encode(clip, SOURCE), "null": encode(clip, ""), "latent": latent, "steps": STEPS,
        "method": "direct",
    }  # fmt: skip


@pytest.fixture(scope="module")
def inversion(inverting):
    return run("DDIMInvert", **inverting)[0]


@pytest.fixture(scope="module")
def tuning(model, clip, latent):
    """(model, tuning, loss plot) of a small tuning."""
    return run("TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=latent, steps=2, learning_rate=1e-3)


def control(clip, target="a blue ball on the beach", source=SOURCE, **inputs):
    return run("AttentionController", clip=clip, source_prompt=source, target_prompt=target, **inputs)


def sample(model, inversion, *edits, **inputs):
    return run("DecoupledSample", model=[model], inversion=[inversion], edit=list(edits), **inputs)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for kind in ("inversions", "tunings"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, f"videop2p_{kind}", ([str(tmp_path / kind)], set()))
    return tmp_path


# --- schemas ----------------------------------------------------------------------------------------------------------


def test_the_ids_are_those_that_were_promised():
    assert set(OURS) >= {
        f"VP2P_{name}"
        for name in (
            "InflateUNet",
            "TuneOnVideo",
            "SaveTuning",
            "LoadTuning",
            "DDIMInvert",
            "SaveInversion",
            "LoadInversion",
            "AttentionController",
            "DecoupledSample",
            "DecoupledGuider",
            "DecoupledSampler",
            "LoadDemoModel",
        )  # fmt: skip
    }


@pytest.mark.parametrize("node_id", OURS)
def test_every_input_explains_itself_and_is_bounded(node_id):
    schema = NODES[node_id].GET_SCHEMA()
    assert schema.display_name and schema.description and schema.search_aliases
    for entry in (*schema.inputs, *schema.outputs):
        assert entry.tooltip and entry.tooltip.endswith("."), entry.id
    for entry in schema.inputs:
        if isinstance(entry, (io.Int.Input, io.Float.Input)):
            assert entry.min <= entry.default <= entry.max, entry.id
        elif isinstance(entry, io.Combo.Input) and not node_id.startswith("VP2P_Load"):
            assert entry.default in entry.options, entry.id
        elif isinstance(entry, (io.String.Input, io.Boolean.Input)):
            assert entry.default is not None, entry.id


# --- the whole way ----------------------------------------------------------------------------------------------------


def test_invert_control_sample(model, clip, latent, inversion):
    edit, source, target, picture = control(clip, blend_source="ball", cross_window=0.8)
    assert torch.equal(source[0][0], inversion.source) and not torch.equal(target[0][0], inversion.source)
    assert picture.shape[0] == 1 and picture.shape[-1] == 3 and picture.min() >= 0 and picture.max() <= 1
    (edited,), reconstruction, (mask,) = sample(model, inversion, edit)
    assert edited["samples"].shape == latent["samples"].shape and edited["samples"].isfinite().all()
    torch.testing.assert_close(reconstruction["samples"], latent["samples"], atol=1e-4, rtol=0)
    assert mask.shape == (FRAMES, 128, 128) and set(mask.unique().tolist()) == {0.0, 1.0}
    kept = (mask[:, ::8, ::8] == 0)[:, None].expand_as(latent["samples"])
    changed = edited["samples"] - reconstruction["samples"]
    assert changed[kept].abs().max() < 1e-4 < changed[~kept].abs().mean()


def test_several_edits_come_back_in_order_from_one_pass_of_the_source(model, clip, inversion):
    edits = [control(clip, f"a {colour} ball on the beach", temporal_window=1.0)[0] for colour in ("blue", "green")]
    calls = []

    def count(executor, *args, **kwargs):
        calls.append(len(args[0]))
        return executor(*args, **kwargs)

    counted = model.clone()
    counted.add_wrapper_with_key("diffusion_model", "count", count)
    together, _, masks = sample(counted, inversion, *edits)
    rows_together = sum(calls)
    alone = [sample(counted, inversion, edit)[0][0]["samples"] for edit in edits]
    rows_alone = sum(calls) - rows_together
    assert len(together) == len(masks) == 2 and all((mask == 1).all() for mask in masks)
    for latent, expected in zip(together, alone, strict=True):
        torch.testing.assert_close(latent["samples"], expected, atol=1e-4, rtol=0)
    assert not torch.allclose(*alone, atol=1e-2)
    # source: its frames a step; a target: twice that
    assert rows_together == STEPS * FRAMES * 5 and rows_alone == STEPS * FRAMES * 6


def test_the_stock_sampler_gives_the_same_edit(model, clip, inversion):
    edit = control(clip)[0]
    expected = sample(model, inversion, edit)[0][0]["samples"]
    guider, sigmas, start = run("DecoupledGuider", model=model, inversion=inversion, edit=edit)
    (sampler,) = run("DecoupledSampler")
    with torch.inference_mode():
        edited, _ = SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, sampler, sigmas, start).result
    assert torch.equal(edited["samples"], expected)
    with torch.inference_mode(), pytest.raises(ValueError, match="connect Decoupled Sampler"):
        euler = comfy.samplers.sampler_object("euler")
        SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, euler, sigmas, start)
    with torch.inference_mode(), pytest.raises(ValueError, match="connect the sigmas of Decoupled Guider"):
        SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, sampler, sigmas[1:], start)
    with torch.inference_mode(), pytest.raises(ValueError, match="connect Decoupled Guider"):
        plain = comfy.samplers.CFGGuider(model)
        plain.set_conds(edit.source, edit.target)
        SamplerCustomAdvanced.execute(Noise_EmptyNoise(), plain, sampler, sigmas, start)


def test_one_edit_serves_inversions_of_any_steps(model, clip, inverting):
    edit = control(clip)[0]
    for steps in (2, 4):
        inversion = run("DDIMInvert", **inverting | {"steps": steps})[0]
        assert sample(model, inversion, edit)[0][0]["samples"].isfinite().all()


def test_a_mask_limits_the_edit_and_a_whole_prompt_may_weigh(model, clip, inversion):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    edit = control(clip, mask=mask, word_weights="blue: 3, the beach: 0.5")[0]
    (edited,), reconstruction, (used,) = sample(model, inversion, edit)
    assert used.shape == (FRAMES, 128, 128) and (used[:, :64] == 1).all() and (used[:, 64:] == 0).all()
    changed = (edited["samples"] - reconstruction["samples"]).abs()
    assert changed[:, :, 8:].max() < 1e-4 < changed[:, :, :8].mean()


def test_a_mask_may_take_the_place_of_the_words(model, clip, inversion):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    words = {"blend_source": "ball", "mask": mask}
    used = {
        mode: sample(model, inversion, control(clip, mask_mode=mode, **words)[0])[2][0] for mode in ("limit", "replace")
    }
    assert (used["replace"][:, :64] == 1).all() and (used["replace"][:, 64:] == 0).all()
    assert (used["limit"] <= used["replace"]).all() and (used["limit"] < used["replace"]).any()


def test_null_text_inversion_has_a_reconstruction_and_a_report(inverting):
    inversion, noise, reconstruction, report = run(
        "DDIMInvert", **inverting | {"method": "shared null-text", "steps": 2, "inner_steps": 1}
    )
    assert inversion.null.shape == (2, 1, 77, 128)
    assert noise["samples"].shape == reconstruction["samples"].shape == inverting["latent"]["samples"].shape
    assert "null text: 2 updates" in report and re.search(r"error \d+\.\d+ %", report)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_saved_inversion_comes_back_and_nothing_is_overwritten(folders, inversion):
    for _ in range(2):
        assert run("SaveInversion", inversion=inversion, filename_prefix="clips/ball") is None
    names = folder_paths.get_filename_list("videop2p_inversions")
    assert names == ["clips/ball_00001_.safetensors", "clips/ball_00002_.safetensors"]
    loaded = run("LoadInversion", inversion_name=names[1])[0]
    assert torch.equal(loaded.trajectory, inversion.trajectory) and loaded.base_model == inversion.base_model


def test_a_saved_tuning_gives_the_tuned_model_again(folders, model, tuning, clip, latent):
    tuned, value, plot = tuning
    assert plot.shape[0] == 1 and plot.shape[-1] == 3 and plot.std() > 0.01
    run("SaveTuning", tuning=value)
    loaded, _ = run("LoadTuning", model=model, tuning_name="tuning_00001_.safetensors")
    assert identity_of(loaded) == identity_of(tuned) != identity_of(model)
    with torch.inference_mode():
        samples = [predict(m, clip, latent) for m in (model, tuned, loaded)]
    assert torch.equal(samples[1], samples[2]) and not torch.allclose(samples[0], samples[1], atol=1e-4)
    # now that it is loaded, its weights hold the tuning: the base model is still known
    assert base_of(tuned) == base_of(model) == value.base_model


def predict(model, clip, latent):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(encode(clip, SOURCE), encode(clip, SOURCE))
    return guider.sample(
        latent["samples"], torch.zeros_like(latent["samples"]), comfy.samplers.sampler_object("euler"),
        torch.tensor([2.0, 0.0]), disable_pbar=True, seed=0,
    )  # fmt: skip


def test_files_that_are_none_of_ours(folders, inversion):
    (folders / "tunings").mkdir()
    (folders / "tunings" / "broken.safetensors").write_bytes(b"no safetensors at all")
    save_file({"weight": torch.zeros(2)}, folders / "tunings" / "foreign.safetensors")
    for name, sentence in {
        "broken": "broken.safetensors is not a complete safetensors file",
        "foreign": "foreign.safetensors holds no file of Video-P2P, not a saved tuning",
        "missing": "'missing.safetensors' not found",
    }.items():
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(sentence)):
            run("LoadTuning", model=None, tuning_name=f"{name}.safetensors")


# --- progress ---------------------------------------------------------------------------------------------------------


class Stop:
    """A progress hook that interrupts after the first step."""

    def __init__(self, stop=True):
        self.seen, self.stop = [], stop

    def __call__(self, value, total, preview, node_id=None):
        self.seen.append((value, total, preview))
        if self.stop:
            comfy.model_management.interrupt_current_processing()


@pytest.fixture
def hook(monkeypatch):
    def install(stop):
        hook = Stop(stop)
        monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
        return hook

    latent_preview.set_preview_method("latent2rgb")
    yield install
    latent_preview.set_preview_method("default")
    comfy.model_management.interrupt_current_processing(False)


def test_inversion_and_sampling_show_every_step(hook, model, clip, inverting, inversion):
    edit = control(clip)[0]
    for work, steps in (
        (lambda: run("DDIMInvert", **inverting), STEPS),
        (lambda: run("DDIMInvert", **inverting | {"method": "negative-prompt"}), 2 * STEPS),
        (lambda: sample(model, inversion, edit), STEPS),
    ):
        bar = hook(stop=False)
        work()
        assert [seen[:2] for seen in bar.seen] == [(step + 1, steps) for step in range(steps)]
        assert all(preview[0] == "JPEG" and preview[1].size == (16, 16) for *_, preview in bar.seen)


def test_the_loss_curve_is_the_preview_of_a_tuning(hook):
    bar, progress = hook(stop=False), loss_progress(2, seconds=0)
    progress(0, 0.5)
    progress(1, 0.25)
    assert [seen[:2] for seen in bar.seen] == [(1, 2), (2, 2)]
    assert bar.seen[1][2][1].size == tuple(pictures.loss_plot([0.5, 0.25]).shape[2:0:-1])


def test_everything_can_be_cancelled_within_a_step(hook, model, clip, latent, inverting, inversion):
    edit = control(clip)[0]
    before = identity_of(model)
    for work in (
        lambda: run("DDIMInvert", **inverting),
        lambda: run("DDIMInvert", **inverting | {"method": "per-frame null-text"}),
        lambda: run("TuneOnVideo", model=model, positive=inverting["source"], latent=latent, steps=5),
        lambda: sample(model, inversion, edit),
    ):
        bar = hook(stop=True)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            work()
        assert [value for value, *_ in bar.seen] == [1]
    assert identity_of(model) == before


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"target_prompt": " "}, "the target prompt is empty"),
        ({"source_prompt": ""}, "the source prompt is empty"),
        ({"blend_source": "star"}, "'star' is not a word of the source prompt: a, red, ball, on, the, beach"),
        ({"blend_target": "red"}, "'red' is not a word of the target prompt: a, blue, ball, on, the, beach"),
        ({"word_weights": "red: 2"}, "'red' is not a word of the target prompt"),
        ({"word_weights": "blue 2"}, "'blue 2' is no word with a weight: write each as 'origami: 2'"),
        ({"word_weights": "blue: much"}, "'blue: much' is no word with a weight"),
        ({"blend_source": "ball", "subtract": "car"}, "'car' is not a word of the prompt"),
        ({"subtract": "ball"}, "there are words to subtract but none to blend"),
        (
            {"target_prompt": "a blue striped ball on the beach", "edit": "replace"},
            "has 6 words and the target prompt 7",
        ),
        ({"target_prompt": "a blue zebra"}, "never learnt 'zebra'"),
        ({"clip": None}, "there is no CLIP"),
    ],
)
def test_prompts_and_words_that_cannot_be(clip, inputs, sentence):
    prompts = {"clip": clip, "source_prompt": SOURCE, "target_prompt": "a blue ball on the beach"}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        run("AttentionController", **prompts | inputs)


class NoWork:
    """Fails the test where the model is run."""

    def __call__(self, executor, *args, **kwargs):
        raise AssertionError("the model was run before the input was looked at")


@pytest.fixture(scope="module")
def idle(model):
    model = model.clone()
    model.add_wrapper_with_key("diffusion_model", "no work", NoWork())
    return model


@pytest.mark.parametrize("node_id", ["DDIMInvert", "TuneOnVideo"])
@pytest.mark.parametrize(
    "samples, sentence",
    [
        (torch.zeros(0, 4, 16, 16), "the latent has no frames"),
        (torch.full((2, 4, 16, 16), torch.nan), "not numbers"),
        (torch.zeros(2, 16, 16, 16), "this model takes [frames, 4, height, width]"),
        (torch.zeros(1, 4, 2, 16, 16), "this model takes [frames, 4, height, width]"),
    ],
)
def test_latents_that_are_no_clip(idle, inverting, node_id, samples, sentence):
    inputs = inverting if node_id == "DDIMInvert" else {"positive": inverting["source"]}
    with pytest.raises(ValueError, match=re.escape(sentence)):
        run(node_id, **inputs | {"model": idle, "latent": {"samples": samples}})


def test_models_and_conditionings_that_do_not_fit(idle, demo, inverting, latent):
    wide = [[torch.zeros(1, 77, 768), {}]]
    with pytest.raises(ValueError, match="the null conditioning has 768 channels, this model reads 128"):
        run("DDIMInvert", **inverting | {"model": idle, "null": wide})
    with pytest.raises(ValueError, match="the source input holds no text embedding"):
        run("DDIMInvert", **inverting | {"model": idle, "source": []})
    with pytest.raises(ValueError, match="put Inflate UNet before it"):
        run("TuneOnVideo", model=demo[0], positive=inverting["source"], latent=latent)


def test_a_tuned_model_is_not_inflated_again(tuning):
    with pytest.raises(ValueError, match="put Inflate UNet before the tuning"):
        run("InflateUNet", model=tuning[0])


def test_a_transformer_is_refused(demo, inverting):
    class Transformer(torch.nn.Module):
        pass

    model = demo[0].clone()
    model.add_object_patch("diffusion_model", Transformer())
    with pytest.raises(ValueError, match="connect an image model with a UNet"):
        run("DDIMInvert", **inverting | {"model": model})


def test_an_inversion_of_another_model_tuning_prompt_or_schedule(idle, demo, clip, inversion, tuning, model):
    edit = control(clip)[0]
    with pytest.raises(ValueError, match="the inversion was made with .*temporal layers, but the model connected is "):
        sample(demo[0], inversion, edit)
    with pytest.raises(ValueError, match="but the model connected is .*tuning"):
        sample(tuning[0], inversion, edit)
    with pytest.raises(ValueError, match="the clip was inverted with another prompt than 'a green ball on the beach'"):
        sample(idle, inversion, control(clip, source="a green ball on the beach")[0])
    other = model.clone()
    sampling = type(model.get_model_object("model_sampling"))(model.model.model_config)
    sampling.set_sigmas(sampling.sigmas * 1.1)
    other.add_object_patch("model_sampling", sampling)
    with pytest.raises(ValueError, match="other noise levels"):
        sample(other, inversion, edit)


def test_edits_masks_and_conditionings_that_do_not_fit(idle, clip, inversion):
    edit = control(clip)[0]
    with pytest.raises(ValueError, match="there is no edit"):
        sample(idle, inversion)
    with pytest.raises(ValueError, match=re.escape("The mask has shape [3, 8, 8]; give one of 1 or 2 frames")):
        sample(idle, inversion, control(clip, mask=torch.ones(3, 8, 8))[0])
    with pytest.raises(ValueError, match="there are 1 edits and 2 target conditionings"):
        sample(idle, inversion, edit, target=[edit.target, edit.target])
    with pytest.raises(ValueError, match="the target conditioning is not that of 'a blue ball on the beach'"):
        sample(idle, inversion, edit, target=[edit.source])
    with pytest.raises(ValueError, match="the null conditioning is not the one"):
        sample(idle, inversion, edit, null=[edit.source])
    with pytest.raises(ValueError, match="given 2 of one of these"):
        sample(idle, inversion, edit, null=[edit.source, edit.source])


def test_schemas_can_be_sent_to_a_browser():
    for node in NODES.values():
        json.dumps(node.GET_NODE_INFO_V1())
