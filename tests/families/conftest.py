import pytest
from comfyui_videop2p.tools.pack import use_host

use_host()

from comfyui_videop2p.tests.families.worlds import WORLDS, runs_here  # noqa: E402


@pytest.fixture(scope="module", params=WORLDS, ids=str)
def world(request):
    return runs_here(request.param)


@pytest.fixture(scope="module", params=[world for world in WORLDS if world.name != "image UNet"], ids=str)
def video(request):
    return runs_here(request.param)
