"""`embedcache doctor`: what is here, what would be slow or would not work, and what to do."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterator
from typing import Any

from pytest_embedcache.cli.options import DEFAULT_MODEL, add_directory, add_json
from pytest_embedcache.cli.stats import size

__all__ = ["add_command"]

PACKAGES = (
    *("pytest-embedcache", "pytest", "pytest-xdist", "numpy", "sentence-transformers"),
    *("transformers", "torch", "onnxruntime", "tokenizers", "redis", "openai"),
)
_ORDER = ("broken", "slow", "note", "ok")


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    doctor = commands.add_parser("doctor", help="say what would be slow here, and what to do")
    doctor.add_argument(
        "--model",
        default=os.environ.get("EMBEDCACHE_MODEL") or DEFAULT_MODEL,
        metavar="MODEL",
        help="default: EMBEDCACHE_MODEL, or %(default)s",
    )
    add_json(doctor)
    add_directory(doctor)
    doctor.set_defaults(run=_doctor)


def _doctor(options: argparse.Namespace) -> int:
    from pytest_embedcache.cli.checks import CHECKS, Patient
    from pytest_embedcache.files import cache_directory
    from pytest_embedcache.installed import installed_version
    from pytest_embedcache.models.profile import ResourceProfile

    profile = ResourceProfile.here(options.dir)
    patient = Patient(cache_directory(options.dir), options.model, profile)
    findings = [finding for check in CHECKS for finding in check(patient)]
    findings.sort(key=lambda finding: _ORDER.index(finding.level))
    shown = {
        "python": f"{platform.python_version()} on {platform.system()}",
        "installed": {name: installed_version(name) for name in PACKAGES},
        "machine": profile.as_dict(),
        "cache": {"path": str(patient.directory), "prepared": _prepared(patient.directory)},
        "findings": [vars(finding) for finding in findings],
    }
    print(json.dumps(shown, indent=2) if options.json else "\n".join(_lines(shown)))
    return int(any(finding.level == "broken" for finding in findings))


def _prepared(directory: Any) -> dict[str, int]:
    """How many models are prepared, by the kind of preparation."""
    try:
        kinds = [kind for kind in (directory / "artifacts").iterdir() if kind.is_dir()]
    except OSError:
        return {}
    return {kind.name: sum(entry.is_dir() for entry in kind.iterdir()) for kind in sorted(kinds)}


def _lines(shown: dict[str, Any]) -> Iterator[str]:
    there = [f"{name} {version}" for name, version in shown["installed"].items() if version]
    away = [name for name, version in shown["installed"].items() if not version]
    machine = shown["machine"]
    yield f"Python {shown['python']}"
    yield f"installed: {', '.join(there)}"
    if away:
        yield f"not installed: {', '.join(away)}"
    named = ", ".join(a["name"] for a in machine["accelerators"]) or "no accelerator"
    kind = machine["disk"]["kind"] or "unknown"
    free = size(machine["memory_free"])
    yield f"machine: {machine['cores']} cores, {free} of memory free, {named}, disk {kind}"
    prepared = ", ".join(f"{n} {kind}" for kind, n in shown["cache"]["prepared"].items())
    yield f"cache: {shown['cache']['path']}; prepared: {prepared or 'nothing'}"
    yield ""
    for finding in shown["findings"]:
        yield f"{finding['level']:<7}{finding['topic']}: {finding['what']}"
        if finding["remedy"]:
            yield f"       → {finding['remedy']}"
