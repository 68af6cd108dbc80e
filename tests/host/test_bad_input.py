"""What cannot work is said in a sentence, before the model is run."""

import json
import pickle
import re
import struct
from dataclasses import replace
from pathlib import Path

import comfy.controlnet
import comfy.model_patcher
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import Noise_EmptyNoise, SamplerCustomAdvanced
from comfyui_videop2p.tests.host.calls import SOURCE, STEPS, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.graphs import Graph, error_of, queue
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of
from comfyui_videop2p.videop2p_core.host.model.input_checks import check_everywhere
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from safetensors.torch import save_file

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


# --- words ------------------------------------------------------------------------------------------------------------


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
    prompts = {"clip": clip, "source_prompt": SOURCE, "target_prompt": TARGET}
    with refused(sentence):
        run("AttentionController", **prompts | inputs)


# --- models -----------------------------------------------------------------------------------------------------------

FLUX = {
    "image_model": "flux", "in_channels": 16, "out_channels": 16, "vec_in_dim": 8, "context_in_dim": 8,
    "hidden_size": 24, "mlp_ratio": 2.0, "num_heads": 2, "depth": 1, "depth_single_blocks": 1, "axes_dim": [4, 4, 4],
    "theta": 100, "patch_size": 2, "qkv_bias": True, "guidance_embed": False, "txt_ids_dims": [],
}  # fmt: skip
CAMERA = {
    "image_model": "wan2.1", "model_type": "camera", "dim": 24, "ffn_dim": 24, "num_heads": 2, "num_layers": 1,
    "in_dim": 32, "out_dim": 16, "text_dim": 8, "freq_dim": 8, "patch_size": (1, 2, 2),
}  # fmt: skip


def transformer(family, config):
    """A MODEL of another family, without weights."""
    model = getattr(comfy.supported_models, family)(config | {"dtype": torch.float32}).get_model({}, "", "meta")
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


OTHER_MODELS = {
    "a Flux model": lambda: transformer("Flux", FLUX),
    "a WAN21_Camera model": lambda: transformer("WAN21_Camera", CAMERA),
    "there is no model": lambda: None,
}


@pytest.mark.parametrize(
    "node_id", ["InflateUNet", "DDIMInvert", "TuneOnVideo", "Sample", "DecoupledGuider", "LoadTuning"]
)
@pytest.mark.parametrize("named", OTHER_MODELS)
def test_models_of_another_family_are_named(folders, inverting, inversion, edit, tuning, node_id, named):
    run("SaveTuning", tuning=tuning[1])
    inputs = {
        "InflateUNet": {},
        "DDIMInvert": inverting,
        "TuneOnVideo": {"positive": inverting["source"], "latent": inverting["latent"]},
        "DecoupledGuider": {"inversion": inversion, "edit": edit},
        "LoadTuning": {"tuning_name": "tuning_00001_.safetensors"},
    }
    model = OTHER_MODELS[named]()
    with refused(named):
        if node_id == "Sample":
            sample(model, inversion, edit)
        else:
            run(node_id, **inputs[node_id] | {"model": model})


def test_an_image_model_is_not_tuned_and_a_tuned_one_not_inflated(demo, inverting, tuning):
    with refused("put Inflate UNet before it"):
        run("TuneOnVideo", model=demo[0], positive=inverting["source"], latent=inverting["latent"])
    with refused("put Inflate UNet before the tuning"):
        run("InflateUNet", model=tuning[0])


# --- latents, conditionings, numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("node_id", ["DDIMInvert", "TuneOnVideo"])
@pytest.mark.parametrize(
    "given, sentence",
    [
        ({"samples": torch.zeros(0, 4, 16, 16)}, "the latent has no frames: connect a clip with at least one"),
        ({"samples": torch.full((2, 4, 16, 16), torch.nan)}, "not numbers (NaN or infinity): encode the clip anew"),
        ({"samples": torch.zeros(2, 16, 16, 16)}, "[2, 16, 16, 16], this model takes [frames, 4, height, width]"),
        ({"samples": torch.zeros(1, 4, 2, 16, 16)}, "this model takes [frames, 4, height, width]: encode the frames"),
        ({"samples": torch.zeros(1, 8, 16), "type": "audio"}, "this model takes [frames, 4, height, width]"),
        ({"samples": NestedTensor([torch.zeros(1, 4, 16, 16)])}, "the latent input holds no clip: connect VAE Encode"),
        (torch.zeros(2, 128, 128, 3), "the latent input holds no clip: connect VAE Encode"),
        (None, "the latent input holds no clip: connect VAE Encode"),
    ],
)
def test_latents_that_are_no_clip(idle, inverting, node_id, given, sentence):
    inputs = inverting if node_id == "DDIMInvert" else {"positive": inverting["source"]}
    with refused(sentence):
        run(node_id, **inputs | {"model": idle, "latent": given})


