"""Train the demo model from nothing: pictures, VAE, UNet and text encoder, decoder, judge, and the committed file.

python dev.py train                                   every stage, with fixed seeds
python dev.py train --stages unet export --resume     go on from the UNet's last checkpoint in demo/runs
python dev.py train --from-committed --stages lcm     distil the committed model to 4 steps, which no other stage needs
python dev.py train --stages unet export --from-committed
                                                      go on from demo/videop2p_demo.safetensors, with a fresh optimiser
"""

from __future__ import annotations

import argparse
import shutil

from ..videop2p_core.host.demo_model import DEMO_LCM_FILE
from . import data, export, judge, workers
from .train_lcm import LCM_FILE
from .train_unet import LATENT_FILE, UNET_FILE

PICTURES = 16000
STEPS = {"vae": 2400, "unet": 6600, "decoder": 1200, "lcm": 2000}


def train(stages: list[str], unet_steps: int, resume: bool, from_committed: bool, training: str) -> None:
    pictures = ["--pictures", str(PICTURES)]
    if from_committed:
        export.restore()
    data.pictures(PICTURES)
    for stage in stages:
        if stage == "vae":
            LATENT_FILE.unlink(missing_ok=True)
            workers.launch("demo.train_vae", ["--steps", str(STEPS["vae"]), *pictures])
        elif stage == "unet":
            start = ["--resume"] if resume else ["--initial", str(UNET_FILE)] if from_committed else []
            workers.launch("demo.train_unet", ["--steps", str(unet_steps), *pictures, *start])
        elif stage == "decoder":
            workers.launch("demo.train_vae", ["--decoder-only", "--steps", str(STEPS["decoder"]), *pictures])
        elif stage == "lcm":
            workers.launch("demo.train_lcm", ["--steps", str(STEPS["lcm"]), *pictures, *(["--resume"] * resume)])
            shutil.copyfile(LCM_FILE, DEMO_LCM_FILE)
        elif stage == "judge":
            judge.train(PICTURES, epochs=4)
        elif stage == "export":
            export.export(training)


if __name__ == "__main__":
    stages = ("vae", "unet", "decoder", "judge", "export", "lcm")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=stages, default=stages)
    parser.add_argument("--unet-steps", type=int, default=STEPS["unet"])
    parser.add_argument("--training", default="python dev.py train", help="what it took, for the file's metadata")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true")
    begin.add_argument("--from-committed", action="store_true")
    a = parser.parse_args()
    train(list(a.stages), a.unet_steps, a.resume, a.from_committed, a.training)
