"""What is installed: locked by hashes for tests, open for users, under licences that were looked at, audited."""

import json
import re
from types import SimpleNamespace

import pytest
import yaml
from comfyui_videop2p.tools import audit, environment, licences, lock
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

LOCKED = environment.LOCK.read_text(encoding="utf-8")
SYSTEMS = [
    {
        "sys_platform": system,
        "platform_system": name,
        "platform_machine": machine,
        "python_version": python,
        "python_full_version": f"{python}.1",
    }
    for system, name, machine in (
        ("linux", "Linux", "x86_64"),
        ("linux", "Linux", "aarch64"),
        ("win32", "Windows", "AMD64"),
        ("darwin", "Darwin", "arm64"),
    )
    for python in ("3.11", "3.14")
]


def entries(text):
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def packages(text):
    """{name: (requirement, its hashes)} of a lock."""
    found = {}
    for entry in entries(text.replace("\\\n", " ")):
        line, *hashes = re.split(r" +--hash=", entry)
        found[canonicalize_name(Requirement(line).name)] = Requirement(line), hashes
    return found


# --- pinned -----------------------------------------------------------------------------------------------------------


def test_every_package_of_the_lock_has_one_version_and_the_sha256_of_its_files():
    found = packages(LOCKED)
    assert len(found) > 100
    for requirement, hashes in found.values():
        assert re.fullmatch(r"==[\w.]+", str(requirement.specifier)), requirement
        assert hashes and all(re.fullmatch(r"sha256:[0-9a-f]{64} ?", text) for text in hashes), requirement


def test_the_lock_names_no_index_and_no_folder():
    assert not re.search(r"https?:|file:|--(index|extra|find|trusted)|^-", LOCKED, re.MULTILINE)


def test_the_lock_is_the_one_of_the_requirements():
    found = packages(LOCKED)
    for line in entries(lock.REQUIREMENTS.read_text(encoding="utf-8")):
        wanted = Requirement(line)
        assert found[canonicalize_name(wanted.name)][0].specifier == wanted.specifier, line


def test_the_lock_has_all_that_its_packages_need_on_every_system():
    found = packages(LOCKED)
    for system in SYSTEMS:
        there = {name for name, (line, _) in found.items() if line.marker is None or line.marker.evaluate(system)}
        for name in there & set(licences.locked(LOCKED)):
            for needed in map(Requirement, licences.requires(name) or ()):
                if needed.marker is None or needed.marker.evaluate(system | {"extra": ""}):
                    assert canonicalize_name(needed.name) in there, f"{name} needs {needed} on {system}"


