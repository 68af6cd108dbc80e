"""Long runs that stop anywhere and go on: the same numbers, whatever happened to what they kept."""

import pytest
import torch
from comfyui_videop2p.tests.core.sd_schedule import sigmas_of
from comfyui_videop2p.videop2p_core.diffusion.editing_loop import edit_clip
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion, ddim_invert, replay
from comfyui_videop2p.videop2p_core.diffusion.null_text import optimise_null_text
from comfyui_videop2p.videop2p_core.diffusion.schedule import ddim_sigmas
from comfyui_videop2p.videop2p_core.diffusion.tuning import TuningSettings, tune
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from comfyui_videop2p.videop2p_core.storage import unfinished_file as unfinished_file
from comfyui_videop2p.videop2p_core.storage.unfinished_file import UnfinishedFile

LEVELS = sigmas_of(torch.linspace(0.999, 0.01, 40))
Z0 = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
TEXT = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(1))
STEPS = 7


class Stopped(Exception):
    pass


class Network:
    """A denoiser that counts its calls. strength: what tells one from another."""

    def __init__(self, strength=0.5):
        generator = torch.Generator().manual_seed(2)
        shapes = {"a.attn1.to_q.weight": (4, 4), "a.attn_temp.to_out.0.bias": (4,)}
        self.parameters = {name: strength * torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
        self.calls = 0

    def __call__(self, x, sigma, conditioning):
        self.calls += 1
        q, bias = self.parameters.values()
        mixed = torch.einsum("fchw,dc->fdhw", x, q) + bias[:, None, None]
        return torch.tanh(mixed + conditioning.mean(dim=1)[..., None, None]) / (1 + sigma)


def tuned(network, progress, unfinished, **settings):
    settings = TuningSettings(**{"steps": STEPS, "learning_rate": 1e-2} | settings)

    def heard(losses):
        progress(len(losses) - 1, losses[-1])

    done = tune(network, network.parameters, Z0, LEVELS, TEXT, settings, progress=heard, unfinished=unfinished)
    return [*done.deltas.values(), *done.temporal.values(), done.losses, done.grad_norms]


def patient(network, progress, unfinished):
    return tuned(network, progress, unfinished, steps=45, learning_rate=1e-3, patience=20)


def inverted(network, progress, unfinished):
    return [ddim_invert(network, Z0, ddim_sigmas(LEVELS, STEPS), TEXT, rounds=1, progress=progress,
                        unfinished=unfinished)]  # fmt: skip


def null_text(network, progress, unfinished):
    sigmas = ddim_sigmas(LEVELS, STEPS)
    trajectory = ddim_invert(network, Z0, sigmas, TEXT)
    network.calls = 0
    found = optimise_null_text(
        network, trajectory, sigmas, TEXT, 0 * TEXT, inner_steps=3, epsilon=2.25e-2, progress=progress,
        unfinished=unfinished,
    )  # fmt: skip
    assert len({len(row) for row in found.losses}) > 1  # some steps stop early
    return [found.null, found.reconstruction, torch.tensor([loss for row in found.losses for loss in row])]


RUNS = {run.__name__: run for run in (tuned, patient, inverted, null_text)}


def stopping_at(last):
    heard = []

    def progress(step, value):
        heard.append(step)
        if step == last:
            raise Stopped

    return progress, heard


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("last", [2, 3, 5])
def test_a_run_that_stopped_goes_on_to_the_same_bits(tmp_path, name, last):
    run, path = RUNS[name], tmp_path / "kept.safetensors"
    whole, (never, steps) = Network(), stopping_at(None)
    expected = run(whole, never, None)
    progress, _ = stopping_at(last)
    with pytest.raises(Stopped):
        run(Network(), progress, UnfinishedFile(path, every=2))
    assert path.is_file()
    again, (never, heard) = Network(), stopping_at(None)
    assert all(map(torch.equal, run(again, never, UnfinishedFile(path, every=2)), expected))
    assert again.calls < whole.calls and heard == steps[-len(heard) :]


def kept_after(path, last, **settings):
    progress, _ = stopping_at(last)
    with pytest.raises(Stopped):
        tuned(Network(), progress, UnfinishedFile(path, every=2), **settings)


def begun_anew(path, network=None, **settings):
    network, (progress, _) = network or Network(), stopping_at(None)
    tuned(network, progress, UnfinishedFile(path, every=2), **settings)
    return network.calls == STEPS


def test_another_model_goes_its_own_way(tmp_path, caplog):
    """A patch that the file's name does not know of changes the first step."""
    path = tmp_path / "kept.safetensors"
    kept_after(path, 5)
    assert begun_anew(path, Network(strength=0.501)) and "began otherwise" in caplog.text
    kept_after(path, 5)
    assert not begun_anew(path)


@pytest.mark.parametrize("damage", ["cut", "bit", "of another kind", "of another version", "empty"])
def test_a_damaged_file_is_passed_over(tmp_path, caplog, damage):
    path = tmp_path / "kept.safetensors"
    kept_after(path, 5)
    content = path.read_bytes()
    if damage == "of another kind":
        weights.write({"a": torch.zeros(1)}, path, {"video_p2p": "tuning"})
    elif damage == "of another version":
        path.write_bytes(content.replace(b'"version":"1"', b'"version":"2"'))
    else:
        path.write_bytes({"cut": content[:-7], "bit": content[:-1] + bytes([content[-1] ^ 1]), "empty": b""}[damage])
    assert begun_anew(path) and "begun anew" in caplog.text


@pytest.fixture
def full_disk():
    """No file may be larger than a kilobyte."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_stops_no_run(tmp_path, caplog, full_disk):
    assert begun_anew(tmp_path / "kept.safetensors") and "The run goes on" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("can't allocate memory")])
def test_memory_that_is_short_for_what_is_kept_stops_no_run(tmp_path, caplog, error, monkeypatch):
    path = tmp_path / "kept.safetensors"

    def short(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(unfinished_file, "_checksum", short)
        assert begun_anew(path) and "The run goes on" in caplog.text and not path.exists()
    kept_after(path, 5)
    monkeypatch.setattr(unfinished_file, "_checksum", short)
    assert begun_anew(path) and "begun anew" in caplog.text


def test_tensors_may_lie_in_memory_in_any_order(tmp_path):
    """As those of video models, whose axes were moved."""
    file, moved = UnfinishedFile(tmp_path / "kept.safetensors", 1), torch.arange(6.0).reshape(2, 3).T
    assert file.of_same_run(moved) is None
    file.keep(1, lambda: {"x": moved})
    assert torch.equal(file.of_same_run(moved)["x"], moved)


@pytest.mark.parametrize("name", RUNS)
def test_values_that_are_no_numbers_end_a_run(name):
    network, (progress, heard) = Network(), stopping_at(None)

    def failing(x, sigma, conditioning):
        found = network(x, sigma, conditioning)
        return found if len(heard) < 2 or name == "null_text" and network.calls < 9 else found * torch.nan

    failing.parameters = network.parameters
    failing.calls = 0
    said = {"inverted": "inversion", "null_text": "null-text optimisation"}.get(name, "tuning")
    with pytest.raises(ValueError, match=f"step . of the {said} gave values that are not numbers"):
        RUNS[name](failing, progress, None)


def test_a_gradient_that_is_no_number_changes_nothing(tmp_path):
    """Neither what is trained nor what is kept: the next run goes on from before."""
    path, network = tmp_path / "kept.safetensors", Network()
    spoilt = []

    def spoil(gradient):
        spoilt.append(gradient)
        return gradient * torch.nan if len(spoilt) == 4 else gradient

    def failing(x, sigma, conditioning):
        found = network(x, sigma, conditioning)
        if found.requires_grad:
            found.register_hook(spoil)
        return found

    failing.parameters, failing.calls = network.parameters, 0
    progress, _ = stopping_at(None)
    with pytest.raises(ValueError, match="the gradient of step 4 of the tuning gave values that are not numbers"):
        tuned(failing, progress, UnfinishedFile(path, every=2))
    assert all(value.isfinite().all() for value in network.parameters.values())
    expected = tuned(Network(), progress, None)
    assert all(map(torch.equal, tuned(Network(), progress, UnfinishedFile(path, every=2)), expected))


@pytest.mark.parametrize("method", ["negative-prompt", "direct"])
def test_so_do_those_of_a_reconstruction_and_of_an_edit(method):
    sigmas = ddim_sigmas(LEVELS, STEPS)
    trajectory = ddim_invert(Network(), Z0, sigmas, TEXT)
    inversion = Inversion(method, trajectory, sigmas, source=TEXT, initial_null=0 * TEXT)
    with pytest.raises(ValueError, match="step 1 of the reconstruction gave values that are not numbers"):
        replay(lambda x, sigma, text: x * torch.nan, inversion, TEXT)
    with pytest.raises(ValueError, match="step 1 of the edit gave values that are not numbers"):
        edit_clip(lambda sigma, asked: [x / 0 for _, x in asked], inversion)
