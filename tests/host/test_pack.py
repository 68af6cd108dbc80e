"""The pack as ComfyUI itself loads it: a folder of any name in custom_nodes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from comfyui_videop2p.tools.host import PACK, Host, link
from comfyui_videop2p.tools.pack import host_path

ROOT = Path(__file__).parents[2]

# In a process of its own: ComfyUI's loader makes a second package of the same files, under its own name. It loads its
# own extras before any pack; one of them has it import all that loading takes, which is then not counted as ours.
LOAD = """
import asyncio, json, runpy, sys, time
runpy.run_path({pack!r})["use_host"]("--disable-api-nodes")
import nodes, server
asyncio.run(nodes.load_custom_node({extra!r}, module_parent="comfy_extras"))
stock = set(nodes.NODE_CLASS_MAPPINGS)
start = time.perf_counter()
loaded = asyncio.run(nodes.load_custom_node({folder!r}))
seconds = time.perf_counter() - start
ours = sorted(set(nodes.NODE_CLASS_MAPPINGS) - stock)
print(json.dumps(dict(loaded=loaded, ours=ours, nodes_file=nodes.__file__, seconds=seconds)))
"""
START_SECONDS, START_ATTEMPTS = 0.5, 5


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    """load(): what a fresh process says of the pack that it loaded."""
    folder = tmp_path_factory.mktemp("custom_nodes") / "any name-1.0"
    link(ROOT, folder)
    extra = host_path() / "comfy_extras" / "nodes_latent.py"
    program = LOAD.format(pack=str(ROOT / "tools" / "pack.py"), extra=str(extra), folder=str(folder))

    def fresh_process():
        process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    return fresh_process


@pytest.fixture(scope="module")
def answer(load):
    return load()


def test_comfyui_loads_the_pack(answer):
    assert answer["loaded"] is True


def test_every_listed_node_is_registered(answer):
    from comfyui_videop2p.nodes import TOPICS

    assert answer["ours"] == sorted(node.define_schema().node_id for topic in TOPICS for node in topic.NODES)


def test_the_folder_nodes_does_not_shadow_comfyui(answer):
    assert Path(answer["nodes_file"]).resolve() == host_path() / "nodes.py"


def test_the_pack_adds_little_to_comfyuis_start(answer, load):
    """Imports and schemas of all nodes: 0.18 to 0.36 s measured on a busy machine, nothing compiled beforehand."""
    seconds = [answer["seconds"]]
    while min(seconds) >= START_SECONDS and len(seconds) < START_ATTEMPTS:  # other work can only add
        seconds.append(load()["seconds"])
    assert min(seconds) < START_SECONDS, seconds


def test_a_server_runs_with_the_pack(tmp_path):
    from comfyui_videop2p.nodes import TOPICS

    with Host(host_path(), tmp_path) as host:
        assert host.pack_nodes() == sorted(node.define_schema().node_id for topic in TOPICS for node in topic.NODES)
        assert f"custom_nodes/{PACK}" in host.log_text().replace("\\", "/")
    assert host.process.poll() is not None
