import json
from dataclasses import fields, replace

import pytest
import torch
from comfyui_videop2p.videop2p_core.diffusion import inversion
from comfyui_videop2p.videop2p_core.diffusion.inversion import Inversion
from comfyui_videop2p.videop2p_core.diffusion.tuning import Tuning
from comfyui_videop2p.videop2p_core.storage import artifacts as weights
from safetensors.torch import save_file


@pytest.fixture
def inverted():
    return Inversion(
        method=inversion.SHARED_NULL_TEXT, trajectory=torch.randn(3, 2, 4, 5, 6), sigmas=torch.tensor([3.0, 1.0, 0.1]),
        source=torch.randn(1, 7, 5), initial_null=torch.randn(1, 7, 5), null=torch.randn(2, 1, 7, 5), cfg=6.0, rounds=2,
        losses=((0.3, 0.2), (0.1,)), base_model="sd15, 自転車",
    )  # fmt: skip


@pytest.fixture
def tuned():
    shared = torch.randn(4, 4)
    return Tuning(
        deltas={"input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight": shared, "b.attn2.to_q.weight": shared.T},
        temporal={"b.attn_temp.to_out.0.bias": torch.randn(4)}, losses=torch.rand(3), grad_norms=torch.rand(3),
        learning_rate=1e-4, seed=8, frames=2, freeze_down_blocks=True,
    )  # fmt: skip


def same(a, b):
    if torch.is_tensor(a):
        return torch.equal(a, b)
    if hasattr(a, "keys"):
        return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
    return type(a) is type(b) and a == b


def assert_same(a, b):
    assert type(a) is type(b)
    for field in fields(a):
        assert same(getattr(a, field.name), getattr(b, field.name)), field.name


def test_an_inversion_comes_back_as_it_was(tmp_path, inverted):
    weights.save(inverted, tmp_path / "new" / "clip.safetensors")
    assert_same(weights.load_inversion(tmp_path / "new" / "clip.safetensors"), inverted)


def test_an_inversion_without_null_texts_comes_back_without(tmp_path, inverted):
    direct = Inversion(
        method=inversion.DIRECT, trajectory=inverted.trajectory, sigmas=inverted.sigmas, source=inverted.source,
        initial_null=inverted.initial_null,
    )  # fmt: skip
    weights.save(direct, tmp_path / "clip.safetensors")
    assert_same(weights.load_inversion(tmp_path / "clip.safetensors"), direct)


def test_a_tuning_comes_back_as_it_was(tmp_path, tuned):
    weights.save(tuned, tmp_path / "clip.safetensors")
    assert_same(weights.load_tuning(tmp_path / "clip.safetensors"), tuned)


def test_files_that_carry_an_empty_prompt_are_read_too(tmp_path, inverted):
    tensors, metadata = weights.packed(inverted)
    settings = {**json.loads(metadata["settings"]), "prompt": ""}
    save_file(tensors, tmp_path / "earlier.safetensors", metadata=metadata | {"settings": json.dumps(settings)})
    assert_same(weights.load_inversion(tmp_path / "earlier.safetensors"), inverted)


