"""Graphs in ComfyUI's API form, queued over HTTP on a running host."""

import json
import time
import urllib.request

from comfyui_videop2p.tools.host import LOCAL


class Graph(dict):
    """graph.add("load", "VP2P_LoadDemoModel"); required inputs that are not given have their node's defaults."""

    def __init__(self, info):
        super().__init__()
        self.info = info  # the host's /object_info

    def add(self, name, kind, **inputs):
        required = self.info[kind]["input"].get("required", {})
        defaults = {key: options[1]["default"] for key, options in required.items() if "default" in (*options, {})[1]}
        self[name] = {"class_type": kind, "inputs": defaults | inputs}


def queue(host, graph):
    """What came of a graph: its history entry."""
    body = json.dumps({"prompt": graph}).encode()
    request = urllib.request.Request(f"{host.url}/prompt", body, {"Content-Type": "application/json"})
    with LOCAL.open(request, timeout=60) as answer:
        prompt = json.load(answer)["prompt_id"]
    while prompt not in (history := host.get(f"/history/{prompt}")):
        time.sleep(0.2)
    return history[prompt]


def forget(host):
    """Empty the server's cache of what earlier graphs made."""
    body = json.dumps({"free_memory": True}).encode()
    request = urllib.request.Request(f"{host.url}/free", body, {"Content-Type": "application/json"})
    LOCAL.open(request, timeout=60).close()
    # The server does so before it takes up the graph after the next.
    nothing = {
        "picture": {"class_type": "EmptyImage", "inputs": {"width": 1, "height": 1, "batch_size": 1, "color": 0}}
    }
    shown = {"show": {"class_type": "PreviewImage", "inputs": {"images": ["picture", 0]}}}
    succeeded(host, nothing | shown)


def succeeded(host, graph):
    """The history entry of a graph that must run without a fault."""
    entry = queue(host, graph)
    assert entry["status"]["status_str"] == "success", error_of(entry)
    return entry


def executed(entry, graph):
    cached = {
        node for kind, data in entry["status"]["messages"] if kind == "execution_cached" for node in data["nodes"]
    }
    return set(graph) - cached


def error_of(entry):
    return next(data["exception_message"] for kind, data in entry["status"]["messages"] if kind == "execution_error")
