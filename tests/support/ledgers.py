"""Files of what was measured, made by hand: as little of each as is read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = {
    "processor": "A fast one",
    "cores": 2,
    "machine": "x86_64",
    "system": "Linux",
    "implementation": "CPython",
    "python": "3.12.1",
}


def row(test: str, ratio: float, spread: float = 0.01, **other: Any) -> dict[str, Any]:
    """A gate of a run, whose interval reaches so far to both sides."""
    return {
        "test": test,
        "name": None,
        "outcome": "reached",
        "reason": None,
        "at_least": 10,
        "ratio": ratio,
        "low": ratio * (1 - spread),
        "high": ratio * (1 + spread),
        "baseline": 0.001 * ratio,
        "contender": 0.001,
        **other,
    }


def unmeasured(test: str, reason: str) -> dict[str, Any]:
    outcome = "not measured"
    return {"test": test, "name": None, "outcome": outcome, "reason": reason, "at_least": None}


def counts(path: Path, *rows: dict[str, Any], machine: dict[str, Any] | None = HERE) -> Path:
    """As `--embedcache-json` writes it."""
    content = {"format": 1, "machine": machine, "gates": rows}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def benchmarks(path: Path, times: dict[str, float], node: str = "a", **cpu: Any) -> Path:
    """As `--benchmark-json` writes it, of ordinary benchmarks."""
    info = {
        "node": node,
        "machine": "x86_64",
        "system": "Linux",
        "python_implementation": "CPython",
        "python_version": "3.12.1",
        "cpu": {"brand_raw": "A fast one", "count": 2, **cpu},
    }
    rows = [
        {"fullname": name, "stats": {"median": seconds}, "extra_info": {}}
        for name, seconds in times.items()
    ]
    path.write_text(json.dumps({"machine_info": info, "benchmarks": rows}), encoding="utf-8")
    return path
