"""python dev.py faults [--short] [SECTION ...]

What goes wrong on purpose, section by section, and what the pack makes of it; each module here says what its section
does. `--short` is what the tests run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator

import torch

from . import crash, determinism, disturbed, files, memory, prompts, routes, saving, together
from .figures import Figure

SECTIONS: dict[str, Callable[[bool], Iterator[Figure]]] = {
    "disturbed": disturbed.figures,
    "crash": crash.figures,
    "saving": saving.figures,
    "files": files.figures,
    "prompts": prompts.figures,
    "routes": routes.figures,
    "together": together.figures,
    "memory": memory.figures,
    "determinism": determinism.figures,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="dev.py faults")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    asked = parser.parse_args()
    unknown = [name for name in asked.sections if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section '{unknown[0]}': {', '.join(SECTIONS)}")
    torch.set_num_threads(1)  # several add up in another order each time
    wrong = []
    for name in asked.sections or SECTIONS:
        for figure in SECTIONS[name](asked.short):
            wrong += figure.wrong
            print(f"{name:12} {figure}", flush=True)
    for said in wrong:
        print(said)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
