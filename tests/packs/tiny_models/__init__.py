"""A node for tests that stands where Load Checkpoint would: small models of random weights (tests/host/models.py)."""

import runpy
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

ROOT = Path(__file__).resolve().parents[3]
runpy.run_path(str(ROOT / "tools" / "pack.py"))["load_pack"]()

from comfyui_videop2p.tests.host.models import FAMILIES, tiny, tiny_vae  # noqa: E402


class TinyModel(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="TinyModel",
            inputs=[io.Combo.Input("family", options=list(FAMILIES))],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, family) -> io.NodeOutput:
        return io.NodeOutput(*tiny(family), tiny_vae())


class TinyModels(ComfyExtension):
    async def get_node_list(self):
        return [TinyModel]


async def comfy_entrypoint() -> ComfyExtension:
    return TinyModels()
