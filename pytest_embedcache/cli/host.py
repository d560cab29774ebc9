"""`embedcache host`: the processes of this user that have models for others; start and stop."""

from __future__ import annotations

import argparse
import json
import time
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, add_json
from pytest_embedcache.errors import HostError
from pytest_embedcache.words import count, times

if TYPE_CHECKING:
    from pytest_embedcache.models.host.address import Address

__all__ = ["add_command"]

#: Seconds, as of a kept host of a run.
_IDLE = 1800.0


def add_command(commands: Any) -> None:
    """Add the command, with its own commands, to argparse's subparsers."""
    host = commands.add_parser("host", help="the model hosts of this user: status, start, stop")
    own = host.add_subparsers(required=True, metavar="COMMAND")

    status = own.add_parser("status", help="which hosts there are, and what they did")
    add_json(status)
    add_directory(status)  # as every command; of `status` and `stop` nothing of it is read
    status.set_defaults(run=_status)

    start = own.add_parser("start", help="start one that is kept, for the runs to come")
    start.add_argument(
        "--idle-timeout",
        type=float,
        default=_IDLE,
        metavar="SECONDS",
        help=f"without a request, after which it ends; -1 never (default: {_IDLE:g})",
    )
    start.add_argument("--threads", type=int, metavar="N", help="the most that a model may use")
    add_directory(start)
    start.set_defaults(run=_start)

    stop = own.add_parser("stop", help="end the hosts that are kept; what they compute is lost")
    stop.add_argument("--all", action="store_true", help="those of runs as well")
    add_directory(stop)
    stop.set_defaults(run=_stop)


def _status(options: argparse.Namespace) -> int:
    from pytest_embedcache.models.host.address import known
    from pytest_embedcache.models.host.link import ask_once

    found: list[dict[str, Any]] = []
    for address in known():
        row: dict[str, Any] = {"address": str(address.path), "kept": _is_kept(address)}
        try:
            found.append(row | ask_once(address, {"do": "stats"}))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            found.append(row | {"error": f"does not answer ({error})"})
    if options.json:
        print(json.dumps({"hosts": found}, indent=2))
        return 0
    for row in found:
        print("\n".join(_lines(row)))
    if not found:
        print("no model host")
    return 0


def _lines(row: dict[str, Any]) -> list[str]:
    kind = "kept" if row["kept"] else "of a run"
    if "error" in row:
        return [f"{row['address']}  {kind}  {row['error']}"]
    minutes = max(0.0, time.time() - row["since"]) / 60
    lines = [f"process {row['pid']}  {kind}  {minutes:.0f} min  {row['address']}"]
    for model in row["models"]:
        state = "loaded" if model["loaded"] else "not loaded"
        lines.append(
            f"  {model['name']} on {model['device']} ({model['backend']}): {state}, "
            f"{times(model['loads'], 'load')}"
        )
    for batches in row["batches"]:
        lines.append(
            f"  {batches['name']}: {times(batches['asked'], 'text')} asked, "
            f"{count(batches['encoded'])} computed in {times(batches['calls'], 'call')}, at most "
            f"{count(batches['largest'])} at once"
        )
    return lines


def _start(options: argparse.Namespace) -> int:
    from pytest_embedcache.files import cache_directory
    from pytest_embedcache.models.host.address import address_of
    from pytest_embedcache.models.host.link import ask_once
    from pytest_embedcache.models.host.process import Job
    from pytest_embedcache.models.host.starting import start_at

    # Absolute, as a run's: a host has another working directory.
    root = str(cache_directory(options.dir).parent)
    address = address_of(root)
    job = Job(str(address.path), root, idle=options.idle_timeout, threads=options.threads)
    start_at(address, job)
    told = ask_once(address, {"do": "stats"})
    print(f"process {told['pid']} at {address.path}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    from pytest_embedcache.models.host.address import known
    from pytest_embedcache.models.host.link import ask_once

    stopped, failed = 0, []
    for address in known():
        if not (options.all or _is_kept(address)):
            continue
        try:
            told = ask_once(address, {"do": "stop"})
        except (FileNotFoundError, ConnectionRefusedError):
            continue  # it was killed; the next start sweeps up
        except (OSError, ValueError) as error:
            failed.append(f"{address.path}: {error}")
            continue
        stopped += 1
        print(f"stopped process {told['pid']}")
    if failed:
        raise HostError("; ".join(failed))
    if not stopped:
        print("no model host")
    return 0


def _is_kept(address: Address) -> bool:
    return address.path.name.startswith("keep-")
