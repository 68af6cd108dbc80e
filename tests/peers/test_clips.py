"""Clips as VideoHelperSuite hands them on: IMAGE batches, latents cut and joined, a long clip in meta batches.

CI sees its habits in stock tensors; the pack itself runs in a server of its own, with all peers beside each other.
"""

import json
import shutil
import time
import urllib.request

import pytest
import torch
from comfyui_videop2p.demo import videos
from comfyui_videop2p.tests.host.calls import SOURCE, TARGET, control, run, sample
from comfyui_videop2p.tests.host.graphs import Graph
from comfyui_videop2p.tools.host import LOCAL, Host, peers
from comfyui_videop2p.tools.pack import host_path
from comfyui_videop2p.videop2p_core.host.demo_model import clip_file

FRAMES, BATCH = 4, 2


def test_frames_taken_out_of_a_clip_are_a_clip(model, clip, inverting):
    """Every second latent is a view with gaps, a part of a clip one with an offset."""
    many = torch.randn(5, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    edit = control(clip)[0]
    for view in (many[::2], many[1:4]):
        found = []
        for samples in (view, view.clone()):
            inversion = run("DDIMInvert", **inverting | {"latent": {"samples": samples}, "steps": 2})[0]
            found.append(sample(model, inversion, edit)[0][0]["samples"])
        assert torch.equal(*found)


# --- the pack itself --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not any(path.name == "ComfyUI-VideoHelperSuite" for path in peers()):
        pytest.skip("VP2P_PEERS names no folder with a checkout of ComfyUI-VideoHelperSuite: not tested beside it")
    folder = tmp_path_factory.mktemp("peers")
    with Host(host_path(), folder, ["--preview-method", "latent2rgb"], packs=peers()) as running:
        shutil.copy(clip_file(SOURCE), folder / "input" / "clip.mp4")
        yield running


def played(server, graph):
    """The frames of the file that Video Combine wrote last, when all is done: [frames, height, width, 3]."""
    # The pack's own previews are on, as its setting in the browser turns them on; they want a client.
    extra = {"extra_pnginfo": {"workflow": {"extra": {"VHS_latentpreview": True}}}}
    body = json.dumps({"prompt": graph, "extra_data": extra, "client_id": "test"}).encode()
    request = urllib.request.Request(f"{server.url}/prompt", body, {"Content-Type": "application/json"})
    LOCAL.open(request, timeout=60).close()
    while any(server.get("/queue").values()):
        time.sleep(0.2)
    entries = server.get("/history").values()
    assert all(entry["status"]["status_str"] == "success" for entry in entries), server.log_tail()
    files = (server.folder / "output").glob("*.mp4")
    return torch.from_numpy(videos.read(max(files, key=lambda file: file.stat().st_mtime)))


def edit_of_a_video(server, frames, **meta_batch):
    graph = Graph(server.get("/object_info"))
    if meta_batch:
        graph.add("batches", "VHS_BatchManager", **meta_batch)
        meta_batch = {"meta_batch": ["batches", 0]}
    graph.add("load", "VP2P_LoadDemoModel")
    graph.add("inflate", "VP2P_InflateUNet", model=["load", 0])
    graph.add("freedom", "FreeU", model=["inflate", 0])
    graph.add("guided", "PerturbedAttentionGuidance", model=["freedom", 0])
    model = ["guided", 0]
    if "ADE_UseEvolvedSampling" in graph.info:
        graph.add("evolved", "ADE_UseEvolvedSampling", model=model, beta_schedule="use existing")
        model = ["evolved", 0]
    graph.add("video", "VHS_LoadVideo", video="clip.mp4", frame_load_cap=frames, **meta_batch)
    graph.add("encode", "VAEEncode", pixels=["video", 0], vae=["load", 2])
    graph.add("cut", "VHS_SplitLatents", latents=["encode", 0], split_index=1)
    graph.add(
        "join", "VHS_MergeLatents", latents_A=["cut", 0], latents_B=["cut", 2], merge_strategy="match A",
        scale_method="bilinear", crop="disabled",
    )  # fmt: skip
    graph.add("source", "CLIPTextEncode", text=SOURCE, clip=["load", 1])
    graph.add("null", "CLIPTextEncode", text="", clip=["load", 1])
    graph.add(
        "invert", "VP2P_DDIMInvert", model=model, source=["source", 0], null=["null", 0], latent=["join", 0],
        method="direct", steps=2,
    )  # fmt: skip
    graph.add("edit", "VP2P_AttentionController", clip=["load", 1], source_prompt=SOURCE, target_prompt=TARGET)
    graph.add("sample", "VP2P_DecoupledSample", model=model, inversion=["invert", 0], edit=["edit", 0])
    graph.add("decode", "VAEDecode", samples=["sample", 0], vae=["load", 2])
    graph.add("save", "VHS_VideoCombine", images=["decode", 0], format="video/h264-mp4", **meta_batch)
    return graph


def test_a_video_becomes_an_edited_video(server):
    frames = played(server, edit_of_a_video(server, FRAMES))
    assert len(frames) == FRAMES and (frames.std((1, 2, 3)) > 0.01).all()


def test_every_meta_batch_is_a_clip_of_its_own(server):
    whole = played(server, edit_of_a_video(server, FRAMES, frames_per_batch=BATCH))
    first = played(server, edit_of_a_video(server, BATCH))
    assert len(whole) == FRAMES
    assert (whole[:BATCH] - first).abs().mean() < 0.02  # of a codec with losses


def test_all_packs_load_beside_each_other(server):
    info = server.get("/object_info")
    ours = {name: node for name, node in info.items() if name.startswith("VP2P_")}
    assert ours and all(node["python_module"] == "custom_nodes.comfyui-videop2p" for node in ours.values())
    loaded = {node["python_module"].removeprefix("custom_nodes.") for node in info.values()}
    assert {path.name for path in peers()} <= loaded
