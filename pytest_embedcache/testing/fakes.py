"""A `SentenceTransformer` that loads nothing, and remembers how it was used.

Its vectors are deterministic on every platform: SHAKE-256 of dimension, prompt and text, read as
little-endian integers, centred and scaled to unit length. Different texts point in independent
directions; no meaning is in them.
"""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.encoding import digest, frame
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.bindings import replace_everywhere

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.models.artifacts import ArtifactStore

__all__ = ["Call", "FakeBackend", "FakeSentenceTransformers", "fake_sentence_transformers"]

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


@dataclass(frozen=True)
class Call:
    """One call of a fake: which method of which model, with which texts and options."""

    model: str
    method: str
    texts: tuple[str, ...]
    options: dict[str, Any]


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

    def load_count(self, name: str | None = None) -> int:
        """How often a fake was constructed; short and full name are one model."""
        with self._lock:
            if name is None:
                return len(self._loads)
            return sum(_short(loaded) == _short(name) for loaded in self._loads)

    def fail_next_load(self, error: BaseException, *, times: int = 1) -> None:
        """Let the next constructions raise `error`."""
        self._load_failures += [error] * times

    def fail_next_encode(self, error: BaseException, *, times: int = 1) -> None:
        """Let the next calls of `encode` and its kin raise `error`."""
        self._encode_failures += [error] * times

    def dimension_of(self, name: str) -> int:
        """The dimension of the model `name`."""
        for key in (name, _short(name)):
            if key in self.dimensions:
                return self.dimensions[key]
        lower = name.lower()
        return next((d for part, d in DIMENSIONS.items() if part in lower), DEFAULT_DIMENSION)

    def on_load(self, name: str) -> None:
        """Called by every construction."""
        if self.load_delay:
            time.sleep(self.load_delay)
        with self._lock:
            self._loads.append(name)
            if self._load_failures:
                raise self._load_failures.pop(0)

    def on_call(self, call: Call) -> None:
        """Called by every encoding."""
        with self._lock:
            self.calls.append(call)
            if self._encode_failures:
                raise self._encode_failures.pop(0)


def _short(name: str) -> str:
    return name.removeprefix("sentence-transformers/")