def test_what_is_not_a_saved_value_is_named(tmp_path, inverted, tuned):
    path = tmp_path / "file.safetensors"
    with pytest.raises(weights.WeightsError, match="there is no file"):
        weights.load_tuning(path)
    weights.save(inverted, path)
    with pytest.raises(weights.WeightsError, match="holds a saved inversion: open it with Load Inversion"):
        weights.load_tuning(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(weights.WeightsError, match="is no file of Video-P2P: choose one that Save Inversion wrote"):
        weights.load_inversion(path)
    save_file({"a": torch.zeros(1)}, path, metadata={"video_p2p": "inversion", "version": "99"})
    with pytest.raises(weights.WeightsError, match="version 99, this pack reads version 1"):
        weights.load_inversion(path)
    for settings in ("{}", "[", '{"losses": []}', '{"cfg": "7.5"}'):
        save_file(
            {"a": torch.zeros(1)}, path, metadata={"video_p2p": "inversion", "version": "1", "settings": settings}
        )
        with pytest.raises(weights.WeightsError, match="is damaged"):
            weights.load_inversion(path)
    weights.save(tuned, path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(weights.WeightsError, match="not a complete safetensors file"):
        weights.load_tuning(path)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"deltas": {"out.0.weight": torch.zeros(4)}}, "it changes out.0.weight, which one-shot tuning leaves alone"),
        ({"deltas": {"input_blocks.0.0.weight": torch.zeros(4, 4, 3, 3)}}, "it changes input_blocks.0.0.weight, which"),
        ({"deltas": {"b.attn1.to_k.weight": torch.zeros(4, 4)}}, "it changes b.attn1.to_k.weight, which"),
        ({"deltas": {"b.attn_temp.to_q.weight": torch.zeros(4, 4)}}, "it changes b.attn_temp.to_q.weight, which"),
        ({"temporal": {"b.attn1.to_q.weight": torch.zeros(4, 4)}}, "it changes b.attn1.to_q.weight, which"),
    ],
)
def test_a_tuning_of_what_tuning_leaves_alone_is_damaged(tmp_path, tuned, changes, sentence):
    weights.save(replace(tuned, **changes), tmp_path / "file.safetensors")
    with pytest.raises(weights.WeightsError, match=f"file.safetensors is damaged .{sentence}"):
        weights.load_tuning(tmp_path / "file.safetensors")


def spoilt(value, path, tensors, **settings):
    """The file of a value with other tensors and settings, whether or not a value could have them."""
    own, metadata = weights.packed(value)
    metadata["settings"] = json.dumps(json.loads(metadata["settings"]) | settings)
    save_file({name: tensor for name, tensor in (own | tensors).items() if name not in settings}, path, metadata)


@pytest.mark.parametrize("part", ["deltas", "temporal"])
def test_a_tuning_has_the_tensors_of_its_file_and_may_lack_either_part(tmp_path, tuned, part):
    path, without = tmp_path / "file.safetensors", replace(tuned, **{part: {}})
    weights.save(without, path)
    assert_same(weights.load_tuning(path), without)
    spoilt(without, path, {}, **{part: {"b.attn1.to_q.weight": 1}})
    assert_same(weights.load_tuning(path), without)


@pytest.mark.parametrize("losses, grad_norms", [((), ()), ((3, 4), (3,)), ((3, 4), (3, 4)), ((3,), (2,))])
def test_a_tuning_has_a_loss_and_a_gradient_norm_a_step(tmp_path, tuned, losses, grad_norms):
    path = tmp_path / "file.safetensors"
    spoilt(tuned, path, {"losses": torch.zeros(losses), "grad_norms": torch.zeros(grad_norms)})
    with pytest.raises(weights.WeightsError, match="damaged .the tuning has losses of shape .* one of each a step"):
        weights.load_tuning(path)


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (2, 1, 8, 5), (2, 1, 7, 4), (2, 7, 5), (2,)])
def test_null_texts_of_another_shape_are_damaged(tmp_path, inverted, shape):
    path = tmp_path / "file.safetensors"
    spoilt(inverted, path, {"null": torch.zeros(shape)})
    with pytest.raises(weights.WeightsError, match="damaged .the inversion has null texts of shape"):
        weights.load_inversion(path)
    spoilt(inverted, path, {"null": torch.zeros(2, 2, 7, 5)})  # one for each frame
    assert weights.load_inversion(path).null.shape == (2, 2, 7, 5)


STRANGE = [{"trajectory": [[1.0]] * 3}, {"records": 1}, {"null": [1, 2]}, {"cfg": 10**400}, {"with_picture": "yes"}]


@pytest.mark.parametrize("settings", STRANGE, ids=str)
def test_settings_of_another_kind_are_damaged(tmp_path, inverted, settings):
    path = tmp_path / "file.safetensors"
    spoilt(inverted, path, {}, **settings)
    with pytest.raises(weights.WeightsError, match="file.safetensors is damaged"):
        weights.load_inversion(path)


def test_a_failed_save_leaves_the_old_file_and_no_litter(tmp_path, inverted, monkeypatch):
    path = tmp_path / "clip.safetensors"
    weights.save(inverted, path)
    before = path.read_bytes()

    def break_off(tensors, name, metadata):
        with open(name, "wb") as file:
            file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(weights, "save_file", break_off)
    with pytest.raises(OSError, match="disk full"):
        weights.save(inverted, path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["clip.safetensors"]