def test_what_else_a_latent_carries_does_not_matter(inverting, inversion):
    laden = inverting["latent"] | {"noise_mask": torch.ones(2, 1, 128, 128), "batch_index": [4, 5]}
    assert torch.equal(run("DDIMInvert", **inverting | {"latent": laden})[0].trajectory, inversion.trajectory)


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"null": [[torch.zeros(1, 77, 768), {}]]}, "the null conditioning has 768 channels, this model reads 128"),
        ({"source": []}, "the source input holds no text embedding: connect a CLIP Text Encode"),
        ({"source": None}, "the source input holds no text embedding"),
        ({"null": [[None, {}]]}, "the null input holds no text embedding"),
        ({"steps": 0}, "0 steps were asked for; the model's schedule has room for 1 to 999"),
        ({"steps": 2000}, "2000 steps were asked for; the model's schedule has room for 1 to 999"),
        ({"rounds": -1}, "-1 rounds and 10 inner steps were asked for: give at least 0 and 1"),
        ({"inner_steps": 0}, "0 rounds and 0 inner steps were asked for: give at least 0 and 1"),
    ],
)
def test_inversions_that_cannot_be(idle, inverting, inputs, sentence):
    """Numbers from other nodes are not held to the bounds of a widget."""
    with refused(sentence):
        run("DDIMInvert", **inverting | {"model": idle} | inputs)


