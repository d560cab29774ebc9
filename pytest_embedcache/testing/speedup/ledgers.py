"""Two ledgers, side by side: what has become slower since, and what cannot be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from pytest_embedcache.testing.speedup.ledger import Gate, Ledger

__all__ = ["PERHAPS", "SAME", "SLOWER", "Changed", "Comparison", "compare_ledgers"]

SLOWER = "slower"
PERHAPS = "perhaps slower"
SAME = "no slower"
_ORDER = (SLOWER, PERHAPS, SAME)
#: What has to be equal, and known, before two times are comparable.
_IDENTITY = ("processor", "cores", "machine", "system", "implementation", "python")


@dataclass(frozen=True)
class Changed:
    """A gate's ratio, or a time in seconds, before and now.

    `slowdown` is by how many times it is worse: a ratio is smaller, a time longer.
    """

    kind: str
    name: str
    before: float
    now: float
    slowdown: float
    outcome: str


@dataclass(frozen=True)
class Comparison:
    """What came of it.

    Attributes:
        changes: The worst first.
        times_left_out: Why times were not compared, None where they were.
        only_now, only_before: Names that one of the files has alone, or alone with a value.
    """

    changes: list[Changed] = field(default_factory=list)
    times_left_out: str | None = None
    only_now: list[str] = field(default_factory=list)
    only_before: list[str] = field(default_factory=list)

    @property
    def slower(self) -> list[Changed]:
        return [one for one in self.changes if one.outcome == SLOWER]


def compare_ledgers(
    now: Ledger, before: Ledger, *, max_slowdown: float, absolute: bool = False
) -> Comparison:
    """Compare what both have: ratios always, times on one machine or with `absolute`.

    A ratio is slower when all of its interval is, against all of the earlier one, by more than
    `max_slowdown`; where only the ratios themselves are that far apart, it is perhaps slower. Of a
    time there is only its median.
    """
    gates = {name: gate for name, gate in now.gates.items() if gate.ratio is not None}
    earlier = {name: gate for name, gate in before.gates.items() if gate.ratio is not None}
    changes = [
        _ratio(name, gates[name], earlier[name], max_slowdown) for name in gates if name in earlier
    ]
    left_out = None if absolute else _why_other_machine(now, before)
    if left_out is None:
        changes += [
            _time(name, now.times[name], before.times[name], max_slowdown)
            for name in now.times
            if name in before.times
        ]
    here, there = (_names(one, times=left_out is None) for one in (now, before))
    changes.sort(key=lambda one: (_ORDER.index(one.outcome), -one.slowdown))
    return Comparison(
        changes,
        left_out,
        [name for name in here if name not in there],
        [name for name in there if name not in here],
    )


def _names(one: Ledger, *, times: bool) -> list[str]:
    """What could be compared; the sides of a gate go without saying."""
    gates = [name for name, gate in one.gates.items() if gate.ratio is not None]
    sides = {f"{name} ({role})" for name in gates for role in ("baseline", "contender")}
    more = [name for name in one.times if name not in sides and name not in gates]
    return gates + (more if times else [])


def _why_other_machine(now: Ledger, before: Ledger) -> str | None:
    """What differs, or is not known, of the two machines; None where they are the same.

    The host's name counts where both have it, so that hosted runners of one kind are not one.
    """
    for name in (*_IDENTITY, "node"):
        here, there = now.machine.get(name), before.machine.get(name)
        if name == "node":
            if here and there and here != there:
                return "another host"
        elif not (here and there):
            return f"the {name} is not known of both"
        elif here != there:
            return f"another {name}: {_short(here)}, and {_short(there)} before"
    return None


def _short(value: Any) -> str:
    return " ".join(str(value).split())


def _ratio(name: str, now: Gate, before: Gate, most: float) -> Changed:
    assert now.ratio is not None
    assert before.ratio is not None
    slowdown = before.ratio / now.ratio
    surely = before.low / now.high if math.isfinite(before.low) else -math.inf
    outcome = SLOWER if surely > most else PERHAPS if slowdown > most else SAME
    return Changed("ratio", name, before.ratio, now.ratio, slowdown, outcome)


def _time(name: str, now: float, before: float, most: float) -> Changed:
    slowdown = now / before
    return Changed("time", name, before, now, slowdown, SLOWER if slowdown > most else SAME)
