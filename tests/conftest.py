import runpy
from pathlib import Path

runpy.run_path(str(Path(__file__).parents[1] / "tools" / "pack.py"))["load_pack"]()
