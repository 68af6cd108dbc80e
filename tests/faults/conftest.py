import pytest
import torch
from comfyui_videop2p.tools.pack import use_host

use_host()

from comfyui_videop2p.tests.faults.operations import World  # noqa: E402

MEASURED = "measured"  # record_property(MEASURED, "12 points") is shown at the end


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Several add up in another order each time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture
def measured(record_property):
    """measured("12 points"): what a test counted, shown at the end and in what --junitxml writes."""
    return lambda said: record_property(MEASURED, said)


def pytest_terminal_summary(terminalreporter):
    for report in terminalreporter.getreports("passed"):
        for said in (said for name, said in report.user_properties if name == MEASURED):
            terminalreporter.write_line(f"{report.nodeid.partition('::')[2]}: {said}")
