"""Small graphs on a running ComfyUI, whose latents come back bit by bit."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from ...tools.client import Ran, run_graph
from ...tools.host import LOCAL, Host
from ...tools.workflows.forms import api_form
from ...tools.workflows.graph import Graph
from .operations import SOURCE

STEPS, COLOUR = 4, 0x60A0E0
Api = dict[str, Any]


class Server:
    """A running host: url, info (/object_info), folder (its base directory)."""

    def __init__(self, host: Host):
        self.host, self.url, self.folder = host, host.url, host.folder
        self.info = host.get("/object_info")

    def post(self, path: str, **body: Any) -> bytes:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with LOCAL.open(request, timeout=60) as answer:
            return answer.read()

    def queue(self, graph: Api) -> str:
        return json.loads(self.post("/prompt", prompt=graph))["prompt_id"]

    def idle(self, patience: float = 120) -> None:
        """Wait until nothing runs and nothing is queued."""
        deadline = time.monotonic() + patience
        while any(self.host.get("/queue").values()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the server is not done after {patience} s: see {self.host.log}")
            time.sleep(0.01)

    def ended(self, prompt: str) -> str | None:
        """'success', 'error' (an interruption among them), or None for a graph that was never run."""
        history = self.host.get(f"/history/{prompt}")
        return history[prompt]["status"]["status_str"] if prompt in history else None

    def forget(self) -> None:
        """Empty the server's cache and unload all models."""
        self.post("/free", unload_models=True, free_memory=True)
        # The server does so after the graph that it takes up next.
        run_graph(self.url, picture_graph(self.info))

    def made(self, ran: Ran) -> list[Tensor]:
        """The latents that a graph saved, in the order of its nodes."""
        found = []
        for _, output in sorted(ran.outputs.items(), key=lambda item: int(item[0])):
            files = (Path(self.folder, "output", saved["filename"]) for saved in output.get("latents", ()))
            found += [load_file(file)["latent_tensor"] for file in files]
        return found


def edit_graph(
    info: Api, target: str, *, blend: str = "", cross: float = 0.2, keep: str = "off", colour: int = COLOUR
) -> Api:  # fmt: skip
    """A clip of one colour inverted and edited. keep, colour: of the inversion, which another colour runs anew."""
    clip = Clip(info, colour)
    clip.edit(target, blend, cross, keep)
    return api_form(clip.graph)


def stock_graph(info: Api) -> Api:
    clip = Clip(info)
    clip.draw()
    return api_form(clip.graph)


def both_graph(info: Api, target: str) -> Api:
    """An edit and a stock sampler, from one checkpoint loader."""
    clip = Clip(info)
    clip.edit(target, "rabbit", 0.2, "off")
    clip.draw()
    return api_form(clip.graph)


def picture_graph(info: Api) -> Api:
    graph = Graph(info)
    graph.column("Picture")
    graph.add("PreviewImage", images=graph.add("EmptyImage", width=1, height=1))
    return api_form(graph)


class Clip:
    """A graph that loads the demo model and encodes a clip and its prompt, and what may be done with them."""

    def __init__(self, info: Api, colour: int = COLOUR):
        self.graph = graph = Graph(info)
        graph.column("Clip")
        self.model, self.clip, vae = graph.add("VP2P_LoadDemoModel")
        picture = graph.add("EmptyImage", width=128, height=128, batch_size=2, color=colour)
        self.latent = graph.add("VAEEncode", pixels=picture, vae=vae)
        self.source, self.null = (graph.add("CLIPTextEncode", text=text, clip=self.clip) for text in (SOURCE, ""))

    def edit(self, target: str, blend: str, cross: float, keep: str) -> None:
        graph = self.graph
        model = graph.add("VP2P_InflateUNet", model=self.model)
        inversion = graph.add(
            "VP2P_DDIMInvert", model=model, source=self.source, null=self.null, latent=self.latent, method="direct",
            steps=STEPS, keep_source=keep, kept_cross_window=1.0, kept_temporal_window=1.0,
        )  # fmt: skip
        edit = graph.add(
            "VP2P_AttentionController", clip=self.clip, source_prompt=SOURCE, target_prompt=target, blend_source=blend,
            cross_window=cross,
        )  # fmt: skip
        edited = graph.add("VP2P_DecoupledSample", model=model, inversion=inversion, edit=edit)
        graph.add("SaveLatent", samples=edited, filename_prefix="edited")

    def draw(self) -> None:
        drawn = self.graph.add(
            "KSampler", model=self.model, positive=self.source, negative=self.null, latent_image=self.latent, steps=2,
            cfg=4.0, denoise=0.7,
        )  # fmt: skip
        self.graph.add("SaveLatent", samples=drawn, filename_prefix="drawn")