class FakeSentenceTransformer:
    """Stands in for `sentence_transformers.SentenceTransformer`; made by the fixture only."""

    #: Set on the subclass that a test gets.
    fakes: FakeSentenceTransformers

    def __init__(
        self,
        model_name_or_path: str | None = None,
        *,
        device: str | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> None:
        self.name = str(model_name_or_path or "")
        self.device = str(device or "cpu")
        self.prompts = {"query": "", "document": "", **(prompts or {})}
        self.default_prompt_name = default_prompt_name
        self.truncate_dim = truncate_dim
        self.max_seq_length = 256
        self.similarity_fn_name = "cosine"
        self.options = options
        self.fakes.on_load(self.name)

    def __repr__(self) -> str:
        return f"<fake SentenceTransformer {self.name!r} on {self.device}>"

    def encode(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> np.ndarray:
        """float32 of shape (n, dimension), or (dimension,) for one string; rows of unit length.

        Options other than prompts, `sentences` and `truncate_dim` are recorded and change nothing.
        """
        return self._encode("encode", inputs, prompt_name, prompt, options)

    def encode_query(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> np.ndarray:
        """As `encode`, with the prompt named `query`."""
        return self._encode("encode_query", inputs, prompt_name or "query", prompt, options)

    def encode_document(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        **options: Any,
    ) -> np.ndarray:
        """As `encode`, with the prompt named `document`."""
        return self._encode("encode_document", inputs, prompt_name or "document", prompt, options)

    def _encode(
        self,
        method: str,
        inputs: Any,
        prompt_name: str | None,
        prompt: str | None,
        options: dict[str, Any],
    ) -> np.ndarray:
        import numpy as np

        inputs = options.pop("sentences", inputs)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"a fake encodes texts, not {type(text).__name__}")
        self.fakes.on_call(Call(self.name, method, tuple(texts), options))
        if not texts:
            return np.empty((0,), dtype=np.float32)
        name = prompt_name or self.default_prompt_name
        used = prompt if prompt is not None else self.prompts[name] if name else ""
        size = self.fakes.dimension_of(self.name)
        rows = np.stack([fake_vector(_short(self.name), used + text, size) for text in texts])
        rows = rows[:, : options.get("truncate_dim") or self.truncate_dim or size]
        return rows[0] if isinstance(inputs, str) else rows

    def get_embedding_dimension(self) -> int:
        """The number of columns of what `encode` returns."""
        return self.truncate_dim or self.fakes.dimension_of(self.name)

    get_sentence_embedding_dimension = get_embedding_dimension

    def get_max_seq_length(self) -> int:
        """In tokens; a fake cuts nothing."""
        return self.max_seq_length

    def similarity(self, first: Any, second: Any) -> np.ndarray:
        """Cosines, float32 of shape (n, m)."""
        import numpy as np

        a, b = np.atleast_2d(first), np.atleast_2d(second)
        lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)[None]
        return np.asarray(a @ b.T / lengths, dtype=np.float32)

    def to(self, device: Any) -> FakeSentenceTransformer:
        """Move nothing, and note where to."""
        self.device = str(device)
        return self

    def eval(self) -> FakeSentenceTransformer:
        """Nothing to switch off."""
        return self


def fake_vector(model: str, text: str, dimension: int) -> np.ndarray:
    """The fake vector of `text`: float32 of shape (dimension,), of unit length."""
    import numpy as np

    seed = frame([model.encode(), str(dimension).encode(), text.encode("utf-8", "surrogatepass")])
    raw = np.frombuffer(hashlib.shake_256(seed).digest(4 * dimension), dtype="<u4")
    row = raw.astype(np.float64) / 2**31 - 1.0
    return np.asarray(row / np.linalg.norm(row), dtype=np.float32)


class FakeBackend:
    """A backend whose models are fakes: any name is there, and nothing is read."""

    def __init__(self, make: Callable[..., Any], fakes: FakeSentenceTransformers) -> None:
        self._make = make
        self._fakes = fakes

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        # A path of its own: no resolved spec of a real model equals it.
        return spec.replace(
            name=_short(spec.name),
            backend="fake",
            device=spec.device or "cpu",
            dtype=spec.dtype or "float32",
            path=f"fake:{digest(_short(spec.name), spec.revision or '')[:16]}",
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        name = _short(spec.name)
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
    """Replace `SentenceTransformer` wherever it is bound, and empty the default registry.

    `cache_dir` stands in for the cache directory. Everything is put back at the end, also in
    modules that were imported meanwhile. The package must be importable; the plugin's ini key
    `embedcache_stub_missing` provides it where it is not installed.

    Raises:
        UnresolvedBindingError: A module holds the real class where it cannot be replaced.
    """
    from pytest_embedcache.models.backends import BACKENDS
    from pytest_embedcache.models.collector import collector_paused
    from pytest_embedcache.models.registry import ModelRegistry, swap_default_registry
    from pytest_embedcache.vectors.api import swap_default_cache
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.memory import MemoryStore
    from pytest_embedcache.vectors.tiered import TieredStore

    with collector_paused():
        import sentence_transformers

    fakes = FakeSentenceTransformers()
    fake = type("SentenceTransformer", (FakeSentenceTransformer,), {"fakes": fakes})

    def make(*args: Any, **options: Any) -> Any:
        return sentence_transformers.SentenceTransformer(*args, **options)

    backend = FakeBackend(make, fakes)
    table = {"torch": backend, "fake": backend}
    saved = dict(BACKENDS)
    with replace_everywhere(sentence_transformers.SentenceTransformer, fake):
        BACKENDS.update(table)
        before = swap_default_registry(ModelRegistry(cache_dir=cache_dir))
        store_before = swap_default_cache(VectorCache(TieredStore([MemoryStore()])))
        try:
            yield fakes
        finally:
            swap_default_cache(store_before)
            swap_default_registry(before)
            BACKENDS.clear()
            BACKENDS.update(saved)


def is_active() -> bool:
    """Whether a fake stands in for `SentenceTransformer` now."""
    module = sys.modules.get("sentence_transformers")
    found = getattr(module, "SentenceTransformer", None)
    return isinstance(found, type) and issubclass(found, FakeSentenceTransformer)
