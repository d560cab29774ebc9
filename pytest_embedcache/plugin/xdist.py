"""The parts that a process can have in a run: alone, controller, worker."""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin.counts import Counts, merge, no_counts, with_savings
from pytest_embedcache.plugin.options import read_settings
from pytest_embedcache.plugin.recordings import RECORDING
from pytest_embedcache.plugin.run import Run
from pytest_embedcache.plugin.settings import Settings
from pytest_embedcache.plugin.waking import KEY, distributed

if TYPE_CHECKING:
    from pytest_embedcache.plugin.durations import Durations
    from pytest_embedcache.plugin.recordings import Found
    from pytest_embedcache.plugin.recordings_end import Ending
    from pytest_embedcache.plugin.report_file import Watcher

__all__ = ["Alone", "Controller", "Worker", "role_of"]

#: The name of the run; xdist's own (`testrunuid`) may be given by the user, and come again.
RUN_KEY = "embedcache_run"
#: What a worker found in the recordings: texts too, which do not belong into a report.
FOUND_KEY = "embedcache_recordings"
#: The controller's process and machine: what is started for the run ends with it.
OWNER_KEY = "embedcache_owner"


class Alone:
    """A run in one process: counts, and reports."""

    reports = True
    #: Of tests, where a report was asked for; and what this process loads and computes.
    durations: Durations | None = None
    watcher: Watcher | None = None
    #: What was due in the recordings at the end, if anything was.
    ending: Ending | None = None

    def __init__(self, config: pytest.Config) -> None:
        self.run = Run(read_settings(config), config=config)
        self._result: Counts | None = None
        if self.run.settings.report:
            from pytest_embedcache.plugin.report_file import register_durations

            self.durations = register_durations(config)

    def start(self) -> None:
        """Called when the run begins to use us."""
        self.run.start()
        if self.run.settings.report:
            from pytest_embedcache.plugin.report_file import Watcher

            self.watcher = Watcher(self.run.settings)

    def stop(self) -> None:
        """Undo what `start` did, and close what was opened."""
        if self.watcher is not None:
            self.watcher.stop()
        self.run.stop()

    def result(self) -> Counts:
        """The counts of the whole run with their totals, once it has ended."""
        if self._result is None:
            merged = self.merged()
            costs = {}
            if merged["models"] or merged["vectors"]:
                from pytest_embedcache.plugin.costs import past_costs

                costs = past_costs(self.run)
            self._result = with_savings(merged, costs)
        return self._result

    def merged(self) -> Counts:
        """The counts of all processes."""
        merged = merge({"main": self.counts()})
        if "hosts" in merged:
            from pytest_embedcache.plugin.host import add_host

            add_host(merged, None)
        return merged

    def counts(self) -> Counts:
        """Those of this process."""
        return self.run.counts() | (self.watcher.counts() if self.watcher else {})

    def finish(self) -> None:
        """Called when this process's session ends."""
        result = self.result()
        if result["models"] or result["vectors"]:
            from pytest_embedcache.plugin.costs import remember_costs

            remember_costs(self.run, result)

    def found(self) -> list[Found]:
        """What all processes found in the recordings."""
        return [self.run.recordings.found()]

    def finish_recordings(self, session: pytest.Session) -> None:
        """Called after `finish`: what is due in the recordings; may fail the session."""
        if session.config.option.collectonly:
            return
        rows = self.found()
        settings = self.run.settings
        happened = any(row["used"] or row["absent"] or row["misses"] for row in rows)
        if not (happened or settings.mode in RECORDING or settings.prune_recordings):
            return  # recordings had no part in it
        from pytest_embedcache.plugin.recordings_end import end, incomplete, join

        found = join(rows)
        why_not = incomplete(session, found, len(self.result()["silent"]))
        self.ending = end(self.run.recordings, found, why_not)
        if self.ending.failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


class Controller(Alone):
    """Hands the settings on, collects what the workers counted, and alone reports."""

    def __init__(self, config: pytest.Config) -> None:
        super().__init__(config)
        self._workers: dict[str, Counts | None] = {}
        self._name = self.run.recordings.name = os.urandom(16).hex()
        self._found: list[Found] = []

    def configure_worker(self, node: Any) -> None:
        node.workerinput[KEY] = self.run.settings.as_dict()
        node.workerinput[RUN_KEY] = self._name
        node.workerinput[OWNER_KEY] = [os.getpid(), platform.node()]
        self._workers[node.gateway.id] = None  # until it reports

    def worker_is_down(self, node: Any) -> None:
        # A worker that crashed has no workeroutput at all.
        output = getattr(node, "workeroutput", None) or {}
        counts = output.get(KEY)
        # Empty is that of a worker that never used us.
        self._workers[node.gateway.id] = no_counts() if counts == {} else counts
        if FOUND_KEY in output:
            self._found.append(output[FOUND_KEY])

    def merged(self) -> Counts:
        own = self.counts()
        took_part = own["models"] or own["vectors"] or own["notices"]
        merged = merge(({"main": own} if took_part else {}) | self._workers)
        if "hosts" in merged or merged["silent"]:
            from pytest_embedcache.plugin.host import add_host, end_host

            add_host(merged, end_host(self.run, self._name))
        return merged

    def found(self) -> list[Found]:
        return [*super().found(), *self._found]

    def finish(self) -> None:
        super().finish()
        result = self.result()
        # A worker that was killed has left its notes, and has not said that it used anything.
        if result["models"] or result["vectors"] or result["silent"]:
            from pytest_embedcache.plugin.pins import forget

            forget(self.run.directory(), self._name)


class Worker(Alone):
    """Takes the settings from the controller, and sends its counts there."""

    reports = False

    def __init__(self, config: pytest.Config) -> None:
        worker: Any = config  # xdist adds workerinput and workeroutput
        self._config = worker
        self.run = Run(
            Settings(**worker.workerinput[KEY]),
            workers=worker.workerinput["workercount"],
            name=worker.workerinput[RUN_KEY],
            config=config,
        )
        owner, machine = worker.workerinput[OWNER_KEY]
        self.run.owner = owner if machine == platform.node() else None

    def finish(self) -> None:
        self._config.workeroutput[KEY] = self.counts()
        self._config.workeroutput[FOUND_KEY] = self.run.recordings.found()

    def finish_recordings(self, session: pytest.Session) -> None:
        """That is the controller's."""


def role_of(config: pytest.Config) -> Alone:
    """The part of this process."""
    workerinput = getattr(config, "workerinput", None)
    if workerinput is not None:
        # A controller without this plugin sends no settings: then the worker reads its own.
        return Worker(config) if KEY in workerinput else Alone(config)
    return Controller(config) if distributed(config) else Alone(config)
