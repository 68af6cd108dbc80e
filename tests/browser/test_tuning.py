"""The loss of a tuning, drawn on its node while it runs."""

import urllib.request

import pytest
from comfyui_videop2p.tools.host import LOCAL
from comfyui_videop2p.tools.workflows.shelf import graph_file

from .test_workflows import photograph, read

STEPS = 300  # more than are waited for
TUNE = "app.graph._nodes.find(node => node.type === 'VP2P_TuneOnVideo')"
# The curve is 16 to 9, and has frames under it once a preview was made.
SHOWN = f"() => {TUNE}.imgs?.find(picture => picture.naturalHeight > 0.6 * picture.naturalWidth)"
SIZE = f"() => {{ const {{naturalWidth, naturalHeight}} = {TUNE}.imgs[0]; return [naturalWidth, naturalHeight] }}"


@pytest.fixture
def tuning(page, host):
    """The page while a tuning runs, which is interrupted in the end."""
    page.evaluate("workflow => app.loadGraphData(workflow)", read(graph_file("demo_refine")))
    page.evaluate(
        f"""steps => {{
            const given = {{steps, preview_every: 5}}
            for (const widget of {TUNE}.widgets) if (widget.name in given) widget.value = given[widget.name]
            app.canvas.ds.scale = 1
            app.canvas.centerOnNode({TUNE})
        }}""",
        STEPS,
    )
    page.get_by_test_id("queue-button").click()
    yield page
    LOCAL.open(urllib.request.Request(f"{host.url}/interrupt", b"", method="POST"), timeout=30).close()


def test_the_loss_is_drawn_on_the_node_while_it_runs(tuning, host):
    tuning.wait_for_function(SHOWN, timeout=300_000)
    tuning.wait_for_timeout(6000)  # some more of the curve
    photograph(tuning, "tuning")
    width, height = tuning.evaluate(SIZE)
    assert width > 300 and height > 0.6 * width
    running = host.get("/queue")["queue_running"]
    assert len(running) == 1 and not host.get(f"/history/{running[0][1]}")
    assert not [text for text in tuning.complaints if "videop2p" in text.lower()]