def test_commits_are_checked_by_the_locked_ruff():
    config = yaml.safe_load((environment.ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    needs = [need for repo in config["repos"] for hook in repo["hooks"] for need in hook["additional_dependencies"]]
    pinned = [Requirement(need) for need in needs if need.startswith("ruff")]
    assert len(pinned) == 2 and {need.specifier for need in pinned} == {packages(LOCKED)["ruff"][0].specifier}


def test_users_get_ranges():
    lines = entries((environment.ROOT / "requirements.txt").read_text(encoding="utf-8"))
    assert lines and all(re.fullmatch(r"[\w-]+>=[\d.]+", line) for line in lines)


def test_a_new_lock_keeps_what_is_locked_and_asks_for_all_systems(monkeypatch):
    ran = []
    monkeypatch.setattr(environment, "tool", lambda name, version: name)
    monkeypatch.setattr(
        lock.subprocess, "run", lambda command, **_: ran.append(command) or SimpleNamespace(returncode=0)
    )
    assert lock.write("--upgrade") == 0
    (command,) = ran
    assert {"--universal", "--generate-hashes", "--upgrade", environment.LOCK.name} < set(command)


# --- licences ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def saying(monkeypatch):
    """saying(name={field: value}, ...): the packages that are installed, and their metadata."""

    def pretend(**packages):
        def metadata(name):
            fields = packages[name]
            return SimpleNamespace(get=fields.get, get_all=lambda field, default: fields.get(field, default))

        monkeypatch.setattr(licences, "metadata", metadata)

    return pretend


def test_every_licence_was_agreed_to(capsys):
    assert licences.main() == 0
    shown = capsys.readouterr().out
    assert re.search(r"^certifi +users +MPL-2.0 +certificates", shown, re.MULTILINE)
    assert re.search(r"^torch +Apache-2.0", shown, re.MULTILINE)  # which is ComfyUI's, not brought for the pack


def test_every_exception_is_still_needed():
    names = licences.locked(LOCKED)
    for form, (said, _) in licences.EXCEPTIONS.items():
        there = [name for name in names if licences.fnmatch(name, form)]
        assert not there or any(licences.licence(name) == said for name in there), form


def test_an_unknown_licence_is_found(saying):
    saying(
        good={"License-Expression": "MIT OR Apache-2.0"}, bad={"License-Expression": "MIT AND AGPL-3.0-only"}, mute={}
    )
    found = list(licences.unwelcome(["good", "bad", "mute"], set()))
    assert [text.split(":")[0] for text in found] == ["bad says of its licence", "mute says of its licence"]
    assert "AGPL" in found[0] and "nothing" in found[1]


def test_an_exception_holds_for_the_licence_that_was_looked_at(saying):
    saying(certifi={"License": "MPL-2.0"}, tqdm={"License": "SSPL-1.0"})
    assert [text.split()[0] for text in licences.unwelcome(["certifi", "tqdm"], {"certifi", "tqdm"})] == ["tqdm"]


def test_users_get_no_copyleft_that_only_tests_may_have(saying):
    saying(hypothesis={"License-Expression": "MPL-2.0"})
    assert not list(licences.unwelcome(["hypothesis"], set()))
    assert "requirements.txt brings it" in next(licences.unwelcome(["hypothesis"], {"hypothesis"}))


@pytest.mark.parametrize(
    "fields, licence",
    [
        ({"License-Expression": "MIT-CMU", "License": "other"}, "MIT-CMU"),
        ({"License": "Apache 2.0 License"}, "Apache-2.0"),
        ({"License": "the whole\ntext", "Classifier": ["License :: OSI Approved :: BSD License"]}, "BSD"),
        ({"Classifier": ["License :: A", "License :: OSI Approved :: MIT License"]}, "A AND MIT"),
        ({}, ""),
    ],
)
def test_a_licence_is_read_wherever_a_package_says_it(saying, fields, licence):
    saying(it=fields)
    assert licences.licence("it") == licence and licences.permissive(licence) == (
        licence in ("MIT-CMU", "Apache-2.0", "BSD")
    )


def test_what_users_install_is_followed_to_its_end():
    found = licences.needed(["diffusers>=0.30.0", "nothing; sys_platform == 'amiga'"])
    assert {"diffusers", "huggingface-hub", "tqdm", "certifi"} < found
    assert not {"torch", "numpy", "hypothesis", "nothing"} & found


# --- vulnerabilities --------------------------------------------------------------------------------------------------

SOUND = {"name": "einops", "version": "0.8.2", "vulns": []}
UNKNOWN = {"name": "own", "skip_reason": "not found: own (1.0)"}


def test_no_network_is_said_in_a_sentence():
    said, code = audit.verdict("", "Traceback ...\nConnectionError: Failed to resolve 'the.service'\n")
    assert code == 2 and said == [
        "Nothing was audited: pip-audit did not get an answer (ConnectionError: Failed to resolve 'the.service'). "
        "Run this with network access."
    ]


def test_a_service_that_knows_nothing_has_found_nothing():
    said, code = audit.verdict(json.dumps({"dependencies": [UNKNOWN, UNKNOWN]}), "No known vulnerabilities found")
    assert code == 2 and said[0].startswith("Nothing was audited") and "knows none of 2 packages" in said[0]


def test_a_sound_lock_passes():
    assert audit.verdict(json.dumps({"dependencies": [SOUND]}), "") == (["1 packages audited, 0 vulnerabilities"], 0)


def test_what_is_vulnerable_or_was_skipped_is_named():
    bad = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"]}]}
    worse = {"name": "av", "version": "2.0", "vulns": [{"id": "PYSEC-2", "fix_versions": []}]}
    said, code = audit.verdict(json.dumps({"dependencies": [SOUND, bad, worse, UNKNOWN]}), "")
    assert code == 1 and said == [
        "own was not audited: not found: own (1.0)",
        "pillow 1.0: PYSEC-1, mended in 1.1, 2.0",
        "av 2.0: PYSEC-2, not mended yet",
        "3 packages audited, 2 vulnerabilities",
    ]


def test_the_lock_itself_is_audited(monkeypatch, capsys):
    def run(command, **_):
        assert environment.LOCK in command and "--require-hashes" in command
        return SimpleNamespace(stdout=json.dumps({"dependencies": [SOUND]}), stderr="")

    monkeypatch.setattr(environment, "tool", lambda name, version: name)
    monkeypatch.setattr(audit.subprocess, "run", run)
    assert audit.audit() == 0 and capsys.readouterr().out == "1 packages audited, 0 vulnerabilities\n"
