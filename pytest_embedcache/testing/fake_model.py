"""A `SentenceTransformer` that loads nothing.

Its vectors are deterministic on every platform: SHAKE-256 of model, dimension, prompt and text,
read as little-endian integers, centred and scaled to unit length. Different texts point in
independent directions; no meaning is in them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_embedcache.encoding import frame

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.testing.fakes import FakeSentenceTransformers

__all__ = ["Call", "FakeSentenceTransformer", "fake_vector", "short_name"]


@dataclass(frozen=True)
class Call:
    """One call of a fake: which method of which model, with which texts and options.

    `prompt` is the one that was put before each text, empty where none was.
    """

    model: str
    method: str
    texts: tuple[str, ...]
    options: dict[str, Any]
    prompt: str = ""


def short_name(name: str) -> str:
    """The name without the organisation that it would have anyway."""
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
        if inputs is None or isinstance(inputs, int | float):
            raise ValueError(f"a fake encodes texts, not {type(inputs).__name__}")
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        for text in texts:
            if not isinstance(text, str):
                raise ValueError(f"a fake encodes texts, not {type(text).__name__}")
        used = self._prompt(prompt_name, prompt)
        self.fakes.on_call(Call(self.name, method, tuple(texts), options, used))
        if not texts:
            return np.empty((0,), dtype=np.float32)
        size = self.fakes.dimension_of(self.name)
        rows = np.stack([fake_vector(short_name(self.name), used + text, size) for text in texts])
        rows = rows[:, : options.get("truncate_dim") or self.truncate_dim or size]
        return rows[0] if isinstance(inputs, str) else rows

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        if prompt is not None:
            return prompt
        name = name or self.default_prompt_name
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(map(repr, self.prompts))
            raise ValueError(f"prompt name {name!r} is not one of the model's: {known}")
        return self.prompts[name]

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
