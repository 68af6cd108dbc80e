"""Known vulnerabilities of what requirements-dev.lock pins, as pip-audit tells them: `python dev.py audit`."""

import json
import subprocess

from . import environment

PIP_AUDIT = "2.10.1"


def audit(*options):
    """Print what was found. 0 only if every package was looked up and none is vulnerable. options: of pip-audit."""
    command = [
        environment.tool("pip-audit", PIP_AUDIT), "-m", "pip_audit", "--requirement", environment.LOCK,
        "--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off", *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    sentences, code = verdict(done.stdout, done.stderr)
    print("\n".join(sentences))
    return code


def verdict(output, complaint):
    """(sentences, exit code) of pip-audit's JSON. By itself it is content where its service knows no package at all."""
    try:
        packages = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        reason = (complaint.strip().splitlines() or ["it said nothing"])[-1]
        return [f"Nothing was audited: pip-audit did not get an answer ({reason}). Run this with network access."], 2
    skipped = [package for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return [
            f"Nothing was audited: the vulnerability service cannot be reached, or knows none of {len(packages)} "
            "packages (a mirror of the package index has none). Run this with network access, or with -s osv."
        ], 2
    sentences = [f"{package['name']} was not audited: {package['skip_reason']}" for package in skipped]
    for package in packages:
        for vulnerability in package.get("vulns", ()):
            versions = ", ".join(vulnerability["fix_versions"])
            mended = f"mended in {versions}" if versions else "not mended yet"
            sentences.append(f"{package['name']} {package['version']}: {vulnerability['id']}, {mended}")
    audited, vulnerabilities = len(packages) - len(skipped), len(sentences) - len(skipped)
    return [*sentences, f"{audited} packages audited, {vulnerabilities} vulnerabilities"], int(bool(sentences))
