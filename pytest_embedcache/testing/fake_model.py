"""`FakeEmbeddingModel`: has the interface of a model, and needs none.

What its vectors are is in `fake_vectors`; what it notes, in `spy`; how it misbehaves, in `faults`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.fingerprint import fake_fingerprint
from pytest_embedcache.models.roles import prompt_name_of
from pytest_embedcache.testing.fake_interface import FakeInterface
from pytest_embedcache.testing.fake_names import dimension_of, short_name
from pytest_embedcache.testing.fake_table import columns_of, content_of
from pytest_embedcache.testing.fake_vectors import (
    KINDS,
    MAX_DIMENSION,
    fake_vector,
    fake_vectors,
)
from pytest_embedcache.testing.spy import Call, Spy
from pytest_embedcache.vectors.calls import PRECISIONS, read_inputs

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.testing.fakes import FakeSentenceTransformers

__all__ = [
    "Call",
    "FakeEmbeddingModel",
    "FakeSentenceTransformer",
    "fake_vector",
    "identity_of",
    "short_name",
]

#: What `encode` takes by position after the prompt.
_POSITIONS = (
    *("batch_size", "show_progress_bar", "output_value", "precision"),
    *("convert_to_numpy", "convert_to_tensor", "device", "normalize_embeddings"),
)


class FakeEmbeddingModel(FakeInterface):
    """Stands where a `SentenceTransformer` or a `CachedModel` stands.

    Its vectors are float32 and of unit length, the same bits on every platform and in every
    Python, for every thread, process and run.

    Args:
        name: Decides the vectors, and the dimension where it is a known one.
        kind: `lexical`: texts that share words are alike. `hash`: every text has a direction of its
            own. `constant`: all texts have one. `table`: vectors are those of `table`.
        dimension: 1 to 16,384; None is that of the name's family, else 384.
        table: Text, or (role, text), -> vector, which is returned as it is given, as float32.
        prompts: Prompt by name; `query` and `document` are there, and empty.
        roles: Whether a query, a document and a text without a role have vectors of their own.
        spy: Notes loads and calls; one for several models, if need be.
        options: What code under test gives to a constructor; noted, and of no effect.

    Raises:
        ValueError: The kind, the dimension or the table cannot be used.
    """

    def __init__(
        self,
        name: str = "all-MiniLM-L6-v2",
        *,
        kind: str = "lexical",
        dimension: int | None = None,
        table: Mapping[Any, Any] | None = None,
        prompts: Mapping[str, str] | None = None,
        default_prompt_name: str | None = None,
        truncate_dim: int | None = None,
        device: str | None = None,
        roles: bool = True,
        spy: Spy | None = None,
        **options: Any,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind={kind!r} cannot be used: use one of {', '.join(KINDS)}")
        if (table is not None) != (kind == "table"):
            raise ValueError('a table belongs to kind="table", which needs one')
        if table is not None:
            dimension = columns_of(table, dimension)
        elif dimension is None:
            dimension = dimension_of(name)
        if not 1 <= dimension <= MAX_DIMENSION:
            raise ValueError(f"dimension={dimension} cannot be used: 1 to {MAX_DIMENSION:,}")
        self.dimension = dimension
        self.name = str(name)
        self.kind = kind
        self.device = str(device or "cpu")
        self.prompts = {"query": "", "document": "", **(prompts or {})}
        self.default_prompt_name = default_prompt_name
        self.truncate_dim = truncate_dim
        self.max_seq_length = 256
        self.similarity_fn_name = "cosine"
        self.options = options
        self.roles = roles
        self.table = dict(table or {})
        self.spy = spy if spy is not None else Spy()
        self.spy.on_load(self.name)

    def __repr__(self) -> str:
        return f"<fake model {self.name!r} of kind {self.kind}>"

    def encode(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """Vectors of `inputs`, row i for text i: float32 of shape (n, dimension), or (dimension,).

        The arguments are those of `SentenceTransformer.encode`. What changes no vector of a fake
        (batch size, device, pool, …) is noted.

        Raises:
            ValueError: Something else than texts, or an unknown prompt name or precision.
            FakeTextError: A text is not in the table.
        """
        options = {**dict(zip(_POSITIONS, args, strict=False)), **options}
        return self._encode("encode", inputs, prompt_name, prompt, options)

    def encode_query(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """As `encode`, in the role of a query: with its prompt, where the model has one."""
        options = {**dict(zip(_POSITIONS, args, strict=False)), **options, "task": "query"}
        return self._encode("encode_query", inputs, prompt_name, prompt, options)

    def encode_document(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """As `encode`, in the role of a document: with its prompt, where the model has one."""
        options = {**dict(zip(_POSITIONS, args, strict=False)), **options, "task": "document"}
        return self._encode("encode_document", inputs, prompt_name, prompt, options)

    def _encode(
        self,
        method: str,
        inputs: Any,
        prompt_name: str | None,
        prompt: str | None,
        options: dict[str, Any],
    ) -> Any:
        inputs = options.pop("sentences", inputs)
        role = options.pop("task", None)
        texts, single = read_inputs(inputs)
        if texts is None:
            listed = inputs if isinstance(inputs, list | tuple) else [inputs]
            odd = next((item for item in listed if not isinstance(item, str)), inputs)
            raise ValueError(f"a fake encodes texts, not {type(odd).__name__}")
        used = self._prompt(prompt_name, prompt, role if method != "encode" else None)
        if options.get("output_value", "sentence_embedding") != "sentence_embedding":
            raise ValueError("a fake has no tokens: output_value is 'sentence_embedding'")
        if (options.get("precision") or "float32") not in PRECISIONS:
            raise ValueError(f"precision {options['precision']!r} is not one of {PRECISIONS}")
        noted = role if self.roles else None
        after = self.spy.on_call(Call(self.name, method, tuple(texts), options, used, noted))
        return self._converted(after(self._rows(texts, used, noted, options)), single, options)

    def _rows(
        self, texts: Sequence[str], prompt: str, role: str | None, options: Mapping[str, Any]
    ) -> np.ndarray:
        rows = fake_vectors(
            self.kind,
            [prompt + text for text in texts],
            self.dimension,
            model=short_name(self.name),
            role=role,
            table=self.table,
        )
        cut = options.get("truncate_dim") or self.truncate_dim
        if cut is not None:
            rows = rows[:, :cut].copy()
        return _normalized(rows) if options.get("normalize_embeddings") else rows

    def _converted(self, rows: np.ndarray, single: bool, options: Mapping[str, Any]) -> Any:
        from pytest_embedcache.models.convert import converted, empty
        from pytest_embedcache.models.precision import quantized

        tensor = bool(options.get("convert_to_tensor"))
        numpy = bool(options.get("convert_to_numpy", True))
        if not len(rows):
            return empty(tensor=tensor, numpy=numpy)
        precision = options.get("precision") or "float32"
        if precision != "float32":
            rows = quantized(rows, precision)
        return converted(
            rows, single=single, tensor=tensor, numpy=numpy, dtype="float32", device=None
        )

    def _prompt(self, name: str | None, prompt: str | None, role: str | None) -> str:
        if prompt is not None:
            return prompt
        if name is None and role is not None:
            name = prompt_name_of(role, self.prompts)
        name = name or self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts))
            raise ValueError(f"prompt name {name!r} is not one of the model's: {known}")
        return self.prompts[name]

    @property
    def fingerprint(self) -> str:
        """Identity of its vectors (64 hexadecimal digits); no real model has one like it."""
        return identity_of(self.name, self.kind, self.dimension, self.table, roles=self.roles)


class FakeSentenceTransformer(FakeEmbeddingModel):
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
        name = str(model_name_or_path or "")
        super().__init__(
            name,
            kind=self.fakes.kind,
            dimension=self.fakes.dimension_of(name),
            prompts=prompts,
            default_prompt_name=default_prompt_name,
            truncate_dim=truncate_dim,
            device=device,
            roles=self.fakes.roles,
            spy=self.fakes,
        )
        self.options = options  # whatever they are called

    def __repr__(self) -> str:
        return f"<fake SentenceTransformer {self.name!r} on {self.device}>"


def identity_of(
    name: str,
    kind: str,
    dimension: int,
    table: Mapping[Any, Any] | None = None,
    *,
    roles: bool = True,
) -> str:
    """The fingerprint of a fake: of everything that decides its vectors."""
    content = content_of(table or {})
    return fake_fingerprint("1", short_name(name), kind, str(dimension), str(roles), *content)


def _normalized(rows: np.ndarray) -> np.ndarray:
    import numpy as np

    # Correctly rounded sums, and so the same everywhere.
    lengths = [math.sqrt(math.fsum(float(x) * float(x) for x in row)) or 1.0 for row in rows]
    return np.asarray(rows / np.array(lengths)[:, None], dtype=np.float32)