PARTS = [
    {"start_percent": 0.1}, {"end_percent": 0.97}, {"area": (4, 4, 0, 0)}, {"area": ("percentage", 1, 0.5, 0, 0)},
    {"mask": torch.ones(1, 16, 16)}, {"set_area_to_bounds": True}, {"strength": 0},
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_prompt_for_a_part_of_the_picture_or_of_the_steps(idle, clip, inverting, part):
    """Elsewhere the host hands on zeros for a prediction."""
    prompt = [[embedding, options | part] for embedding, options in encode(clip, SOURCE)]
    for name in ("source", "null"):
        with refused(f"the {name} conditioning is limited to a part of the picture or of the steps"):
            run("DDIMInvert", **inverting | {"model": idle, name: prompt})
    with refused("the positive conditioning is limited to a part"):
        run("TuneOnVideo", model=idle, positive=prompt, latent=inverting["latent"], steps=1)


@pytest.mark.parametrize("spans", [[(0.0, 0.5), (0.5, 1.0)], [(0.4, 1.0), (0.0, 0.2), (0.0, 0.6)]])
def test_prompts_that_take_turns_are_in_use_everywhere(clip, inverting, spans):
    ((embedding, options),) = encode(clip, SOURCE)
    source = [[embedding, options | {"start_percent": start, "end_percent": end}] for start, end in spans]
    assert run("DDIMInvert", **inverting | {"source": source})[0].trajectory.isfinite().all()
    with refused("limited to a part"):
        run("DDIMInvert", **inverting | {"source": source[1:]})


@pytest.mark.parametrize("name, text", [("source", SOURCE), ("null", ""), ("target", TARGET)])
@pytest.mark.parametrize("part", PARTS, ids=str)
def test_an_edit_of_a_prompt_for_a_part(idle, clip, inversion, edit, part, name, text):
    prompt = [[embedding, options | part] for embedding, options in encode(clip, text)]
    with refused(f"the {name} conditioning is limited to a part"):
        sample(idle, inversion, edit, **{name: [prompt]})


def test_what_limits_nothing_is_taken(inverting):
    unlimited = {"area": None, "mask": None, "start_percent": None, "end_percent": None, "strength": 1.0}
    check_everywhere(source=[[embedding, options | unlimited] for embedding, options in inverting["source"]])


def test_a_tuning_of_no_steps(idle, inverting):
    with refused("0 steps were asked for: tuning takes at least 1"):
        run("TuneOnVideo", model=idle, positive=inverting["source"], latent=inverting["latent"], steps=0)


def hinted(conditioning, pictures):
    hint = comfy.controlnet.ControlNet().set_cond_hint(torch.zeros(pictures, 3, 8, 8))
    return [[embedding, options | {"control": hint}] for embedding, options in conditioning]


def test_control_nets_with_too_few_pictures(idle, inverting, inversion, edit):
    latent = {"samples": torch.zeros(5, 4, 16, 16)}
    controlled = hinted(inverting["source"], 3)
    with refused("the ControlNet on the source conditioning has 3 pictures, the clip 5 frames: give it one picture"):
        run("DDIMInvert", **inverting | {"model": idle, "source": controlled, "latent": latent})
    with refused("the ControlNet on the positive conditioning has 3 pictures, the clip 5 frames"):
        run("TuneOnVideo", model=idle, positive=controlled, latent=latent)
    long = replace(inversion, trajectory=torch.zeros(STEPS + 1, 5, 4, 16, 16))
    with refused("the ControlNet on the target conditioning has 2 pictures, the clip 5 frames"):
        sample(idle, long, edit, target=[hinted(edit.target, 2)])


# --- parts that do not belong together --------------------------------------------------------------------------------


def with_patch(model, scale=1.0):
    """A MODEL with a LoRA, which for its identity is any patch of a weight."""
    patched = model.clone()
    shape = patched.model.state_dict()[f"diffusion_model.{ATTENTION}"].shape
    delta = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    assert patched.add_patches({f"diffusion_model.{ATTENTION}": ("diff", (delta,))}, scale)
    return patched


def of_other_levels(model):
    other = model.clone()
    sampling = type(model.get_model_object("model_sampling"))(model.model.model_config)
    sampling.set_sigmas(sampling.sigmas * 1.1)
    other.add_object_patch("model_sampling", sampling)
    return other


@pytest.mark.parametrize(
    "other, sentence",
    [
        (lambda demo, model, tuning: demo[0], "temporal layers, but the model connected is DemoSD15"),
        (lambda demo, model, tuning: tuning[0], "but the model connected is DemoSD15 .*, tuning"),
        (lambda demo, model, tuning: with_patch(model), "but the model connected is DemoSD15 .*, LoRA or merge"),
        (lambda demo, model, tuning: of_other_levels(model), "other noise levels than this model's: connect"),
    ],
)
def test_an_inversion_of_another_model(demo, model, tuning, inversion, edit, other, sentence):
    with pytest.raises(ValueError, match=f"the inversion was made .*{sentence}"):
        sample(other(demo, model, tuning), inversion, edit)


def test_loras_are_told_apart_and_found_again(model, tuning):
    names = [identity_of(with_patch(m, scale)) for m, scale in ((model, 1.0), (model, 0.5), (tuning[0], 1.0))]
    assert len({*names, identity_of(model), identity_of(tuning[0])}) == 5
    assert identity_of(with_patch(model)) == names[0]  # another object, the same values


def test_prompts_that_the_clip_was_not_inverted_with(idle, clip, inversion, edit):
    with refused("the clip was inverted with another prompt than 'a green ball on the beach': use one source prompt"):
        sample(idle, inversion, control(clip, source="a green ball on the beach")[0])
    swapped = replace(inversion, source=inversion.initial_null, initial_null=inversion.source)
    with refused("the clip was inverted with another prompt than 'a red ball on the beach'"):
        sample(idle, swapped, edit)
    with refused("the source conditioning is not the one that the clip was inverted with: connect the same prompt"):
        sample(idle, inversion, edit, source=[encode(clip, "")])
    with refused("the target conditioning is not that of 'a blue ball on the beach': connect the target output"):
        sample(idle, inversion, edit, target=[edit.source])
    with refused("the null conditioning is not the one"):
        sample(idle, inversion, edit, null=[edit.source])
    with refused("the null conditioning is empty: connect a CLIP Text Encode"):
        sample(idle, inversion, edit, null=[[]])


def test_edits_and_masks_that_do_not_fit(idle, clip, inversion, edit):
    with refused("there is no edit: connect at least one Attention Controller"):
        sample(idle, inversion)
    with refused(
        "the mask has shape [3, 8, 8], the clip 2 frames: give [frames, height, width] with one mask for each"
    ):
        sample(idle, inversion, control(clip, mask=torch.ones(3, 8, 8))[0])
    with refused("there are 1 edits and 2 target conditionings: connect as many"):
        sample(idle, inversion, edit, target=[edit.target, edit.target])
    with refused("given 2 of one of these: connect a single one"):
        sample(idle, inversion, edit, null=[edit.source, edit.source])


@pytest.mark.parametrize("shape", [(3, 4, 16, 16), (2, 4, 16, 8)])
def test_another_latent_than_the_guiders(idle, inversion, edit, shape):
    guider, sigmas, _ = run("DecoupledGuider", model=idle, inversion=inversion, edit=edit)
    with torch.inference_mode(), refused(f"the latent has shape {list(shape)}, the inverted clip [2, 4, 16, 16]"):
        latent = {"samples": torch.zeros(shape)}
        SamplerCustomAdvanced.execute(Noise_EmptyNoise(), guider, run("DecoupledSampler")[0], sigmas, latent)


def test_another_sampler_guider_or_schedule_than_the_edits(idle, inversion, edit):
    guider, sigmas, start = run("DecoupledGuider", model=idle, inversion=inversion, edit=edit)
    (sampler,), euler = run("DecoupledSampler"), comfy.samplers.sampler_object("euler")
    plain = comfy.samplers.CFGGuider(idle)
    plain.set_conds(edit.source, edit.target)
    for parts, sentence in (
        ((guider, euler, sigmas), "connect Decoupled Sampler as the sampler"),
        ((guider, sampler, sigmas[1:]), "connect the sigmas of Decoupled Guider"),
        ((plain, sampler, sigmas), "connect Decoupled Guider as the guider"),
    ):
        with torch.inference_mode(), refused(sentence):
            SamplerCustomAdvanced.execute(Noise_EmptyNoise(), *parts, start)


# --- files ------------------------------------------------------------------------------------------------------------


def cut_off(path: Path):
    path.write_bytes(path.read_bytes()[:-10])


def with_settings(path, **changes):
    """The file again with other settings in its metadata."""
    inversion = weights.load_inversion(path)
    tensors = {name: getattr(inversion, name) for name in ("trajectory", "sigmas", "source", "initial_null")}
    metadata = {"video_p2p": "inversion", "version": "1", "settings": json.dumps({"method": "direct"} | changes)}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata=metadata)


