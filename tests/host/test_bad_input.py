"""What cannot work is said in a sentence, before the model is run."""

from dataclasses import replace

import comfy.controlnet
import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfyui_videop2p.tests.host.calls import SOURCE, STEPS, TARGET, encode, run, sample
from comfyui_videop2p.tests.host.graphs import Graph, error_of, queue
from comfyui_videop2p.tests.host.refusals import edit, idle, refused
from comfyui_videop2p.videop2p_core.host.model.input_checks import check_everywhere

__all__ = ["edit", "idle"]


# --- words ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"target_prompt": " "}, "the target prompt is empty"),
        ({"source_prompt": ""}, "the source prompt is empty"),
        ({"blend_source": "star"}, "'star' is not a word of the source prompt: a, red, rabbit, on, the, beach"),
        ({"blend_target": "red"}, "'red' is not a word of the target prompt: a, blue, rabbit, on, the, beach"),
        ({"word_weights": "red: 2"}, "'red' is not a word of the target prompt"),
        ({"word_weights": "blue 2"}, "'blue 2' is no word with a weight: write each as 'origami: 2'"),
        ({"word_weights": "blue: much"}, "'blue: much' is no word with a weight"),
        ({"blend_source": "rabbit", "subtract": "car"}, "'car' is not a word of the prompt"),
        ({"subtract": "rabbit"}, "there are words to subtract but none to blend"),
        (
            {"target_prompt": "a blue striped rabbit on the beach", "edit": "replace"},
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
HUNYUAN = {name: value for name, value in FLUX.items() if name != "txt_ids_dims"} | {
    "image_model": "hunyuan_video", "patch_size": [1, 2, 2], "byt5": False, "use_cond_type_embedding": False,
    "vision_in_dim": None, "meanflow": False, "meanflow_sum": False,
}  # fmt: skip


def transformer(family, config):
    """A MODEL of another family, without weights."""
    model = getattr(comfy.supported_models, family)(config | {"dtype": torch.float32}).get_model({}, "", "meta")
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=cpu, offload_device=cpu)


OTHER_MODELS = {
    "a Flux model": lambda: transformer("Flux", FLUX),
    "a HunyuanVideo model": lambda: transformer("HunyuanVideo", HUNYUAN),
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
        (
            {"samples": NestedTensor([torch.zeros(1, 4, 16, 16), torch.zeros(1, 8, 16, 16)])},
            "takes nothing beside the pictures: connect a latent of pictures alone",
        ),
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
        (
            of_another_prompt,
            "the clip was inverted with another prompt than 'a red rabbit on the beach': use one source",
        ),
        (not_inflated, "temporal layers, but the model connected is DemoSD15"),
    ],
)
def test_the_sentence_is_what_comfyui_shows(host, info, spoil, sentence):
    graph = edit_of_noise(info)
    spoil(graph)
    assert sentence in error_of(queue(host, graph))
