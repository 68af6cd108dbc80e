"""A tuning as a LoRA: through the stock loader, with the temporal part in a file of its own."""

import logging
import re
from dataclasses import replace

import folder_paths
import pytest
import torch
from comfyui_videop2p.tests.host.calls import NODES, predict, run
from comfyui_videop2p.videop2p_core.host.source.tuning import tuned
from comfyui_videop2p.videop2p_core.host.storage.official_checkpoint import Weights
from safetensors import safe_open

import nodes as stock

FULL = 128  # the demo model's widest layers


@pytest.fixture
def loras(folders, monkeypatch):
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(folders / "loras")], {".safetensors"}))
    return folders / "loras"


def export(model, **inputs):
    """What the node tells."""
    with torch.inference_mode():
        node = NODES["VP2P_ExportTuning"]
        given = {"layout": "LoRA", "rank": FULL, "filename_prefix": "rabbit"}
        return node.execute(**given | inputs, model=model).ui.as_dict()["text"][0]


def with_lora(model, clip, name="rabbit_00001_.safetensors"):
    with torch.inference_mode():
        return stock.LoraLoader().load_lora(model, clip, name, 1.0, 1.0)[0]


def test_at_full_rank_lora_and_temporal_part_are_the_tuning(loras, demo, model, tuning, clip, latent, caplog):
    export(tuning[0])
    with caplog.at_level(logging.WARNING):
        lora = with_lora(demo[0], clip)
    assert "lora key not loaded" not in caplog.text
    inflated = run("InflateUNet", model=lora)[0]
    loaded, temporal = run("LoadTuning", model=inflated, tuning_name="rabbit_temporal_00001_.safetensors")
    assert not temporal.deltas
    with torch.inference_mode():
        expected, found, half, other = (predict(m, clip, latent) for m in (tuning[0], loaded, inflated, model))
    assert (found - expected).norm() < 1e-5 * expected.norm()
    assert (half - expected).norm() > 1e-4 * expected.norm() < (other - half).norm()


@pytest.mark.parametrize("rank", [1, 8])
def test_below_it_the_error_told_is_what_the_loaded_weights_lack(loras, demo, tuning, clip, rank):
    told = export(tuning[0], rank=rank)
    assert f"\nrank {rank}: " in told
    tuned_weights, lora = Weights(tuning[0], patched=True), Weights(with_lora(demo[0], clip), patched=True)
    deltas = tuning[1].deltas
    lost = {name: (tuned_weights[name] - lora[name]).norm() for name in deltas}
    whole = {name: delta.norm() for name, delta in deltas.items()}
    overall = torch.stack(list(lost.values())).norm() / torch.stack(list(whole.values())).norm()
    worst = max(deltas, key=lambda name: lost[name] / whole[name])
    share, most, name = re.search(r"by ([\d.]+)% of its size, by ([\d.]+)% at most, in (\S+)$", told).groups()
    assert float(share) == pytest.approx(100 * overall.item(), abs=0.01) and float(share) > 1
    assert float(most) == pytest.approx(100 * (lost[worst] / whole[worst]).item(), abs=0.01) and name == worst
    untouched = [name for name in tuned_weights if name not in deltas]
    assert all(torch.equal(tuned_weights[name], lora[name]) for name in untouched[::40])


def test_the_files_say_what_they_are_and_are_never_overwritten(loras, folders, tuning):
    assert export(tuning[0], rank=4, filename_prefix="clips/rabbit").splitlines()[:2] == [
        "LoRA: clips/rabbit_00001_.safetensors", "temporal part: clips/rabbit_temporal_00001_.safetensors"
    ]  # fmt: skip
    before = (loras / "clips" / "rabbit_00001_.safetensors").read_bytes()
    export(tuning[0], rank=2, filename_prefix="clips/rabbit")
    for place in ("loras/clips/rabbit", "tunings/clips/rabbit_temporal"):
        assert (folders / f"{place}_00002_.safetensors").is_file()
    assert (loras / "clips" / "rabbit_00001_.safetensors").read_bytes() == before
    with safe_open(loras / "clips" / "rabbit_00002_.safetensors", "pt") as file:
        metadata = file.metadata()
    assert metadata["ss_network_dim"] == metadata["ss_network_alpha"] == "2"
    assert metadata["base_model"] == tuning[1].base_model


def test_without_temporal_layers_the_lora_is_all(loras, folders, demo, tuning):
    still = run("InflateUNet", model=demo[0], temporal_layers=False)[0]
    assert "temporal" not in export(tuned(still, replace(tuning[1], temporal={})))
    assert not (folders / "tunings").exists()


def test_tunings_on_tunings_are_exported_as_one(loras, demo, tuning, clip):
    twice = tuned(tuning[0], tuning[1])
    export(twice)
    lora, both = (Weights(m, patched=True) for m in (with_lora(demo[0], clip), twice))
    for name in tuning[1].deltas:
        torch.testing.assert_close(lora[name], both[name], atol=1e-6, rtol=1e-5)


def test_what_has_nothing_to_export_is_named(loras, model, tuning):
    with pytest.raises(ValueError, match="the model is not tuned: connect the model from Tune on Video or Load Tuning"):
        export(model)
    export(tuning[0])
    part = run("LoadTuning", model=model, tuning_name="rabbit_temporal_00001_.safetensors")[0]
    with pytest.raises(ValueError, match="a temporal part alone: the rest of it is a LoRA already"):
        export(part)


@pytest.mark.parametrize("layout", ["LoRA", "diffusers"])
def test_a_place_outside_is_refused_before_the_work(loras, folders, tuning, layout, monkeypatch):
    monkeypatch.setattr("comfyui_videop2p.videop2p_core.host.storage.lora.export", None)
    monkeypatch.setattr("comfyui_videop2p.videop2p_core.host.storage.official_checkpoint.export", None)
    with pytest.raises(ValueError, match=r"'\.\./\.\./outside' is no place in .*: give a name, or folders and a name"):
        run("ExportTuning", model=tuning[0], layout=layout, filename_prefix="../../outside")
