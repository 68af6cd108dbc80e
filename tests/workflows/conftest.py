import pytest
from comfyui_videop2p.tools.host import Host, peers
from comfyui_videop2p.tools.pack import host_path


@pytest.fixture(scope="session")
def host(tmp_path_factory):
    """With a models folder of its own: some workflows keep files there. What one graph tuned or inverted, others take
    from its cache."""
    folder, models = tmp_path_factory.mktemp("host"), tmp_path_factory.mktemp("models")
    with Host(host_path(), folder, ["--cache-lru", "200"], models=models, packs=peers()) as running:
        yield running


@pytest.fixture(scope="session")
def info(host):
    return host.get("/object_info")
