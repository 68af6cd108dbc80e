"""The nodes between stock nodes, wired as artists wire them, on the demo model."""

import shutil
from io import BytesIO
from urllib.parse import urlencode

import av
import comfy.controlnet
import comfy.model_management
import comfy.ops
import comfy.samplers
import folder_paths
import pytest
import torch
from comfy_extras.nodes_custom_sampler import (
    Noise_EmptyNoise,
    SamplerCustom,
    SamplerCustomAdvanced,
)
from comfyui_videop2p.demo import scenes
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, STEPS, TARGET, control, encode, run, sample
from comfyui_videop2p.tests.host.checkpoints import Noise, lora
from comfyui_videop2p.tests.host.graphs import Graph, succeeded
from comfyui_videop2p.tests.host.models import demo_control_net
from comfyui_videop2p.tools.host import LOCAL
from comfyui_videop2p.videop2p_core.host.demo_model import DEMO_FILE, clip_file, load_unet, read_demo_file
from comfyui_videop2p.videop2p_core.host.model.identity import identity_of
from comfyui_videop2p.videop2p_core.host.source import inversion as host_inversion
from safetensors.torch import save_file

import nodes as stock


@pytest.fixture(autouse=True)
def inference_mode():
    with torch.inference_mode():
        yield


def invert(inverting, **inputs):
    return run("DDIMInvert", **inverting | inputs)[0]


# --- LoRA -------------------------------------------------------------------------------------------------------------

LORA = "demo_lora.safetensors"
LORA_LAYERS = {
    "lora_unet_down_blocks_0_attentions_1_transformer_blocks_0_attn1_to_q": (64, 64),
    "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v": (128, 128),
    "lora_te_text_model_encoder_layers_1_self_attn_v_proj": (128, 128),
}


@pytest.fixture
def with_lora(tmp_path, monkeypatch):
    """Load LoRA: (model, clip) -> (model, clip)."""
    save_file(lora(LORA_LAYERS, Noise(values=2**16)), tmp_path / LORA)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    return lambda model, clip: stock.LoraLoader().load_lora(model, clip, LORA, 1.0, 1.0)


def test_a_lora_acts_before_inflation_and_after_it_alike(with_lora, demo, model, inverting, inversion):
    image, styled = with_lora(*demo[:2])
    before, after = run("InflateUNet", model=image)[0], with_lora(model, styled)[0]
    source = encode(styled, SOURCE)
    first, second = (invert(inverting, model=m, source=source) for m in (before, after))
    assert torch.equal(first.trajectory, second.trajectory)
    assert first.base_model == second.base_model != inversion.base_model
    assert not torch.allclose(first.trajectory, inversion.trajectory, atol=1e-2)
    assert not torch.allclose(first.source, inversion.source, atol=1e-2)
    edit = control(styled)[0]
    (edited,), *_ = sample(after, first, edit)  # made with the one, edited with the other
    assert edited["samples"].isfinite().all()


@pytest.fixture
def in_float32(tmp_path):
    """The inflated demo model from a file in float32: under dynamic VRAM the host rounds what is patched onto small
    layers to what the file has."""
    tensors, metadata = read_demo_file(DEMO_FILE)
    tensors = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    path = tmp_path / DEMO_FILE.name
    save_file(tensors, path, metadata)
    return run("InflateUNet", model=load_unet(path))[0]


def test_a_lora_is_there_while_the_model_is_tuned_on_and_differentiated(with_lora, in_float32, clip, inverting, tuning):
    styled = with_lora(in_float32, clip)[0]
    tuned, learnt, _ = run(
        "TuneOnVideo", model=styled, positive=inverting["source"], latent=inverting["latent"], steps=2
    )
    assert learnt.losses[0] != pytest.approx(tuning[1].losses[0].item(), rel=1e-3)
    assert_null_text_runs_on_this_model(tuned, inverting["source"], inverting["null"], inverting["latent"])
    assert identity_of(tuned).startswith(identity_of(styled))


def assert_null_text_runs_on_this_model(model, source, null, latent):
    """What the optimisation saw on its copy of the model is what the model itself gives."""
    trajectory, sigmas = host_inversion.ddim_invert(model, source, null, latent["samples"], steps=2)
    optimised = host_inversion.optimise_null_text(model, source, null, trajectory, sigmas, inner_steps=1)
    inverted = host_inversion.Inversion(
        method="shared null-text", trajectory=trajectory, sigmas=sigmas, source=source[0][0],
        initial_null=null[0][0], null=optimised.null,
    )  # fmt: skip
    replayed = host_inversion.reconstruct(model, source, null, inverted)
    torch.testing.assert_close(replayed, optimised.reconstruction, atol=1e-4, rtol=1e-4)


# --- ControlNet -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def control_net():
    return demo_control_net()