def with_tensors(path, **changes):
    weights.save(replace(weights.load_inversion(path), **changes), path)


NO_FILE = "file.safetensors is not a complete safetensors file"


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (lambda path: path.unlink(), "there is no file.safetensors in models/videop2p/inversions: choose another"),
        (lambda path: (path.unlink(), path.mkdir()), "there is no file.safetensors"),
        (lambda path: path.write_bytes(b""), NO_FILE),
        (lambda path: path.write_bytes(b"no safetensors at all"), NO_FILE),
        (lambda path: path.write_bytes(pickle.dumps({"a": 1})), NO_FILE),
        (lambda path: torch.save({"a": torch.zeros(1)}, path), NO_FILE),
        (lambda path: path.write_bytes(struct.pack("<Q", 2**62) + b"{}"), NO_FILE),
        (lambda path: path.write_bytes(struct.pack("<Q", 90_000_000) + b"{}"), NO_FILE),
        (cut_off, NO_FILE),
        (
            lambda path: save_file({"weight": torch.zeros(2)}, path),
            "file.safetensors is no file of Video-P2P: choose one that Save Inversion wrote",
        ),
        (
            lambda path: weights.save(Tuning({}, torch.zeros(1), torch.zeros(1)), path),
            "file.safetensors holds a saved tuning: open it with Load Tuning",
        ),
        (lambda path: with_settings(path, method="magic"), "file.safetensors is damaged ('magic' is not an inversion"),
        (lambda path: with_settings(path, cfg="7.5"), "file.safetensors is damaged (its cfg is '7.5'): make and save"),
        (lambda path: with_settings(path, losses=3), "file.safetensors is damaged"),
        (lambda path: with_settings(path, colour="red"), "file.safetensors is damaged"),
        (
            lambda path: with_tensors(path, trajectory=torch.zeros(STEPS + 1, 4, 16, 16)),
            "file.safetensors is damaged (its tensors have [4, 1, 3, 3] dimensions): invert the clip again",
        ),
        (
            lambda path: with_tensors(path, sigmas=torch.full((STEPS + 1,), torch.nan)),
            "file.safetensors holds values that are not numbers (NaN or infinity): invert the clip again",
        ),
    ],
)
def test_files_that_are_no_inversion(folders, inversion, spoil, sentence):
    path = folders / "inversions" / "file.safetensors"
    weights.save(inversion, path)
    spoil(path)
    with refused(sentence):
        run("LoadInversion", inversion_name=path.name)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"base_model": "SD15 12345678"}, "the tuning was made on SD15 12345678, but the model connected is DemoSD15"),
        ({"deltas": {ATTENTION: torch.zeros(8, 8)}}, f"the tuning does not fit this model: {ATTENTION} and 0 more"),
        ({"temporal": {"middle_block.attn_temp.x": torch.zeros(8)}}, "the tuning does not fit this model"),
        (
            {"deltas": {ATTENTION: torch.full((128, 128), torch.nan)}},
            "infinity): tune on the clip again",
        ),
    ],
)
def test_tunings_that_do_not_fit(folders, idle, tuning, changes, sentence):
    weights.save(replace(tuning[1], **{"base_model": ""} | changes), folders / "tunings" / "file.safetensors")
    with refused(sentence):
        run("LoadTuning", model=idle, tuning_name="file.safetensors")


