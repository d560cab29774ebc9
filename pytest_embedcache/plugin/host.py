"""The model host of a run: which there is, what it was asked for, and that it ends with the run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.backends.remote import asking
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.host.address import Address, address_of, any_kept
from pytest_embedcache.models.host.link import Link, ask_once
from pytest_embedcache.models.host.process import Job
from pytest_embedcache.models.host.starting import start_at
from pytest_embedcache.models.host.surroundings import Surroundings
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.words import count, seconds, times

if TYPE_CHECKING:
    from pytest_embedcache.plugin.counts import Counts
    from pytest_embedcache.plugin.run import Run

__all__ = ["RunHost", "add_host", "end_host", "handle_of", "host_line"]

_LOADING = ("gets", "loads", "failures", "evictions", "load_seconds", "import_seconds")


def handle_of(run: Run, spec: ModelSpec, backend: Any, **given: Any) -> ModelHandle:
    """The handle of a resolved spec; where a host may have its model, one that asks it."""
    if run.settings.host == "off":
        return ModelHandle(spec, backend, **given)
    if run.host is None:
        run.host = RunHost(run)
    return asking(run.host.link)(spec, backend, **given)


class RunHost:
    """The way of one process of a run to a host.

    One that was kept is the most welcome. Of several workers the first that needs a model starts
    one for the run; with `keep` anybody does, for this run and the next.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._keeps = run.settings.host == "keep"
        #: With one worker there is nothing to share.
        self._starts = self._keeps or (run.owner is not None and run.workers > 1)
        # As the run began: a test may be in the middle of whatever it does to its process.
        self._around = Surroundings(*run.began)
        start = self._start if self._starts else None
        self.link = Link(self._addresses, start, around=self._around)

    def counts(self) -> Counts:
        """What this process asked the host for; nothing where it never found one."""
        link = self.link
        if link.pid is None and not link.lost:
            return {}
        return {"host": {"asked": link.asked, "lost": link.lost, "pid": link.pid}}

    def close(self) -> None:
        """Ask no more."""
        self.link.close()

    def _addresses(self) -> Sequence[Address]:
        root, around = self._run.root, self._around
        kept = self._keeps or any_kept(around)
        found = [address_of(root, around=around)] if kept else []
        if self._starts and not self._keeps:
            found.append(address_of(root, self._run.name, around=around))
        return found

    def _start(self) -> None:
        settings = self._run.settings
        address = self._addresses()[-1]
        threads: int | None
        if settings.threads == "auto":  # all the cores that a container may use
            from pytest_embedcache.models.resources import threads_per_worker

            threads = threads_per_worker(1)
        else:
            threads = None if settings.threads == "off" else int(settings.threads)
        job = Job(
            str(address.path),
            self._run.root,
            owner=None if self._keeps else self._run.owner,
            idle=settings.host_timeout,
            model_timeout=settings.model_timeout,
            threads=threads,
        )
        start_at(address, job, self._around)


def end_host(run: Run, name: str) -> dict[str, Any] | None:
    """End the host of the run of this name, and return what it did; None where there is none."""
    if run.settings.host != "auto":
        return None
    around = Surroundings(*run.began)
    with contextlib.suppress(OSError, ValueError):
        return ask_once(address_of(run.root, name, around=around), {"do": "stop"}, around=around)
    return None


def add_host(merged: Counts, stats: Mapping[str, Any] | None) -> None:
    """Put what was asked of a host, and did it, into the merged counts of a run.

    Its loads are those of one more process, `host`; a host that is kept has done them, perhaps, in
    an earlier run, and has no `stats` here.
    """
    by_worker = merged.pop("hosts", {})
    if not by_worker and stats is None:
        return
    asked = {name: row["asked"] for name, row in by_worker.items()}
    lost = [name for name, row in by_worker.items() if row["lost"]]
    told = stats or {}
    merged["host"] = {
        "asked": asked,
        "lost": lost,
        "batches": told.get("batches", []),
        "peak_bytes": told.get("peak_bytes"),
    }
    for row in told.get("models", []):
        named = {"name": row["name"], "device": row["device"]}
        found = [m for m in merged["models"] if named.items() <= m.items()]
        if not found:
            fresh = {**named, "uses": 0, **dict.fromkeys(_LOADING, 0), "per_process": {}}
            merged["models"].append(fresh)
            found = [fresh]
        own = {"uses": 0, **{name: row[name] for name in _LOADING}}
        for name in _LOADING:
            found[0][name] += own[name]
        found[0]["per_process"]["host"] = own


def host_line(merged: Mapping[str, Any]) -> str:
    """One line: loads, who asked how much, and in how many calls."""
    host = merged["host"]
    rows = [row["per_process"].get("host", {}) for row in merged["models"]]
    loads = sum(row.get("loads", 0) for row in rows)
    asked = host["asked"]
    who = [f"{name} {count(texts)}" for name, texts in asked.items() if texts]
    line = "model host: "
    if loads:
        took = sum(row["load_seconds"] + row["import_seconds"] for row in rows if row)
        line += f"{times(loads, 'load')} in {seconds(took)}, "
    line += times(sum(asked.values()), "text")
    if len(who) > 1:
        line += f" ({', '.join(who)})"
    calls = sum(row["calls"] for row in host["batches"])
    if calls:
        encoded = sum(row["encoded"] for row in host["batches"])
        largest = max(row["largest"] for row in host["batches"])
        line += f", {times(calls, 'call')} of {encoded / calls:.1f} texts, at most {largest}"
    if host["lost"]:
        line += f"; lost by {', '.join(host['lost'])}"
    return line
