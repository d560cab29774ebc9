"""What a run does to the process that it is in, and undoes at its end."""

from __future__ import annotations

import gc
import logging
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pytest_embedcache.plugin.settings import Settings

__all__ = ["OwnProcess"]

#: Whose warnings are about somebody who waits. By name: nothing is imported before it is needed.
_WAITS = "pytest_embedcache.models.locking"


class OwnProcess:
    """The threads of models, and who hears of a wait.

    `workers` is the number of processes that share the machine's cores.

    Attributes:
        threads: The cap that was set on the threads of models, None where none was.
    """

    def __init__(self, settings: Settings, workers: int, config: pytest.Config | None) -> None:
        self.threads: int | None = None
        self._limit = settings.threads
        self._workers = workers
        self._threads_before: int | None = None
        #: The limit of prepared models, which may have been none.
        self._others_before: tuple[int | None] | None = None
        self._announcer = _Announcer(config)

    def before_models(self) -> None:
        """Called before the first model is asked for: until then nothing is changed."""
        log = logging.getLogger(_WAITS)
        if self._announcer not in log.handlers:
            log.addHandler(self._announcer)

    def after_import(self, fresh: bool) -> None:
        """Called at every load, between the import of the libraries and the building."""
        if fresh:
            # What an import leaves behind stays; without this each full collection walks over it.
            # Before the model is built, which could otherwise never be freed. For good: to unfreeze
            # at the end would cost a second at the exit.
            gc.freeze()
        if self._limit == "off" or (self._limit == "auto" and self._workers < 2):
            return
        limit = self._limit
        if limit == "auto":
            from pytest_embedcache.models.resources import threads_per_worker

            limit = threads_per_worker(self._workers)
        self._hold_torch(int(limit))
        self._hold_others(int(limit))

    def _hold_torch(self, limit: int) -> None:
        torch = sys.modules.get("torch")
        if torch is None:
            return
        before = torch.get_num_threads()
        if limit < before:  # the user may have set fewer
            if self._threads_before is None:
                self._threads_before = before
            torch.set_num_threads(limit)
            self.threads = limit

    def _hold_others(self, limit: int) -> None:
        """Those of prepared models, each of which takes what is allowed when it is built."""
        if "onnxruntime" not in sys.modules:
            return
        from pytest_embedcache.models import threads

        if limit < threads.allowed():
            before = threads.limit(limit)
            if self._others_before is None:
                self._others_before = (before,)
            self.threads = limit

    def put_back(self) -> None:
        """Undo it."""
        torch = sys.modules.get("torch")
        if self._threads_before is not None and torch is not None:
            torch.set_num_threads(self._threads_before)
        if self._others_before is not None:
            from pytest_embedcache.models import threads

            threads.limit(*self._others_before)
        logging.getLogger(_WAITS).removeHandler(self._announcer)


class _Announcer(logging.Handler):
    """Says at once, past the capturing of output, for whom a run stands still.

    Whoever looks at a run that does not go on learns from a log that is shown when it has failed
    only after the deadline, and of one that succeeds never.
    """

    def __init__(self, config: pytest.Config | None) -> None:
        super().__init__(logging.WARNING)
        self._config = config

    def emit(self, record: logging.LogRecord) -> None:
        capture: Any = self._config and self._config.pluginmanager.getplugin("capturemanager")
        # A worker's standard error is its controller's, too.
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            print(f"\nembedcache: {record.getMessage()}", file=sys.stderr, flush=True)
