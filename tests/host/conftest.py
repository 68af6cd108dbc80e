import pytest
import torch
from comfyui_videop2p.tools.pack import use_host

use_host()

import folder_paths  # noqa: E402
from comfyui_videop2p.tests.host.calls import FRAMES, SOURCE, STEPS, encode, run  # noqa: E402
from comfyui_videop2p.videop2p_core.host.demo_model import load_demo_model  # noqa: E402

# --- the demo model, inflated, and a small clip inverted and tuned on -------------------------------------------------


@pytest.fixture(scope="session")
def demo():
    with torch.inference_mode():
        return load_demo_model()


@pytest.fixture(scope="session")
def clip(demo):
    return demo[1]


@pytest.fixture(scope="session")
def model(demo):
    return run("InflateUNet", model=demo[0])[0]


@pytest.fixture(scope="session")
def latent():
    return {"samples": 2 * torch.randn(FRAMES, 4, 16, 16, generator=torch.Generator().manual_seed(0))}


@pytest.fixture(scope="session")
def inverting(model, clip, latent):
    """The inputs of a small inversion."""
    return {
        "model": model, "source": encode(clip, SOURCE), "null": encode(clip, ""), "latent": latent, "steps": STEPS,
        "method": "direct",
    }  # fmt: skip


@pytest.fixture(scope="session")
def inversion(inverting):
    return run("DDIMInvert", **inverting)[0]


@pytest.fixture(scope="session")
def tuning(model, clip, latent):
    """(model, tuning, loss plot) of a small tuning."""
    return run("TuneOnVideo", model=model, positive=encode(clip, SOURCE), latent=latent, steps=2, learning_rate=1e-3)


# --- the same bits ----------------------------------------------------------------------------------------------------


@pytest.fixture
def one_thread():
    """Several add up in another order each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- folders of the test's own ----------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for kind in ("inversions", "tunings"):
        monkeypatch.setitem(folder_paths.folder_names_and_paths, f"videop2p_{kind}", ([str(tmp_path / kind)], set()))
    return tmp_path
