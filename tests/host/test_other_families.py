"""Models of a family that is not supported are told which are."""

import comfy.model_patcher
import comfy.supported_models
import pytest
import torch
from comfy_api.latest import io
from comfyui_videop2p.tests.host.calls import NODES, control, run
from comfyui_videop2p.tests.host.models import SD2, SDXL

REFUSED = {
    "SVD_img2vid": SD2 | {
        "in_channels": 8, "adm_in_channels": 768, "num_classes": "sequential", "use_temporal_attention": True,
        "use_temporal_resblock": True, "num_heads": -1, "extra_ff_mix_layer": True, "merge_strategy": "learned",
        "merge_factor": 0.0, "video_kernel_size": [3, 1, 1],
    },
    "SDXLRefiner": SDXL | {"adm_in_channels": 2560, "context_dim": 1280},
    "SD_X4Upscaler": SD2 | {"in_channels": 7},
    "LotusD": SD2 | {"adm_in_channels": 4},
    "Stable_Cascade_C": {
        "stable_cascade_stage": "c", "c_cond": 16, "c_hidden": [64, 64], "nhead": [1, 1], "blocks": [[1, 1], [1, 1]],
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of the host's own upscaler
@pytest.mark.parametrize("family", REFUSED)
def test_other_families_are_told_which_are_supported(family, folders, inversion, inverting, clip, tuning):
    """Wherever a MODEL is taken, before anything else is looked at."""
    model = unweighted(family)
    run("SaveTuning", tuning=tuning[1])
    edit = control(clip)[0]
    parts = {"inversion": inversion, "edit": edit}
    calls = {
        "InflateUNet": {},
        "DDIMInvert": inverting,
        "TuneOnVideo": {"positive": inverting["source"], "latent": inverting["latent"]},
        "LoadTuning": {"tuning_name": "tuning_00001_.safetensors"},
        "DecoupledSample": {name: [value] for name, value in parts.items()},
        "DecoupledGuider": parts,
        "AttentionMaps": parts,
    }
    # What exports a tuning takes a tuned model alone, and one of another family cannot be. What weighs words and looks
    # for them takes more families, and a pair of experts fewer.
    others = {"VP2P_ExportTuning", "VP2P_WordWeights", "VP2P_WordMask", "VP2P_WatchWords", "VP2P_ModelPair"}
    assert takes_a_model() - others == {f"VP2P_{name}" for name in calls}
    for node_id, inputs in calls.items():
        with pytest.raises(ValueError, match=f"{type(model.model).__name__} .*Stable Diffusion 1.x, 2.x or XL"):
            run(node_id, **inputs | {"model": [model] if node_id == "DecoupledSample" else model})


def takes_a_model():
    return {
        name for name, node in NODES.items() if any(type(given) is io.Model.Input for given in node.GET_SCHEMA().inputs)
    }


def unweighted(family):
    """A MODEL without weights."""
    config = getattr(comfy.supported_models, family)(REFUSED[family] | {"dtype": torch.float32})
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(config.get_model({}, "", "meta"), load_device=cpu, offload_device=cpu)
