"""The recordings of one run in one process: which stores a mode has, and what they found."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin.running import running_test
from pytest_embedcache.plugin.table import Mode

if TYPE_CHECKING:
    from pytest_embedcache.errors import ReplayMissError
    from pytest_embedcache.plugin.settings import Settings
    from pytest_embedcache.vectors.api import StoreSettings
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.replay_misses import Misses

__all__ = ["RECORDING", "Found", "RunRecordings", "have_recordings"]

#: The modes that write recordings.
RECORDING = (Mode.RECORD, Mode.RERECORD)

#: Without a value; those that decide what is recorded.
_SAID_AGAIN = ("--embedcache-dropin",)

#: What a process found, in built-in types: see `RunRecordings.found`.
Found = dict[str, Any]


def have_recordings(directory: str) -> bool:
    """Whether there are recordings; looks at names alone."""
    try:
        folders = [entry.path for entry in os.scandir(directory) if entry.is_dir()]
    except OSError:
        return False
    return any(os.path.isfile(os.path.join(folder, "embedcache.json")) for folder in folders)


class RunRecordings:
    """Costs nothing until a model is asked for.

    `directory` gives the run's cache directory. `name` is that of a distributed run. `left_out` are
    the tests that were collected and deselected.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Callable[[], Path],
        name: str | None,
        left_out: Sequence[pytest.Item] = (),
    ) -> None:
        self.settings = settings
        self.path = Path(settings.recordings or "")
        self._left_out = left_out
        self._directory = directory
        self.name = name or f"process {os.getpid()}"
        self._stores: dict[Mode, Any] = {}
        self._misses: Misses | None = None

    def command(self, *, test: bool = False) -> str:
        """What records all, or what the test that runs now asks for."""
        words = ["pytest", "--embedcache-mode=record"]
        if not self.settings.given.get("recordings", "ini").startswith("ini"):
            words.append(f"--embedcache-recordings={os.path.relpath(self.path)}")
        given = self.settings.given
        if given.get("model") == "--embedcache-model":
            words.append(f"--embedcache-model={self.settings.model}")
        words += [flag for flag in _SAID_AGAIN if flag in given.values()]
        if test and (now := running_test()):
            words.append(now)
        return shlex.join(words)

    def cache_directory(self) -> Path:
        """The run's versioned cache directory."""
        return self._directory()

    def spool(self) -> Path:
        """Where this run's new recordings wait."""
        from pytest_embedcache.vectors.spool import spool_directory

        run = self.name if self.settings.mode == Mode.RERECORD else None
        return spool_directory(self._directory(), self.path, run)

    def cache(self, mode: Mode, settings: StoreSettings) -> VectorCache:
        """The vectors of a mode; in `auto`, with recordings as a tier where there are any."""
        from pytest_embedcache.vectors.api import open_cache
        from pytest_embedcache.vectors.cache import VectorCache

        if mode is Mode.AUTO and not have_recordings(str(self.path)):
            return open_cache(settings)
        from pytest_embedcache.vectors.recording import RecordPolicy, RecordStore
        from pytest_embedcache.vectors.recordings import RecordingsStore
        from pytest_embedcache.vectors.replay import (
            DirectStore,
            RecordedModels,
            ReplayPolicy,
            TierPolicy,
        )
        from pytest_embedcache.vectors.replay_misses import Misses
        from pytest_embedcache.vectors.spool import Spool

        store = RecordingsStore(
            self.path, index=self._directory() / "recordings", strict=mode is not Mode.AUTO
        )
        self._stores[mode] = store
        aliases = self.settings.aliases
        command = partial(self.command, test=True)
        models = RecordedModels(store, aliases, cache_dir=self.settings.dir, command=command)
        if mode is Mode.AUTO:
            return open_cache(settings, store, TierPolicy(models))
        if mode is Mode.REPLAY:
            from pytest_embedcache.plugin.ci import BY_CI

            by_ci = self.settings.given.get("mode") == BY_CI
            self._misses = Misses(store, command, BY_CI if by_ci else None)
            return VectorCache(DirectStore(store), ReplayPolicy(models, self._misses))
        recording = RecordStore(store, Spool(self.spool()), anew=mode is Mode.RERECORD)
        return VectorCache(DirectStore(recording), RecordPolicy(recording, aliases))

    @contextmanager
    def missing_nothing(self) -> Iterator[None]:
        """Around a phase of a test: a miss fails it, also where code under test caught the error.

        Nor does a test get around it that skips itself for it.
        """
        self._missed()
        try:
            yield
        except pytest.skip.Exception:
            if (missed := self._missed()) is not None:
                raise missed from None
            raise
        if (missed := self._missed()) is not None:
            raise missed from None

    def _missed(self) -> ReplayMissError | None:
        return self._misses.take() if self._misses is not None else None

    def found(self) -> Found:
        """What happened in this process, in built-in types.

        `used` are keys that were found or recorded, by fingerprint; `absent` those of `auto` that
        are not in the recordings; `misses` those that failed in `replay`.
        """
        used: dict[str, list[str]] = {}
        for store in self._stores.values():
            for fingerprint, keys in store.used.items():
                used.setdefault(fingerprint, []).extend(key.hex() for key in keys)
        absent = self._stores[Mode.AUTO].missed if Mode.AUTO in self._stores else {}
        return {
            "used": used,
            "absent": [key.hex() for keys in absent.values() for key in keys],
            "misses": [miss.as_dict() for miss in self._misses.all()] if self._misses else [],
            "deselected": len(self._left_out),
        }
