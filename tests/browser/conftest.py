import shutil

import pytest
from comfyui_videop2p.tools.environment import ROOT
from comfyui_videop2p.tools.host import Host, peers
from comfyui_videop2p.tools.pack import host_path

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
# The page is warned of what a later one takes away: where the pack's own script does it, that is a complaint.
WARNED = """
const warn = console.warn
console.warn = (...said) => {
    warn(...said)
    if (new Error().stack.includes("/comfyui-videop2p/")) console.error("videop2p is warned:", ...said)
}"""
SCREENSHOTS = ROOT / "output" / "screenshots"


@pytest.fixture(scope="session")  # to start one takes longer than most tests here
def host(tmp_path_factory):
    with Host(host_path(), tmp_path_factory.mktemp("browser"), packs=peers()) as running:
        yield running


@pytest.fixture(scope="module")  # longer, its event loop would keep other tests from starting theirs
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt install chromium): the browser is not tested")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # as the page's own waits: the machine may have other work
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(host, browser):
    """ComfyUI's page, ready; what it complains of is collected in `page.complaints`."""
    page = browser.new_page(viewport={"width": 1600, "height": 900})
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
    page.add_init_script(WARNED)
    page.request.post(f"{host.url}/settings/Comfy.TutorialCompleted", data="true")  # else templates cover the page
    page.goto(host.url)
    # The graph that a start opens comes last: one loaded before it would be lost.
    page.wait_for_function("window.app?.graph?._nodes.length && window.app.extensionManager", timeout=60_000)
    page.wait_for_selector("[data-testid=queue-button]", timeout=60_000)
    yield page
    page.close()
