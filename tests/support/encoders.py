"""Models whose vectors are a pure function of what may change them: right and wrong can be told
apart byte by byte, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.encoding import digest, frame
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.roles import prompts_as_loaded
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.store import VectorStore
from pytest_embedcache.vectors.tiered import TieredStore


def pure_vector(*parts: object, size: int = 8) -> np.ndarray:
    """The one right vector of these parts: float32 of shape (size,), between -1 and 1."""
    seed = frame([repr(part).encode("utf-8", "surrogatepass") for part in parts])
    raw = np.frombuffer(hashlib.shake_256(seed).digest(4 * size), dtype="<u4")
    return np.asarray(raw.astype(np.float64) / 2**31 - 1.0, dtype=np.float32)


@dataclass
class Files:
    """What a model has on the disk; whoever changes it calls `PureBackend.write`."""

    weights: str = "w"
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    truncate_dim: int | None = None
    max_seq_length: int = 64
    size: int = 8
    has_roles: bool = False
    dtype: str = "float32"
    #: What the files do not tell, and the loaded model does.
    hidden_prompts: dict[str, str] | None = None


class PureModel:
    """Enough of a `SentenceTransformer`.

    Attributes:
        batches: The texts of every call of `encode`, in order.
        before, after: Called with the texts in each `encode`; what they raise, it raises.
        reshape: Applied to the rows that `encode` returns.
    """

    def __init__(self, files: Files) -> None:
        self.weights = files.weights
        prompts = files.prompts if files.hidden_prompts is None else files.hidden_prompts
        self.prompts = prompts_as_loaded(prompts)
        self.default_prompt_name = files.default_prompt_name
        self.truncate_dim = files.truncate_dim
        self.max_seq_length = files.max_seq_length
        self.similarity_fn_name = "cosine"
        self.adapters: tuple[str, ...] = ()
        self.size = files.size
        self.has_roles = files.has_roles
        self.batches: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.before: Callable[[Sequence[str]], object] = lambda texts: None
        self.after: Callable[[Sequence[str]], object] = lambda texts: None
        self.reshape: Callable[[np.ndarray], Any] = lambda rows: rows

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """There, as from version 5 on; a `CachedModel` does not call it."""
        raise AssertionError("a role is an argument of encode")

    def encode(
        self,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *,
        task: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **options: Any,
    ) -> Any:
        if not isinstance(inputs, str | list | tuple | np.ndarray):
            raise ValueError(f"texts were expected, not {type(inputs).__name__}")
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        self.batches.append(texts)
        self.options.append(options)
        self.before(texts)
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"a text was expected, not {type(text).__name__}")
        if prompt is None:
            name = prompt_name if prompt_name is not None else self.default_prompt_name
            if name is not None and name not in self.prompts:
                raise ValueError(f"Prompt name {name!r} not found")
            prompt = self.prompts[name] if name is not None else ""
        role = task if self.has_roles else None
        cut = truncate_dim if truncate_dim is not None else self.truncate_dim
        matrix = np.stack([self.row(t, prompt, role, cut, normalize_embeddings) for t in texts])
        self.after(texts)
        found = self.reshape(matrix)
        return found[0] if isinstance(inputs, str) else found

    def vector(self, text: str, prompt: str = "", role: str | None = None) -> np.ndarray:
        """The right vector of `text` as the model is now, before it is cut and normalised."""
        state = (self.weights, self.adapters, self.max_seq_length)
        return pure_vector(*state, role, prompt + text, size=self.size)

    def row(
        self, text: str, prompt: str, role: str | None, cut: int | None, normalize: bool
    ) -> np.ndarray:
        """The right row of one call."""
        vector = self.vector(text, prompt, role)[:cut]
        return vector / np.sqrt(np.dot(vector, vector)) if normalize else vector

    def tokenize(self, texts: Sequence[str]) -> int:
        """Stands for what uses the tokenizer and changes nothing."""
        return len(texts)

    def half(self) -> PureModel:
        """Stands for what changes weights in place."""
        self.weights = "changed"
        return self

    def get_embedding_dimension(self) -> int:
        return self.size if self.truncate_dim is None else min(self.size, self.truncate_dim)

    def __getitem__(self, index: int) -> PureModel:
        return self

    def __len__(self) -> int:
        return 1


class PureBackend:
    """Models by name, in a table that stands for the disk.

    Attributes:
        files: Name -> files.
        loads: Names of what was loaded, in order.
        on_load: Called in each load with the name.
    """

    def __init__(self, **files: Files) -> None:
        self.files = files
        self.loads: list[str] = []
        self.on_load: Callable[[str], object] = lambda name: None
        self._writes = dict.fromkeys(files, 0)

    def write(self, name: str, files: Files) -> None:
        """Put other files in the place of a model's."""
        self.files[name] = files
        self._writes[name] = self._writes.get(name, 0) + 1

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        return spec.replace(
            name=spec.name,
            path=f"pure:{spec.name}",
            device=spec.device or "cpu",
            dtype=spec.dtype or self.files[spec.name].dtype,
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        files = self.files[spec.name]
        metadata = ModelMetadata(
            dimension=files.size,
            max_seq_length=files.max_seq_length,
            prompts=files.prompts,
            default_prompt_name=files.default_prompt_name,
            truncate_dim=files.truncate_dim,
            has_roles=files.has_roles,
        )
        fingerprint = digest("pure-1", files.weights, str(files.size), files.dtype)
        return Identity(spec.name, fingerprint, files.dtype, metadata, self.signature(spec))

    def signature(self, spec: ModelSpec) -> str:
        return f"{spec.name} after {self._writes[spec.name]} writes"

    def state(self, model: PureModel) -> tuple[tuple[str, str], ...]:
        return (
            ("max_seq_length", str(model.max_seq_length)),
            ("adapters", str(model.adapters)),
            ("prompts", str(sorted(model.prompts.items()))),
            ("default_prompt_name", str(model.default_prompt_name)),
            ("truncate_dim", str(model.truncate_dim)),
        )

    def import_libraries(self) -> bool:
        return False

    def load(self, spec: ModelSpec) -> PureModel:
        self.loads.append(spec.name)
        self.on_load(spec.name)
        return PureModel(self.files[spec.name])


class World:
    """One process's registry and cache over given stores, and its models by name.

    Another `World` on the same backend and stores stands for another process.
    """

    def __init__(self, backend: PureBackend, *stores: VectorStore, live: bool = False) -> None:
        self.backend = backend
        self.registry = ModelRegistry(backends={"pure": backend})
        self.stores = stores or (MemoryStore(),)
        self.cache = VectorCache(None if live else TieredStore(self.stores))
        self._models: dict[str, CachedModel] = {}

    def model(self, name: str = "m", **spec: Any) -> CachedModel:
        """The `CachedModel` of this name, one object."""
        if name not in self._models:
            options = {"backend": "pure", "device": "cpu", **spec}
            self._models[name] = CachedModel(self.registry, ModelSpec(name, **options), self.cache)
        return self._models[name]

    def inner(self, name: str = "m") -> PureModel:
        """The model behind, loaded; looked at without being handed out."""
        found: PureModel = self.model(name)._source.load().model
        return found

    def batches(self, name: str = "m") -> list[list[str]]:
        """The texts of every call that reached the model behind, in order."""
        handle = self.model(name)._source.loaded()
        return [] if handle is None else handle.model.batches

    def tally(self, name: str = "m") -> dict[str, Any]:
        """What was counted for the model."""
        return self.cache.tallies.as_dict()[name]


def world(*stores: VectorStore, live: bool = False, **files: Any) -> World:
    """A `World` with one model `m` of these files."""
    return World(PureBackend(m=Files(**files)), *stores, live=live)


def right(texts: Iterable[str], prompt: str = "", weights: str = "w", **options: Any) -> bytes:
    """The bytes of the matrix that `encode(texts)` of an unchanged model `m` has to be."""
    model = PureModel(Files(weights=weights, **options))
    return np.stack([model.vector(text, prompt) for text in texts]).tobytes()
