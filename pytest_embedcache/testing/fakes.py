"""A `SentenceTransformer` that loads nothing, wherever code under test has that name.

The fixture `fake_sentence_transformer` is this with pytest; `fake_sentence_transformers` is the
same for any other runner.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import MissingExtraError, UnresolvedBindingError
from pytest_embedcache.testing.bindings import Guard, caller, replace_everywhere
from pytest_embedcache.testing.fake_backend import FakeBackend, fake_cache
from pytest_embedcache.testing.fake_model import Call, FakeEmbeddingModel, FakeSentenceTransformer
from pytest_embedcache.testing.fake_names import dimension_of
from pytest_embedcache.testing.faults import Rows
from pytest_embedcache.testing.spy import Spy

__all__ = [
    "Call",
    "FakeBackend",
    "FakeEmbeddingModel",
    "FakeEmbeddingModels",
    "FakeSentenceTransformer",
    "FakeSentenceTransformers",
    "fake_cache",
    "fake_sentence_transformers",
]


@dataclass
class FakeSentenceTransformers(Spy):
    """Controls and observes the fakes of one test.

    Attributes:
        load_delay: Seconds that a construction takes.
        dimensions: Dimension by model name; unlisted names get that of their family.
        kind: What their vectors are: `hash`, or `lexical`, where texts that share words are alike.
        roles: Whether query and document have vectors of their own; those of most real models
            have not.
    """

    load_delay: float = 0.0
    dimensions: dict[str, int] = field(default_factory=dict)
    kind: str = "hash"
    roles: bool = False
    _load_failures: list[BaseException] = field(default_factory=list)
    _encode_failures: list[BaseException] = field(default_factory=list)
    _over: bool = False

    def fail_next_load(self, error: BaseException, *, times: int = 1) -> None:
        """Let the next constructions raise `error`."""
        self._load_failures += [error] * times

    def fail_next_encode(self, error: BaseException, *, times: int = 1) -> None:
        """Let the next calls of `encode` and its kin raise `error`."""
        self._encode_failures += [error] * times

    def dimension_of(self, name: str) -> int:
        """The dimension of the model `name`."""
        return dimension_of(name, self.dimensions)

    def on_load(self, name: str) -> None:
        """Called by every construction."""
        self._refuse_if_over()
        if self.load_delay:
            time.sleep(self.load_delay)
        super().on_load(name)
        with self._lock:
            if self._load_failures:
                raise self._load_failures.pop(0)

    def on_call(self, call: Call) -> Rows:
        """Called by every encoding; returns what to do to its rows."""
        self._refuse_if_over()
        after = super().on_call(call)
        with self._lock:
            if self._encode_failures:
                raise self._encode_failures.pop(0)
        return after

    def end(self) -> None:
        """Whatever kept a fake beyond its test gets an error from now on, and no fake vectors."""
        self._over = True
        super().end()

    def _refuse_if_over(self) -> None:
        if self._over:
            raise UnresolvedBindingError(caller(), "it kept a fake of a test that is over")


@dataclass
class FakeEmbeddingModels(Spy):
    """Makes fakes that share one spy: `models("all-mpnet-base-v2")`.

    Attributes:
        name: Of the model that is meant where none is named.
        dimensions: Dimension by model name; unlisted names get that of their family.
        kind: That of fakes for which none is given.
        roles: Whether query and document have vectors of their own.
    """

    name: str = "all-MiniLM-L6-v2"
    dimensions: dict[str, int] = field(default_factory=dict)
    kind: str = "lexical"
    roles: bool = True

    def __call__(self, name: str | None = None, **options: Any) -> FakeEmbeddingModel:
        """A new fake; `options` as in `FakeEmbeddingModel`."""
        name = self.name if name is None else name
        given = {"kind": self.kind, "roles": self.roles, "spy": self, **options}
        if given.get("table") is None:
            given.setdefault("dimension", self.dimension_of(name))
        return FakeEmbeddingModel(name, **given)

    def dimension_of(self, name: str) -> int:
        """The dimension of the model `name`."""
        return dimension_of(name, self.dimensions)


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
    from pytest_embedcache.testing.fake_backend import fake_cache
    from pytest_embedcache.vectors.api import swap_default_cache

    directory = os.environ.get("EMBEDCACHE_DIR")
    os.environ["EMBEDCACHE_DIR"] = str(cache_dir)
    table = dict.fromkeys(("torch", "onnx", "openai", "fake"), backend)  # whatever is asked for
    backends, defaults.backends = defaults.backends, table
    registry = swap_default_registry(ModelRegistry())
    cache = swap_default_cache(fake_cache())
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
