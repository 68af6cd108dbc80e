"""Everything a developer does, one command each, with nothing but Python and pip to begin with.

    python dev.py COMMAND [ARGUMENT ...]

{commands}

The first one makes an environment with pinned requirements and a real ComfyUI in a cache folder (VP2P_HOME names
another one). COMFYUI_PATH names a ComfyUI of your own to run with instead.
"""

import sys

if sys.version_info < (3, 11):
    this = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"dev.py: the pinned requirements need Python 3.11 or newer and this is {this}: run it with a newer one")

import argparse
import os
import signal
import subprocess
import webbrowser

from tools import environment
from tools.host import Host, HostError


def setup(arguments):
    """make the environment and fetch ComfyUI; every other command does so by itself"""
    python, comfyui = environment.ready()
    print(f"Python:  {python}\nComfyUI: {comfyui}")
    return 0


def test(arguments):
    """run all tests, two at a time; arguments go to pytest, -n 0 for one at a time"""
    return in_environment("-m", "pytest", "-n", "2", "--dist", "loadfile", *arguments, cwd=environment.ROOT)


def host(arguments):
    """start ComfyUI with this pack and open it; --no-browser, --port N, further flags go to ComfyUI"""
    parser = argparse.ArgumentParser(prog="dev.py host")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument("--port", type=int, help="a free one by default")
    options, flags = parser.parse_known_args(arguments)
    python, comfyui = environment.ready()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # leaves the with block, which stops ComfyUI
    print("Starting ComfyUI ...", flush=True)
    with Host(comfyui, environment.home() / "host", flags, options.port, python) as running:
        nodes = running.pack_nodes()
        print(f"ComfyUI is at {running.url} with {len(nodes)} nodes of this pack{': ' * bool(nodes)}{', '.join(nodes)}")
        print(f"It writes to {running.folder}, its log is {running.log.name}. Ctrl-C stops it.", flush=True)
        if not options.no_browser:
            webbrowser.open(running.url)
        try:
            code = running.process.wait()
        except KeyboardInterrupt:
            return 0
        raise HostError(f"ComfyUI ended by itself with exit code {code}; the end of its log:\n{running.log_tail()}")


def demo(arguments):
    """edit the demo clip by a word through ComfyUI and write what came of it into output/"""
    return run_module("demo.show", arguments)


def gallery(arguments):
    """run the demo workflows (all, or NAME ...), measure them, and make the thumbnails"""
    return run_module("demo.gallery", arguments)


def pictures(arguments):
    """make the pictures of the help pages and of the README, or some of the help pages' alone: NAME ..."""
    if arguments:
        return run_module("demo.help_pictures", arguments)
    in_browser = ["-m", "pytest", "-n", "0", "tests/browser"]
    return (
        run_module("demo.help_pictures", [])
        or demo([])
        or in_environment(*in_browser, cwd=environment.ROOT)
        or run_module("demo.readme_pictures", [])
    )


def workflows(arguments):
    """write workflows/ and subgraphs/ anew from tools/workflows"""
    return run_module("tools.workflows.write", arguments)


def locales(arguments):
    """write locales/en anew after a change of a node's texts"""
    return run_module("tools.locales", arguments)


def train(arguments):
    """train the demo model (demo/README.md)"""
    return run_module("demo.train", arguments)


def demo_eval(arguments):
    """measure the demo model against ground truth: --seed N --clips K --json FILE"""
    return run_module("demo.evaluate", arguments)


def parity(arguments):
    """compare with the official implementation's numbers in a folder: DIR"""
    return run_module("tests.parity.report", arguments)


def bench(arguments):
    """measure what the method costs: --frames F --latent S --repeats R --no-memory --json FILE"""
    return run_module("tools.bench.report", arguments)


COMMANDS = {
    "demo": demo,
    "setup": setup,
    "test": test,
    "host": host,
    "pictures": pictures,
    "workflows": workflows,
    "gallery": gallery,
    "locales": locales,
    "train": train,
    "demo-eval": demo_eval,
    "parity": parity,
    "bench": bench,
}


def run_module(module, arguments):
    return in_environment(environment.ROOT / "tools" / "pack.py", module, *arguments)


def in_environment(*command, cwd=None):
    python, comfyui = environment.ready()
    process = subprocess.Popen([python, *command], cwd=cwd, env={**os.environ, "COMFYUI_PATH": str(comfyui)})
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            pass  # Ctrl-C reached the command as well: let it finish in its own way


def main(argv):
    if not argv or argv[0] not in COMMANDS:
        listing = "\n".join(f"    {name:<10} {command.__doc__}" for name, command in COMMANDS.items())
        print(__doc__.format(commands=listing))
        asked = bool(argv) and argv[0] in ("-h", "--help", "help")
        return 0 if asked else f"dev.py: there is no command {argv[0]!r}" if argv else 2
    try:
        return COMMANDS[argv[0]](argv[1:])
    except (environment.SetupError, HostError) as error:
        return f"dev.py {argv[0]}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
