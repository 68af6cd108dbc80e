"""Many clips, several edits each, on one machine or many: `python batch.py edits.csv --out FOLDER`, see docs/batch.md.

Run it with the Python that runs ComfyUI, or by `python dev.py batch` in the environment of the tests.
"""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parent / "tools" / "pack.py"))["load_pack"]()
    try:
        from comfyui_videop2p.batch.command import main
    except ModuleNotFoundError as error:
        sys.exit(f"batch.py: this Python has no {error.name}: run it with the Python that runs ComfyUI")
    sys.exit(main(sys.argv[1:]))
