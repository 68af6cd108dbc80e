"""requirements-dev.lock: every package that requirements-dev.txt brings, for all systems, each file by its sha256."""

import subprocess

from . import environment

UV = "0.13.9"
REQUIREMENTS = environment.ROOT / "requirements-dev.txt"
OLDEST_PYTHON = "3.11"


def write(*options):
    """Resolve anew and write; what is locked stays at its version unless it must move. options: of `uv pip compile`.

    uv asks the package index that its own settings name (UV_DEFAULT_INDEX), not pip's; the lock names none.
    """
    python = environment.tool("uv", UV)
    command = [
        python, "-m", "uv", "--quiet", "pip", "compile", REQUIREMENTS.name, "--output-file", environment.LOCK.name,
        "--universal", "--python-version", OLDEST_PYTHON, "--generate-hashes", "--only-binary", ":all:",
        "--no-annotate", "--custom-compile-command", "python dev.py lock", *options,
    ]  # fmt: skip
    return subprocess.run(command, cwd=environment.ROOT).returncode
