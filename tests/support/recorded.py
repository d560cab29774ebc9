"""Recordings of a pure model, as one process after another would make and read them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.recording import RecordPolicy, RecordStore
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.replay import DirectStore, RecordedModels, ReplayPolicy
from pytest_embedcache.vectors.replay_misses import Misses
from pytest_embedcache.vectors.spool import Merged, Spool, merge
from support.children import python_path
from support.encoders import Files, PureBackend


class Recorder:
    """One run that records: its model `m`, and what happened to its texts."""

    def __init__(
        self,
        recordings: Path,
        spool: Path,
        files: Files | None = None,
        *,
        anew: bool = False,
        aliases: dict[str, str] | None = None,
        name: str = "m",
    ) -> None:
        self.recordings, self.spool, self.anew = recordings, spool, anew
        backend = PureBackend(**{name: files or Files()})
        self.backend = backend
        registry = ModelRegistry(backends={"pure": backend})
        store = RecordStore(RecordingsStore(recordings, strict=True), Spool(spool), anew=anew)
        cache = VectorCache(DirectStore(store), RecordPolicy(store, aliases or {}))
        self.model = CachedModel(registry, ModelSpec(name, backend="pure", device="cpu"), cache)
        self.inner = lambda: self.model._source.load().model

    def finish(self) -> Merged:
        """The end of the run."""
        return merge(self.spool, self.recordings, replace=self.anew)


def record(recordings: Path, spool: Path, *texts: str, files: Files | None = None) -> Merged:
    """A whole run that records these texts in one call."""
    run = Recorder(recordings, spool, files)
    run.model.encode(list(texts))
    return run.finish()


class Replayer:
    """One process that replays; `model(name)` is what a spec of that name finds."""

    def __init__(
        self, recordings: Path, aliases: dict[str, str] | None = None, index: Path | None = None
    ) -> None:
        self.store = RecordingsStore(recordings, index=index, strict=True)
        self.misses = Misses(self.store, lambda: "the command")
        models = RecordedModels(self.store, aliases or {}, command=lambda: "the command")
        self.cache = VectorCache(DirectStore(self.store), ReplayPolicy(models, self.misses))

    def model(self, name: str | Path = "m", **spec: Any) -> CachedModel:
        found = ModelSpec(str(name), **{"backend": "pure", "device": "cpu", **spec})
        return CachedModel(ModelRegistry(backends={}), found, self.cache)


def contents(directory: Path) -> dict[str, bytes]:
    """Every file below a directory, by its relative path."""
    found = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in found}


def entries(directory: Path) -> dict[str, bytes]:
    """The same, but for headers."""
    return {k: v for k, v in contents(directory).items() if not k.endswith("embedcache.json")}


CONFTEST = """
import os
import signal

import pytest
from support.encoders import Files, PureBackend

from pytest_embedcache.models.backends import BACKENDS

if os.environ.get("NO_MODEL") is None:
    BACKENDS["pure"] = PureBackend(m=Files(weights=os.environ.get("WEIGHTS", "w")))

@pytest.fixture
def model(embedding_model_factory):
    return embedding_model_factory("m", backend="pure")
"""


class Project:
    """A suite in a directory of its own, on the pure model `m`."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", python_path("tests"))
        # Ours alone: importing everybody else's takes longer than these suites.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        self.pytester = pytester
        self.recordings = pytester.path / "tests" / "embeddings"
        self.setenv: Callable[[str, str], None] = monkeypatch.setenv
        pytester.makeini("[pytest]\ntestpaths = tests\n")
        (pytester.path / "tests").mkdir()
        (pytester.path / "conftest.py").write_text(CONFTEST)

    def tests(self, code: str, name: str = "test_texts.py") -> None:
        """Put a module of tests there."""
        (self.pytester.path / "tests" / name).write_text(code)

    def run(self, *arguments: str, mode: str | None = None) -> pytest.RunResult:
        """Run the suite in a process of its own."""
        chosen = ["-p", "embedcache", *([f"--embedcache-mode={mode}"] if mode else [])]
        if any(argument.startswith("-n") for argument in arguments):
            chosen += ["-p", "xdist"]
        return self.pytester.runpytest_subprocess(*chosen, *arguments)


def cache_directory() -> Path:
    """The versioned cache directory of the test."""
    return Path(os.environ["EMBEDCACHE_DIR"]) / "v1"
