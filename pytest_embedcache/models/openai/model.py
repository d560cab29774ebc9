"""`OpenAIModel`: a model behind an API, with the `encode` of a model that is here."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EmptyTextError, EncodeError
from pytest_embedcache.models.convert import converted, empty
from pytest_embedcache.models.openai.answers import apportioned, rows_of, tokens_of
from pytest_embedcache.models.openai.requests import Asking, in_requests

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Bill", "OpenAIModel"]

#: Told of each request that was answered: its texts, and of each what the provider counted, None
#: where it did not say. It says so of the request: the share of a text is by its length, the sum is
#: exact.
Bill = Callable[[Sequence[str], Sequence[int | None]], object]


class OpenAIModel:
    """Asks an endpoint for the vectors of texts. Safe for threads.

    Args:
        name: As the endpoint is asked for it.
        make_client: Makes an `openai.OpenAI` that does not ask again by itself.
        asking: Asks, and asks again.
        dimension: Of its vectors; None is that of the first answer.

    Attributes:
        prompts, default_prompt_name, truncate_dim: What a model without any has.
    """

    def __init__(
        self,
        name: str,
        make_client: Callable[[], Any],
        asking: Asking,
        dimension: int | None = None,
    ) -> None:
        self.prompts: dict[str, str] = {}
        self.default_prompt_name: str | None = None
        self.truncate_dim: int | None = None
        self._name = name
        self._make_client = make_client
        self._asking = asking
        self._dimension = dimension
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._client = self._made()

    def __repr__(self) -> str:
        return f"<OpenAIModel {self._name!r}>"

    def get_embedding_dimension(self) -> int | None:
        """Columns of its vectors; None before the first answer of a model that is not known."""
        return self._dimension

    def encode(
        self,
        inputs: str | Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        output_value: str = "sentence_embedding",
        precision: str = "float32",
        **local: Any,
    ) -> Any:
        """The vectors of `inputs`, as `SentenceTransformer.encode` returns them.

        What is about a local model's computing (`batch_size`, `device`, a progress bar) says
        nothing here; the size of a request is that of `encode_billed`.

        Raises:
            TypeError: There is something else than texts among the inputs.
            ValueError: The API has no such output, precision or prompt.
            EmptyTextError, ProviderError, EncodeError: As `encode_billed`.
        """
        for name, value, only in (
            ("output_value", output_value, "sentence_embedding"),
            ("precision", precision, "float32"),
            ("prompt_name", prompt_name, None),
        ):
            if value not in (only, None):
                raise ValueError(f"{name}={value!r}: the API of model {self._name!r} has none")
        single = isinstance(inputs, str)
        texts = [inputs] if isinstance(inputs, str) else list(inputs)
        if not texts:
            return empty(tensor=convert_to_tensor, numpy=convert_to_numpy)
        rows = self.encode_billed(
            texts,
            lambda texts, tokens: None,
            prompt=prompt,
            normalize_embeddings=normalize_embeddings,
            truncate_dim=truncate_dim,
        )
        return converted(
            rows,
            single=single,
            tensor=convert_to_tensor,
            numpy=convert_to_numpy,
            dtype="float32",
            device=None,
        )

    def encode_billed(
        self,
        texts: Sequence[str],
        bill: Bill,
        *,
        request_size: int | None = None,
        prompt: str | None = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        **local: Any,
    ) -> np.ndarray:
        """The vectors of `texts`: float32 of shape (n, dimension), row i for text i.

        Sent in requests of at most `request_size` texts, within the limits of the API; `bill` is
        called as soon as one is answered, whatever becomes of the next. `prompt` is put before each
        text; the vectors are cut to `truncate_dim`, and then, with `normalize_embeddings`, brought
        to unit length.

        Raises:
            TypeError: There is something else than texts among them.
            EmptyTextError: One of them is empty. Nothing was sent.
            ProviderError: The provider did not answer with vectors.
            EncodeError: Its answer was not one vector of the model's dimension for each text.
        """
        import numpy as np

        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"the API of model {self._name!r} takes texts only")
        given = [f"{prompt}{text}" for text in texts] if prompt else list(texts)
        if "" in given:
            raise EmptyTextError(self._name, given.index(""))
        matrices: list[np.ndarray] = []
        start = 0
        for part in in_requests(given, request_size):
            answer = self._asking(lambda part=part: self._ask(part))  # type: ignore[misc]
            own = texts[start : start + len(part)]
            start += len(part)
            counted = tokens_of(answer)
            if counted:  # first: it is paid for, also where its rows are none
                bill(own, apportioned(counted, part))
            matrices.append(self._checked(rows_of(answer, len(part), self._name)))
            if not counted:
                bill(own, [None] * len(part))
        rows = np.concatenate(matrices)
        if truncate_dim is not None:
            rows = rows[:, :truncate_dim]
        if normalize_embeddings:
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return np.ascontiguousarray(rows)

    def in_requests(self, texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
        """`texts` in pieces of at most `size`, each of which one request may carry."""
        return in_requests(texts, size)

    def _ask(self, texts: Sequence[str]) -> Any:
        # base64: a quarter of the bytes, and no Python float for each component.
        create = self._own_client().embeddings.create
        return create(model=self._name, input=list(texts), encoding_format="base64")

    def _checked(self, rows: np.ndarray) -> np.ndarray:
        if self._dimension is None:
            self._dimension = int(rows.shape[1])
        if rows.shape[1] != self._dimension:
            raise EncodeError(self._name, len(rows), rows.shape)
        return rows

    def _own_client(self) -> Any:
        """The client; in a forked child another one: connections are not to be shared."""
        if self._pid != os.getpid():
            with self._lock:
                if self._pid != os.getpid():
                    self._client = self._made()
                    self._pid = os.getpid()
        return self._client

    def _made(self) -> Any:
        client = self._make_client()
        # Not left to the garbage collector, which may take the connections before their client.
        weakref.finalize(self, _close, client, os.getpid())
        return client


def _close(client: Any, process: int) -> None:
    if os.getpid() == process:  # else it would say goodbye on its parent's connections
        client.close()
