"""What a run measured, from its file: pytest-benchmark's, `--embedcache-json`, or a profile."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pytest_embedcache.errors import MeasurementFileError
from pytest_embedcache.testing.speedup.result import Outcome

__all__ = ["Gate", "Ledger", "read_ledger"]

_T = TypeVar("_T")

#: The key in a benchmark's `extra_info`, as the plugin writes it.
_EXTRA = "embedcache_speedup"
_NOT_MEASURED = "not measured"
_OUTCOMES = frozenset((*(outcome.value for outcome in Outcome), _NOT_MEASURED))


@dataclass(frozen=True)
class Gate:
    """A verdict of a run. Ratio, interval and rounds are None where nothing was measured."""

    outcome: str
    at_least: float | None
    reason: str | None = None
    ratio: float | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def measured(self) -> bool:
        return self.outcome != _NOT_MEASURED

    @property
    def failed(self) -> bool:
        """Missed or undecided, whatever the run made of that."""
        return self.outcome in (Outcome.MISSED, Outcome.UNDECIDED)


@dataclass(frozen=True)
class Ledger:
    """What one file tells.

    Attributes:
        machine: Where it was measured, in the words of `describe_machine`; empty where the file
            does not say. pytest-benchmark adds the `node`.
        gates: By test and name.
        times: Seconds per call, by the name that pytest-benchmark gives them.
    """

    machine: Mapping[str, Any] = field(default_factory=dict)
    gates: Mapping[str, Gate] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)


def read_ledger(path: str) -> Ledger:
    """Read any of the three files; which one it is shows by its content.

    Raises:
        MeasurementFileError: It cannot be read, or is none of them; it names the file.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise MeasurementFileError(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise MeasurementFileError(path, f"this is not JSON ({error})") from error
    try:
        return _ledger(content)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, KeyError):
            reason = f"{error} is missing"
        raise MeasurementFileError(path, reason) from error


def _ledger(content: Any) -> Ledger:
    if not isinstance(content, dict):
        raise TypeError("this is no JSON object")
    if "benchmarks" in content:
        return _of_benchmarks(content)
    if content.get("format", 1) != 1:
        raise ValueError(f"its format is {content['format']!r}, and 1 is known here")
    if "gates" in content:
        return _of_counts(content)
    if "stages" in content:
        return _of_profile(content)
    raise ValueError("it has neither 'benchmarks' nor 'gates' nor 'stages'")


def _of_benchmarks(content: dict[str, Any]) -> Ledger:
    info = content.get("machine_info") or {}
    cpu = info.get("cpu") or {}
    machine = {
        "processor": cpu.get("brand_raw"),
        "cores": cpu.get("count"),
        "machine": info.get("machine"),
        "system": info.get("system"),
        "implementation": info.get("python_implementation"),
        "python": info.get("python_version"),
        "node": info.get("node"),
    }
    gates, times = [], []
    for one in content["benchmarks"]:
        times.append((one["fullname"], one["stats"]["median"]))
        row = (one.get("extra_info") or {}).get(_EXTRA)
        if row and row["role"] == "contender":  # the other side has the same verdict
            gates.append(row)
    return Ledger(machine, _gates(gates), _times(times))


def _of_counts(content: dict[str, Any]) -> Ledger:
    times = [
        (f"{_key(row)} ({role})", row[role])
        for row in content["gates"]
        for role in ("baseline", "contender")
        if row.get(role) is not None
    ]
    return Ledger(content.get("machine") or {}, _gates(content["gates"]), _times(times))


def _of_profile(content: dict[str, Any]) -> Ledger:
    device = content["device"] or "the best device"
    what = f"{content['model']} on {device} ({content['strategy']})"
    times = [(f"{what}: {stage}", found["median"]) for stage, found in content["stages"].items()]
    return Ledger(content.get("machine") or {}, {}, _times(times))


def _key(row: Mapping[str, Any]) -> str:
    return f"{row['test']} {row['name']}" if row["name"] else str(row["test"])


def _gates(rows: list[dict[str, Any]]) -> dict[str, Gate]:
    return dict(_apart((_key(row), _gate(row)) for row in rows))


def _gate(row: Mapping[str, Any]) -> Gate:
    outcome, at_least = row["outcome"], row["at_least"]
    if outcome not in _OUTCOMES:
        raise ValueError(f"{outcome!r} is no outcome of a gate")
    if outcome == _NOT_MEASURED:
        return Gate(outcome, at_least, row["reason"])
    low, high = row["low"], row["high"]
    return Gate(
        outcome,
        _positive(at_least),
        row["reason"],
        _positive(row["ratio"]),
        -math.inf if low is None else 0.0 if low == 0 else _positive(low),
        math.inf if high is None else _positive(high),
    )


def _times(pairs: list[tuple[str, Any]]) -> dict[str, float]:
    # A median of 0 is of a timer that is too coarse: nothing was measured.
    return {name: _positive(seconds) for name, seconds in _apart(pairs) if seconds != 0}


def _positive(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{value!r} is no measured value")
    return float(value)


def _apart(pairs: Iterable[tuple[str, _T]]) -> Iterator[tuple[str, _T]]:
    """Names that occur again, as of two gates of one test, are numbered."""
    seen: dict[str, int] = {}
    for name, value in pairs:
        seen[name] = number = seen.get(name, 0) + 1
        yield (name if number == 1 else f"{name} #{number}"), value
