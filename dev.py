"""Everything a developer does, one command each, with nothing but Python and pip to begin with.

    python dev.py COMMAND [ARGUMENT ...]

{commands}

The first one makes an environment with pinned requirements and a real ComfyUI in a cache folder (VP2P_HOME names
another one). COMFYUI_PATH names a ComfyUI of your own to run with instead, VP2P_HOST another version to fetch.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  whoever has an older one is told so here
    this = ".".join(map(str, sys.version_info[:2]))
    sys.exit(f"dev.py: the pinned requirements need Python 3.11 or newer and this is {this}: run it with a newer one")

import argparse
import itertools
import os
import signal
import subprocess
import webbrowser

from tools import audit as vulnerabilities
from tools import environment
from tools import lock as locked
from tools.gpu import modes as pretended
from tools.host import Host, HostError

INTERRUPTED = 2  # pytest's exit code
# What touches the frontend most; `test --all` takes all.
ON_NEWEST_FRONTEND = [f"tests/browser/test_{name}.py" for name in ("workflows", "blueprint", "help")]
ON_NEWEST_FRONTEND += ["tests/browser/test_difference.py::test_the_words_of_both_prompts_are_shown"]
# What touches the host most; `test --host VERSION` takes all.
ON_OLDEST = [
    f"tests/host/test_{name}.py"
    for name in (
        "laws", "record_and_replay", "edits_by_maps", "edits_beside_others", "kinds_of_guidance", "masks",
        "edits_refused", "nodes", "wiring", "gradients", "bad_input", "misfits", "bad_files", "edit_region", "schema",
        "graph", "pack", "seam",
    )
]  # fmt: skip
ON_OLDEST += ["tests/families/test_ltx.py"]
# What draws its cases, of which `faults` has it draw so many times more.
DRAWN = [f"tests/core/test_{name}.py" for name in ("fuzz", "any_prompt")]
DRAWN += [
    f"tests/host/test_{name}.py" for name in ("hostile_names", "hostile_files", "any_prompt", "any_edit", "any_picture")
]
TIMES = "30"


def setup(_arguments):
    """make the environment and fetch ComfyUI; every other command does so by itself"""
    python, comfyui = environment.ready()
    print(f"Python:  {python}\nComfyUI: {comfyui}")
    return 0


def test(arguments):
    """run the tests, some on the oldest ComfyUI and the newest frontend too; --all: slow ones too; --host VERSION"""
    parser = argparse.ArgumentParser(prog="dev.py test", add_help=False, allow_abbrev=False)
    parser.add_argument("--host")
    options, arguments = parser.parse_known_args(arguments)
    pytest = ["-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", *arguments]
    code = in_environment(*pytest, cwd=environment.ROOT, host=options.host)
    chosen_host = options.host or os.environ.get("COMFYUI_PATH") or os.environ.get("VP2P_HOST")
    if chosen_host or code == INTERRUPTED or any(map(chooses, arguments)):
        return code
    print(f"\nOnce more on ComfyUI {environment.OLDEST_HOST}, the oldest that the pack runs on:", flush=True)
    code = in_environment(*pytest, *ON_OLDEST, cwd=environment.ROOT, host=environment.OLDEST_HOST) or code
    if code == INTERRUPTED:
        return code
    print(f"\nIn the browser once more, on ComfyUI's newest frontend, {environment.FRONTEND}:", flush=True)
    frontend = environment.ready_frontend(environment.ready()[0])
    variables = {"VP2P_FRONTEND": str(frontend)}
    chosen = ["tests/browser"] if "--all" in arguments else ON_NEWEST_FRONTEND
    return in_environment(*pytest, *chosen, cwd=environment.ROOT, variables=variables) or code


def chooses(argument):
    """Whether an argument of pytest names some tests among all."""
    return argument.startswith(("-k", "-m")) or is_path(argument)


def is_path(argument):
    path = argument.split("::")[0]
    return bool(path) and (environment.ROOT / path).exists()


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


def batch(arguments):
    """many clips, several edits each (docs/batch.md): TABLE --out FOLDER"""
    return in_environment(environment.ROOT / "batch.py", *arguments)


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


def models(_arguments):
    """write the table of docs/models.md anew after a change of what a family supports"""
    return run_module("tools.models", [])


def schema(arguments):
    """write tests/host/schema.json anew after a node or an input was added; --break though workflows break"""
    return run_module("tools.schema", arguments)


def seam(arguments):
    """write down anew what the pack relies on of ComfyUI, after a change of what it takes from there"""
    return run_module("tools.seam.write", arguments)


def train(arguments):
    """train the demo model (demo/README.md)"""
    return run_module("demo.train", arguments)


def demo_eval(arguments):
    """measure the demo model against ground truth: --seed N --clips K --json FILE"""
    return run_module("demo.evaluate", arguments)


def paper(arguments):
    """the paper's comparisons on the demo world (docs/paper.md): --clips K --seed N, --tunings, --json FILE, --docs"""
    return run_module("demo.paper.compare", arguments)