@pytest.fixture(scope="module")
def hints():
    return torch.rand(FRAMES, 128, 128, 3, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def apply(control_net, hints):
    """Apply ControlNet: (positive, negative) -> (positive, negative)."""

    def apply(positive, negative, strength=1.0):
        return stock.ControlNetApplyAdvanced().apply_controlnet(
            positive, negative, control_net, hints, strength, 0.0, 1.0
        )

    return apply


def test_a_control_net_acts_on_the_inversion(apply, inverting, inversion):
    source, null = apply(inverting["source"], inverting["null"])
    assert not torch.allclose(invert(inverting, source=source).trajectory, inversion.trajectory, atol=1e-2)
    # the way up is guided by nothing
    assert torch.equal(invert(inverting, null=null).trajectory, inversion.trajectory)
    off = dict(zip(("source", "null"), apply(inverting["source"], inverting["null"], strength=0.0), strict=True))
    assert torch.equal(invert(inverting, **off).trajectory, inversion.trajectory)


@pytest.mark.parametrize("where, source_changes", [("source", True), ("target", False), ("null", False)])
def test_a_control_net_acts_on_the_branch_that_it_is_applied_to(apply, model, clip, inverting, where, source_changes):
    inverted = invert(inverting, method="negative-prompt")  # whose source needs no null text
    edit, source, target, _ = control(clip, cross_window=0.0, temporal_window=0.0)
    plain = {"source": source, "target": target, "null": inverting["null"]}
    (without,), before, _ = sample(model, inverted, edit)

    def with_control(strength):
        controlled = apply(plain[where], plain[where], strength)[0]
        return sample(model, inverted, edit, **{where: [controlled]})

    (edited,), reconstruction, _ = with_control(1.0)
    changes = [not torch.equal(reconstruction["samples"], before["samples"])]
    changes.append(not torch.allclose(edited["samples"], without["samples"], atol=1e-2))
    assert changes == [source_changes, not source_changes]
    (edited,), reconstruction, _ = with_control(0.0)
    assert torch.equal(reconstruction["samples"], before["samples"])
    assert torch.equal(edited["samples"], without["samples"])


def test_the_older_apply_control_net_reaches_the_null_text_of_its_branch(
    apply, control_net, hints, model, clip, inversion, inverting
):
    edit, _, target, _ = control(clip)
    (controlled,) = stock.ControlNetApply().apply_controlnet(target, control_net, hints, 1.0)
    positive, null = apply(target, inverting["null"])
    (older,), *_ = sample(model, inversion, edit, target=[controlled])
    (newer,), *_ = sample(model, inversion, edit, target=[positive], null=[null])
    torch.testing.assert_close(older["samples"], newer["samples"], atol=1e-3, rtol=1e-4)


def test_a_control_net_is_there_while_the_model_is_tuned_on_and_differentiated(apply, model, clip, inverting, tuning):
    source, null = apply(inverting["source"], inverting["null"])
    _, learnt, _ = run("TuneOnVideo", model=model, positive=source, latent=inverting["latent"], steps=2)
    assert learnt.losses[0] != pytest.approx(tuning[1].losses[0].item(), rel=1e-3)
    assert_null_text_runs_on_this_model(model, source, null, inverting["latent"])


# --- stock samplers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sampler", "steps"), [("euler", 20), ("ddim", 20), ("euler", 15), ("euler", 12)])
def test_a_stock_sampler_goes_on_from_the_noise(demo, model, clip, sampler, steps):
    scene = scenes.random_scene(500_003)
    images = torch.stack([torch.from_numpy(frame.image) for frame in scenes.clip(scene, FRAMES)])
    latent, source = demo[2].encode(images), encode(clip, scenes.caption(scene))
    _, noise, replayed, *_, sigmas = run(
        "DDIMInvert", model=model, source=source, null=encode(clip, ""), latent={"samples": latent}, steps=steps,
        method="negative-prompt",
    )  # fmt: skip
    drawn, _ = SamplerCustom.execute(
        model, False, 0, 1.0, source, source, comfy.samplers.sampler_object(sampler), sigmas, noise
    ).result
    ours, theirs = ((result["samples"] - latent).square().mean().sqrt() for result in (replayed, drawn))
    assert theirs < 1.1 * ours + 0.01 * latent.std() < 0.3 * latent.std()


def test_a_noise_mask_limits_the_edit_under_the_stock_sampler(model, clip, inversion):
    guider, sigmas, start = run("DecoupledGuider", model=model, inversion=inversion, edit=control(clip)[0])
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    (masked,) = stock.SetLatentNoiseMask().set_mask(start, left)
    edited, _ = SamplerCustomAdvanced.execute(
        Noise_EmptyNoise(), guider, run("DecoupledSampler")[0], sigmas, masked
    ).result
    change = (edited["samples"] - start["samples"]).abs()
    assert change[..., 8:].max() < 1e-4 < change[..., :8].mean()


def test_an_edited_clip_can_be_sampled_again_and_its_mask_worked_on(demo, model, clip, inverting, inversion):
    (edited,), reconstruction, (mask,) = sample(model, inversion, control(clip, blend_source="rabbit")[0])
    for latent in (edited, reconstruction):
        (again,) = stock.KSampler().sample(
            model, 0, STEPS, 1.0, "euler", "simple", inverting["source"], inverting["null"], latent, denoise=0.5
        )
        assert again["samples"].shape == latent["samples"].shape and again["samples"].isfinite().all()
        assert not torch.equal(again["samples"], latent["samples"])
    (limited,) = stock.SetLatentNoiseMask().set_mask(edited, mask)
    (again,) = stock.KSampler().sample(
        model, 0, STEPS, 1.0, "euler", "simple", inverting["source"], inverting["null"], limited, denoise=0.5
    )
    kept = (mask[:, None, ::8, ::8] == 0).expand_as(edited["samples"])
    torch.testing.assert_close(again["samples"][kept], edited["samples"][kept], atol=1e-4, rtol=0)


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"frames_read": "first+previous", "norm_over_frames": True}])
@pytest.mark.parametrize("frames, height, width", [(1, 16, 16), (3, 21, 9), (5, 10, 23), (2, 41, 22)])
def test_clips_of_any_length_and_size(demo, clip, inverting, settings, frames, height, width):
    model = run("InflateUNet", model=demo[0], **settings)[0]
    samples = torch.randn(frames, 4, height, width, generator=torch.Generator().manual_seed(0))
    inverted, noise, *_ = run("DDIMInvert", **inverting | {"model": model, "latent": {"samples": samples}, "steps": 2})
    (edited,), reconstruction, (mask,) = sample(model, inverted, control(clip, blend_source="rabbit")[0])
    assert edited["samples"].shape == noise["samples"].shape == samples.shape and edited["samples"].isfinite().all()
    torch.testing.assert_close(reconstruction["samples"], samples, atol=1e-4, rtol=0)
    assert mask.shape == (frames, 8 * height, 8 * width) and 0 < mask.mean() <= 1