def test_a_tuning_of_temporal_layers_for_a_model_without(folders, demo, tuning):
    run("SaveTuning", tuning=tuning[1])
    still = run("InflateUNet", model=demo[0], temporal_layers=False)[0]
    with refused("the tuning trained temporal layers: turn them on in Inflate UNet"):
        run("LoadTuning", model=still, tuning_name="tuning_00001_.safetensors")


# --- over HTTP --------------------------------------------------------------------------------------------------------


def edit_of_noise(info):
    graph = Graph(info)
    graph.add("load", "VP2P_LoadDemoModel")
    graph.add("inflate", "VP2P_InflateUNet", model=["load", 0])
    graph.add("latent", "EmptyLatentImage", width=128, height=128, batch_size=2)
    graph.add("source", "CLIPTextEncode", text=SOURCE, clip=["load", 1])
    graph.add("null", "CLIPTextEncode", text="", clip=["load", 1])
    graph.add(
        "invert", "VP2P_DDIMInvert", model=["inflate", 0], source=["source", 0], null=["null", 0],
        latent=["latent", 0], method="direct", steps=1,
    )  # fmt: skip
    graph.add("edit", "VP2P_AttentionController", clip=["load", 1], source_prompt=SOURCE, target_prompt=TARGET)
    graph.add("sample", "VP2P_DecoupledSample", model=["inflate", 0], inversion=["invert", 0], edit=["edit", 0])
    graph.add("decode", "VAEDecode", samples=["sample", 0], vae=["load", 2])
    graph.add("show", "PreviewImage", images=["decode", 0])
    return graph


def of_many_channels(graph):
    graph.add("latent", "EmptySD3LatentImage", width=128, height=128, batch_size=2)


def of_another_prompt(graph):
    graph["source"]["inputs"]["text"] = TARGET


def not_inflated(graph):
    graph["sample"]["inputs"]["model"] = ["load", 0]


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (of_many_channels, "this model takes [frames, 4, height, width]: encode the frames with the VAE of the same"),
        (of_another_prompt, "the clip was inverted with another prompt than 'a red ball on the beach': use one source"),
        (not_inflated, "temporal layers, but the model connected is DemoSD15"),
    ],
)
def test_the_sentence_is_what_comfyui_shows(host, info, spoil, sentence):
    graph = edit_of_noise(info)
    spoil(graph)
    assert sentence in error_of(queue(host, graph))