def parity(arguments):
    """compare with the official implementation's numbers in a folder: DIR"""
    return run_module("tests.parity.report", arguments)


def bench(arguments):
    """measure what the method costs: --frames F --latent S --repeats R --no-memory --edits --json FILE"""
    return run_module("tools.bench.report", arguments)


def faults(arguments):
    """run the tests of all that can go wrong, slow ones too unless --short; they say how often it did"""
    parser = argparse.ArgumentParser(prog="dev.py faults", add_help=False, allow_abbrev=False)
    parser.add_argument("--short", action="store_true")
    options, arguments = parser.parse_known_args(arguments)
    chosen = [] if any(map(is_path, arguments)) else ["tests/faults", *DRAWN]
    pytest = ["-m", "pytest", "--hypothesis-show-statistics", *chosen, *arguments]
    if options.short:
        return in_environment(*pytest, "-m", "not slow", cwd=environment.ROOT)
    times = os.environ.get("VP2P_FUZZ", TIMES)
    return in_environment(*pytest, "--all", cwd=environment.ROOT, variables={"VP2P_FUZZ": times})


def gpu(arguments):
    """run the pack's whole path, or what pytest is given, on a pretend CUDA device: [MODE ...] [pytest's arguments]"""
    names = list(itertools.takewhile(pretended.MODES.__contains__, arguments))
    if not arguments[len(names) :] or arguments[len(names) :] == ["--small"]:
        return run_module("tests.gpu.report", arguments)
    codes = [
        in_environment(
            "-m", "pytest", *arguments[len(names) :], cwd=environment.ROOT,
            variables=pretended.environment(pretended.MODES[name]),
        )
        for name in names or pretended.SHORT
    ]  # fmt: skip
    return max(codes)


def card(arguments):
    """what the pack does on this machine's own GPU, and how long it takes there: --json FILE"""
    return run_module("tools.gpu.card", arguments)


def lock(arguments):
    """write requirements-dev.lock anew after a change of requirements-dev.txt; --upgrade for newer needs of those"""
    return locked.write(*arguments)


def licences(arguments):
    """the licences of all that is installed here and for users, and whether each is one that was agreed to"""
    return run_module("tools.licences", arguments)


def audit(arguments):
    """look up known vulnerabilities of what requirements-dev.lock pins; needs the network"""
    return vulnerabilities.audit(*arguments)


COMMANDS = {
    "demo": demo,
    "setup": setup,
    "test": test,
    "host": host,
    "batch": batch,
    "pictures": pictures,
    "workflows": workflows,
    "gallery": gallery,
    "locales": locales,
    "models": models,
    "schema": schema,
    "seam": seam,
    "train": train,
    "demo-eval": demo_eval,
    "paper": paper,
    "parity": parity,
    "bench": bench,
    "faults": faults,
    "gpu": gpu,
    "card": card,
    "lock": lock,
    "licences": licences,
    "audit": audit,
}


def run_module(module, arguments):
    return in_environment(environment.ROOT / "tools" / "pack.py", module, *arguments)


def in_environment(*command, cwd=None, host=None, variables=None):
    python, comfyui = environment.ready(host)
    variables = {**os.environ, **(variables or {}), "COMFYUI_PATH": str(comfyui)}
    process = subprocess.Popen([python, *command], cwd=cwd, env=variables)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            pass  # Ctrl-C reached the command as well: let it finish in its own way


def main(argv):
    if not argv or argv[0] not in COMMANDS:
        listing = "\n".join(f"    {name:<10} {command.__doc__}" for name, command in COMMANDS.items())
        print(__doc__.format(commands=listing))
        wants_help = bool(argv) and argv[0] in ("-h", "--help", "help")
        return 0 if wants_help else f"dev.py: there is no command {argv[0]!r}" if argv else 2
    try:
        return COMMANDS[argv[0]](argv[1:])
    except (environment.SetupError, HostError) as error:
        return f"dev.py {argv[0]}: {error}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