# --- from a video file to a video file, over HTTP ---------------------------------------------------------------------


def test_a_video_in_the_input_folder_becomes_an_edited_video(host, info):
    shutil.copy(clip_file(SOURCE), host.folder / "input" / "clip.mp4")
    graph = Graph(info)
    graph.add("load", "VP2P_LoadDemoModel")
    graph.add("inflate", "VP2P_InflateUNet", model=["load", 0])
    graph.add("video", "LoadVideo", file="clip.mp4")
    graph.add("parts", "GetVideoComponents", video=["video", 0])
    graph.add("encode", "VAEEncode", pixels=["parts", 0], vae=["load", 2])
    graph.add("source", "CLIPTextEncode", text=SOURCE, clip=["load", 1])
    graph.add("null", "CLIPTextEncode", text="", clip=["load", 1])
    graph.add(
        "invert", "VP2P_DDIMInvert", model=["inflate", 0], source=["source", 0], null=["null", 0],
        latent=["encode", 0], method="direct", steps=2,
    )  # fmt: skip
    graph.add(
        "edit", "VP2P_AttentionController", clip=["load", 1], source_prompt=SOURCE, target_prompt=TARGET,
        blend_source="rabbit",
    )  # fmt: skip
    graph.add("sample", "VP2P_DecoupledSample", model=["inflate", 0], inversion=["invert", 0], edit=["edit", 0])
    graph.add("decode", "VAEDecode", samples=["sample", 0], vae=["load", 2])
    graph.add(
        "compose", "ImageCompositeMasked", destination=["parts", 0], source=["decode", 0], mask=["sample", 2]
    )  # fmt: skip
    graph.add("clip", "CreateVideo", images=["compose", 0], fps=["parts", 2], audio=["parts", 1])
    graph.add("save", "SaveVideo", video=["clip", 0], codec="auto")
    (file,) = succeeded(host, graph)["outputs"]["save"]["images"]
    with LOCAL.open(f"{host.url}/view?{urlencode(file)}", timeout=30) as answer:
        written = BytesIO(answer.read())
    with av.open(str(clip_file(SOURCE))) as given, av.open(written) as edited:
        frames = [[frame.to_ndarray(format="rgb24") for frame in clip.decode(video=0)] for clip in (given, edited)]
        assert given.streams.video[0].average_rate == edited.streams.video[0].average_rate
    assert [frame.shape for frame in frames[0]] == [frame.shape for frame in frames[1]]
    assert any((one != other).mean() > 0.01 for one, other in zip(*frames, strict=True))
