"""Runs a program that ends when the process that started it does, however that ends: its standard input closes then.

python tools/tied.py PROGRAM [ARGUMENT ...]
"""

import os
import runpy
import sys
import threading
from pathlib import Path


def end_with_parent():
    os.read(parent, 1)  # nothing is ever written
    os._exit(1)


if __name__ == "__main__":
    parent = os.dup(0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # what the program starts must not hold the pipe
    os.set_inheritable(parent, False)
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).parent)
    runpy.run_path(sys.argv[0], run_name="__main__")
