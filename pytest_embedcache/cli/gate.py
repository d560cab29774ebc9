"""`embedcache gate`, for CI: is what was measured quick enough, and no slower than before?"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, add_json, slowdown
from pytest_embedcache.errors import MeasurementFileError

if TYPE_CHECKING:
    from pytest_embedcache.testing.speedup.ledger import Ledger
    from pytest_embedcache.testing.speedup.ledgers import Comparison

__all__ = ["add_command"]

#: Statuses beside 0, which only a judgement has.
_WORSE, _UNUSABLE = 1, 2


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    gate = commands.add_parser("gate", help="judge the speed that a run of tests measured")
    gate.add_argument(
        "current", metavar="CURRENT.json", help="of --benchmark-json, --embedcache-json, profile"
    )
    gate.add_argument("--baseline", metavar="PREVIOUS.json", help="the same of an earlier run")
    gate.add_argument(
        "--max-slowdown",
        type=slowdown,
        default=1.2,
        metavar="TIMES",
        help="how much slower is tolerated (default: %(default)s)",
    )
    gate.add_argument("--absolute", action="store_true", help="compare times also between machines")
    gate.add_argument("--markdown", metavar="PATH", help="add a table to this file")
    add_json(gate)
    add_directory(gate)  # as every command; nothing of it is read
    gate.set_defaults(run=_gate)


def _gate(options: argparse.Namespace) -> int:
    try:
        return _judge(options)
    except (MeasurementFileError, OSError) as error:
        # Not main's status 1, which here means slower.
        print(f"embedcache: {error}", file=sys.stderr)
        return _UNUSABLE


def _judge(options: argparse.Namespace) -> int:
    from pytest_embedcache.cli import gate_tables
    from pytest_embedcache.testing.speedup.ledger import read_ledger
    from pytest_embedcache.testing.speedup.ledgers import compare_ledgers

    now = read_ledger(options.current)
    compared = None
    if options.baseline is not None:
        before = read_ledger(options.baseline)
        compared = compare_ledgers(
            now, before, max_slowdown=options.max_slowdown, absolute=options.absolute
        )
    status, verdict = _verdict(now, compared)
    if options.markdown is not None:
        # A job summary may have other tables already.
        with open(options.markdown, "a", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in gate_tables.markdown(verdict, now, compared))
    if options.json:
        print(json.dumps(gate_tables.as_dict(status, verdict, now, compared), indent=2))
    else:
        print("\n".join(gate_tables.lines(verdict, now, compared)))
    return status


def _verdict(now: Ledger, compared: Comparison | None) -> tuple[int, str]:
    """The exit status, and why."""
    failed = sum(gate.failed for gate in now.gates.values())
    slower = len(compared.slower) if compared else 0
    if failed or slower:
        bad = (failed, "missed or undecided"), (slower, "slower than before")
        return _WORSE, ", ".join(f"{number} {what}" for number, what in bad if number)
    if compared is not None and not compared.changes:
        return _UNUSABLE, "nothing was compared: the two files have nothing that may be"
    measured = sum(gate.measured for gate in now.gates.values())
    if compared is None and not measured:
        return _UNUSABLE, "nothing was judged: no gate was measured, and there is no --baseline"
    parts = [f"{measured} of {len(now.gates)} gates measured, and none missed"] * bool(now.gates)
    if compared is not None:
        parts.append(f"{len(compared.changes)} compared, and none surely slower")
    return 0, "; ".join(parts)
