"""Run by test_pack.py: asks a fresh process for a function of the pack."""

import multiprocessing
import sys

from ...tools.environment import key

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(key, sys.argv[1:]))
