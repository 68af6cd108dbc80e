"""Every group of reference vectors in a folder, one line each: python dev.py parity DIR"""

import importlib
import sys
import time
from pathlib import Path

GROUPS = ("g1", "g2", "g3", "g4", "g5", "g6")


def report(directory):
    """Whether every group in the folder is within tolerance."""
    passed = True
    for group in GROUPS:
        started = time.monotonic()
        try:
            results = importlib.import_module(f"{__package__}.{group}").check(directory)
        except Exception as error:  # whatever a folder lacks or spoils, the other groups are still compared
            passed = False
            print(f"{group.upper()} FAIL {type(error).__name__}: {error}", flush=True)
            continue
        worst = max(results, key=lambda result: (not result.passed, result.ratio))
        passed &= worst.passed
        verdict = "ok  " if worst.passed else "FAIL"
        print(
            f"{group.upper()} {verdict} {len(results):3} comparisons in {time.monotonic() - started:.0f} s, "
            f"largest error {worst.ratio:.3g} of its tolerance ({worst})",
            flush=True,
        )
        for result in results:
            if not result.passed and result is not worst:
                print(f"        {result}")
    return passed


def main(arguments):
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        sys.exit("usage: python dev.py parity DIR, a folder of reference vectors (tests/reference is one)")
    sys.exit(0 if report(Path(arguments[0]).resolve()) else 1)


if __name__ == "__main__":
    main(sys.argv[1:])
