"""Train the demo model from nothing: pictures, VAE, UNet and text encoder, decoder, judge, and the file of it all.

python dev.py train                                   every stage, with fixed seeds
python dev.py train --resume                          go on from each stage's last checkpoint
python dev.py train --from-committed --stages lcm     distil the committed model to 4 steps, which no other stage needs
python dev.py train --stages unet export --from-committed
                                                      go on from demo/videop2p_demo.safetensors, with a fresh optimiser
"""

from __future__ import annotations

import argparse
import shutil

from . import data, export, runs, workers


def train(
    stages: list[str],
    pictures: int,
    judge_pictures: int,
    steps: int | None,
    resume: bool,
    from_committed: bool,
    training: str,
) -> None:
    if from_committed:
        export.restore()
    shared = ["--pictures", str(pictures), *["--resume"] * resume]
    begun = ["--begun"] * from_committed
    data.coverage(pictures)  # renders what there is not yet
    for stage in stages:
        arguments = [*shared, "--steps", str(steps or runs.STEPS.get(stage))]
        if stage == "vae":
            workers.launch("demo.train_vae", [*arguments, *begun])
        elif stage == "unet":
            workers.launch("demo.train_unet", [*arguments, *begun])
        elif stage == "decoder":
            workers.launch("demo.train_vae", [*arguments, "--decoder-only"])
        elif stage == "lcm":
            workers.launch("demo.train_lcm", arguments)
            shutil.copyfile(runs.LCM, runs.DISTILLED)
        elif stage == "judge":
            data.coverage(judge_pictures)  # renders them before both workers ask for them
            workers.launch("demo.train_judge", ["--pictures", str(judge_pictures), *["--resume"] * resume])
        elif stage == "export":
            export.export(training)


if __name__ == "__main__":
    stages = ("vae", "unet", "decoder", "judge", "export", "lcm")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", nargs="+", choices=stages, default=stages)
    parser.add_argument("--pictures", type=int, default=data.PICTURES)
    parser.add_argument("--judge-pictures", type=int, default=data.JUDGE_PICTURES)
    parser.add_argument("--steps", type=int, help="of each stage that is trained by steps, in place of its own number")
    parser.add_argument("--training", default="python dev.py train", help="what it took, for the file's metadata")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_true", help="stages without a checkpoint start from the weights there")
    begin.add_argument("--from-committed", action="store_true")
    a = parser.parse_args()
    train(list(a.stages), a.pictures, a.judge_pictures, a.steps, a.resume, a.from_committed, a.training)
