"""A `SentenceTransformer` that loads nothing, wherever code under test has that name.

The fixture `fake_sentence_transformer` is this with pytest; `fake_sentence_transformers` is the
same for any other runner.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import MissingExtraError, UnresolvedBindingError
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.bindings import Guard, caller, replace_everywhere
from pytest_embedcache.testing.fake_model import Call, FakeSentenceTransformer, short_name

if TYPE_CHECKING:
    from pytest_embedcache.models.artifacts import ArtifactStore

__all__ = [
    "Call",
    "FakeBackend",
    "FakeSentenceTransformer",
    "FakeSentenceTransformers",
    "fake_sentence_transformers",
]

#: By a part of the name, lower case; the first that occurs counts.
DIMENSIONS = {
    "minilm": 384,
    "mpnet": 768,
    "distilroberta": 768,
    "bge-small": 384,
    "bge-base": 768,
    "bge-large": 1024,
    "e5-small": 384,
    "e5-base": 768,
    "e5-large": 1024,
}
DEFAULT_DIMENSION = 384
_NO_FILES = "fake"


@dataclass
class FakeSentenceTransformers:
    """Controls and observes the fakes of one test.

    Attributes:
        load_delay: Seconds that a construction takes.
        dimensions: Dimension by model name; unlisted names get that of their family.
        calls: Every call of every fake, in order.
    """

    load_delay: float = 0.0
    dimensions: dict[str, int] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    _loads: list[str] = field(default_factory=list)
    _load_failures: list[BaseException] = field(default_factory=list)
    _encode_failures: list[BaseException] = field(default_factory=list)
    _lock: Any = field(default_factory=threading.Lock)
    _over: bool = False

    def load_count(self, name: str | None = None) -> int:
        """How often a fake was constructed, or should have been and failed.

        Short and full name are one model; None counts all.
        """
        with self._lock:
            if name is None:
                return len(self._loads)
            return sum(short_name(loaded) == short_name(name) for loaded in self._loads)

    def fail_next_load(self, error: BaseException, *, times: int = 1) -> None:
        """Let the next constructions raise `error`."""
        self._load_failures += [error] * times

    def fail_next_encode(self, error: BaseException, *, times: int = 1) -> None:
        """Let the next calls of `encode` and its kin raise `error`."""
        self._encode_failures += [error] * times

    def dimension_of(self, name: str) -> int:
        """The dimension of the model `name`."""
        for key, size in self.dimensions.items():
            if short_name(key) == short_name(name):
                return size
        lower = name.lower()
        return next((d for part, d in DIMENSIONS.items() if part in lower), DEFAULT_DIMENSION)

    def on_load(self, name: str) -> None:
        """Called by every construction."""
        self._refuse_if_over()
        if self.load_delay:
            time.sleep(self.load_delay)
        with self._lock:
            self._loads.append(name)
            if self._load_failures:
                raise self._load_failures.pop(0)

    def on_call(self, call: Call) -> None:
        """Called by every encoding."""
        self._refuse_if_over()
        with self._lock:
            self.calls.append(call)
            if self._encode_failures:
                raise self._encode_failures.pop(0)

    def end(self) -> None:
        """Whatever kept a fake beyond its test gets an error from now on, and no fake vectors."""
        self._over = True

    def _refuse_if_over(self) -> None:
        if self._over:
            raise UnresolvedBindingError(caller(), "it kept a fake of a test that is over")


class FakeBackend:
    """A backend whose models are fakes: any name is there, and nothing is read."""

    def __init__(self, make: Callable[..., Any], fakes: FakeSentenceTransformers) -> None:
        self._make = make
        self._fakes = fakes

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        # A path of its own: no resolved spec of a real model equals it.
        return spec.replace(
            name=short_name(spec.name),
            backend="fake",
            device=spec.device or "cpu",
            dtype=spec.dtype or "float32",
            path=f"fake:{digest(short_name(spec.name), spec.revision or '')[:16]}",
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        name = short_name(spec.name)
        size = self._fakes.dimension_of(name)
        metadata = ModelMetadata(dimension=size, max_seq_length=256)
        # No real model has this fingerprint: fakes and real models never share a vector.
        fingerprint = digest("embedcache-fake-1", name, str(size))
        return Identity(name, fingerprint, "float32", metadata, _NO_FILES)

    def signature(self, spec: ModelSpec) -> str | None:
        return _NO_FILES

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return (("max_seq_length", str(model.max_seq_length)),)

    def import_libraries(self) -> bool:
        return False

    def load(self, spec: ModelSpec) -> Any:
        return self._make(spec.name, device=spec.device)


@contextmanager
def fake_sentence_transformers(cache_dir: Path) -> Iterator[FakeSentenceTransformers]:
    """Replace `SentenceTransformer` wherever it is bound; empty the default registry and store.

    `cache_dir` stands in for the cache directory. Everything is put back at the end, also in
    modules that were imported meanwhile. Code that has the real class where no name can be replaced
    (a subclass, a default argument) gets `UnresolvedBindingError` when it constructs it. The
    package must be importable; the plugin's ini key `embedcache_stub_missing` provides it where it
    is not installed.

    Raises:
        MissingExtraError: It is not.
    """
    module = _sentence_transformers()
    real = module.SentenceTransformer
    guard = Guard(real)
    fakes = FakeSentenceTransformers()
    members = {
        "fakes": fakes,
        "__module__": real.__module__,
        # A registry that is not this test's looks for it, and so keeps no fake for later tests.
        "__embedcache_real__": staticmethod(getattr(real, "__embedcache_real__", guard.build)),
    }
    fake = type("SentenceTransformer", (FakeSentenceTransformer,), members)
    # Looked up when it is used: a test may put a class of its own in the fake's place.
    backend = FakeBackend(lambda *a, **options: module.SentenceTransformer(*a, **options), fakes)
    # Where somebody has put a mock, there is nothing to guard.
    guarded = guard.up() if isinstance(real, type) else nullcontext()
    with guarded, replace_everywhere(real, fake), _private_world(cache_dir, backend):
        try:
            yield fakes
        finally:
            fakes.end()


def _sentence_transformers() -> Any:
    from pytest_embedcache.models.collector import collector_paused

    try:
        with collector_paused():
            import sentence_transformers
    except ModuleNotFoundError as error:
        if error.name != "sentence_transformers":
            raise
        raise MissingExtraError(
            "fake_sentence_transformer (without the ini key embedcache_stub_missing = true)",
            "sentence_transformers",
            "sentence-transformers",
        ) from error
    return sentence_transformers


@contextmanager
def _private_world(cache_dir: Path, backend: FakeBackend) -> Iterator[None]:
    """An empty default registry and store, and a cache directory of one's own."""
    from pytest_embedcache.models import defaults
    from pytest_embedcache.models.registry import (
        ModelRegistry,
        all_registries,
        swap_default_registry,
    )
    from pytest_embedcache.vectors.api import swap_default_cache
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.memory import MemoryStore
    from pytest_embedcache.vectors.tiered import TieredStore

    directory = os.environ.get("EMBEDCACHE_DIR")
    os.environ["EMBEDCACHE_DIR"] = str(cache_dir)
    backends, defaults.backends = defaults.backends, {"torch": backend, "fake": backend}
    registry = swap_default_registry(ModelRegistry())
    cache = swap_default_cache(VectorCache(TieredStore([MemoryStore()])))
    try:
        yield
    finally:
        swap_default_cache(cache)
        swap_default_registry(registry)
        defaults.backends = backends
        for found in all_registries():  # one of the user's own may have loaded a fake
            found.evict_backend("fake")
        if directory is None:
            os.environ.pop("EMBEDCACHE_DIR", None)
        else:
            os.environ["EMBEDCACHE_DIR"] = directory
