"""Cut a full set of reference vectors down to the cases kept in this folder: python cut.py SOURCE

Values are copied as they are; JSON loses its indentation. The full set is checked by `python dev.py parity DIR`.
"""

import json
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

HERE = Path(__file__).parent
WHOLE = ("weights.safetensors", "README.md")
KEPT = {
    "g1_unet_forward": ("a", "c_odd", "d_oneframe"),
    "g2_tuning": ("official_checkpointing", "no_checkpointing"),
    "g3_ddim_inversion": ("n10",),
    "g4_null_text": ("main",),
    "g5_edits": ("replace_percword_fast",),
    "g5_edits_localblend": ("replace_lb_null",),
}
HOOKS = {"a": ("mid_block.attentions.0.transformer_blocks.0.attn_temp", "up_blocks.0.upsamplers.0")}


def cut(source):
    for name in WHOLE:
        shutil.copyfile(source / name, HERE / name)
    for name in ("unet_config", "diffusers_to_ldm"):
        write_json(name, json.loads((source / f"{name}.json").read_text()))
    for name, cases in KEPT.items():
        settings = json.loads((source / f"{name}.json").read_text())
        dropped = {case for case in settings if case not in cases and isinstance(settings[case], dict)}
        settings = {case: value for case, value in settings.items() if case not in dropped}
        tensors = {
            key: value
            for key, value in load_file(source / f"{name}.safetensors").items()
            if key.split(".")[0] not in dropped
        }
        for case, hooks in HOOKS.items() if name == "g1_unet_forward" else ():
            settings[case]["hooks"] = list(hooks)
            kept = tuple(f"{case}.hook.{hook}." for hook in hooks)
            tensors = {
                key: value
                for key, value in tensors.items()
                if not key.startswith(f"{case}.hook.") or key.startswith(kept)
            }
        write_json(name, settings)
        save_file(tensors, HERE / f"{name}.safetensors")


def write_json(name, value):
    (HERE / f"{name}.json").write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    cut(Path(sys.argv[1]))
