"""`python -m batch`, in this pack's folder: the same as `python batch.py`."""

import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "batch.py"), run_name="__main__")
