"""What git knows of this repository."""

import subprocess

import pytest
from comfyui_videop2p.tools.environment import ROOT


def git(*arguments, **options):
    """What git prints, asked in the repository's root. Skips the test where this is no checkout, or there is no git."""
    try:
        root = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no git here")
    if root.returncode or not ROOT.samefile(root.stdout.strip()):
        pytest.skip("this is no checkout of git")
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, **options).stdout


def tracked():
    """The paths of all tracked files, from the root."""
    return git("ls-files", "-z").split("\0")[:-1]
