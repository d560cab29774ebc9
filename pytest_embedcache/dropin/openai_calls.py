"""One call of the OpenAI client's `embeddings.create`: what it asks for, and the response to it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_embedcache.models.openai.answers import rows_of, tokens_of
from pytest_embedcache.models.remote import RemoteModel, bare_url
from pytest_embedcache.vectors.calls import read_inputs
from pytest_embedcache.vectors.decimals import as_written

if TYPE_CHECKING:
    import numpy as np

__all__ = ["EmbeddingsCall", "Names", "is_given"]

#: Arguments that change no vector, and are sent on with what is missing.
_NEUTRAL = frozenset(("user", "timeout"))
_KNOWN = frozenset(("input", "model", "dimensions", "encoding_format")) | _NEUTRAL
#: How the client marks that an argument was left out, in its several versions.
_LEFT_OUT = ("NotGiven", "Omit")
_AZURE = "BaseAzureClient"
_NONE: Mapping[str, str] = MappingProxyType({})


def is_given(value: object) -> bool:
    """Whether the caller gave this argument a value."""
    return value is not None and type(value).__name__ not in _LEFT_OUT


class Names(NamedTuple):
    """What the user says of remote models.

    Attributes:
        aliases: Another name, or base URL -> the one that counts.
        versions: Version by the model's name.
    """

    aliases: Mapping[str, str] = _NONE
    versions: Mapping[str, str] = _NONE

    def remote(self, client: Any, name: str, dimensions: int | None) -> RemoteModel:
        """The model that `client` means by a name."""
        azure = any(kind.__name__ == _AZURE for kind in type(client).__mro__)
        url = bare_url(str(client.base_url))
        name = self.aliases.get(name, name)
        return RemoteModel(
            "azure" if azure else "openai",
            bare_url(self.aliases.get(url, url)),
            name,
            dimensions,
            self.versions.get(name),
        )


class EmbeddingsCall:
    """The arguments of one call whose texts can be looked up, and what was sent of it.

    Attributes:
        texts: The inputs.
        model: As it was given.
        dimensions: As it was given, None where it was not.
    """

    def __init__(self, arguments: Mapping[str, Any], texts: list[str], single: bool) -> None:
        self.texts = texts
        self.model: str = arguments["model"]
        cut = arguments.get("dimensions")
        self.dimensions: int | None = cut if is_given(cut) else None
        form = arguments.get("encoding_format")
        self._form: str | None = form if is_given(form) else None
        self._arguments = arguments
        self._single = single
        self._answers: list[Any] = []
        self._sent = 0

    @classmethod
    def read(cls, arguments: Mapping[str, Any]) -> EmbeddingsCall | None:
        """The call, None where its vectors cannot be looked up.

        That is: arrays of tokens, nothing at all, and arguments whose influence is not known.
        Among these are `extra_headers`, by which `with_raw_response` asks for the response itself.
        """
        given = {name for name, value in arguments.items() if is_given(value)}
        extra = given - _KNOWN
        if any(arguments[name] for name in extra) or not {"input", "model"} <= given:
            return None
        texts, single = read_inputs(arguments["input"])
        cut, form = arguments.get("dimensions"), arguments.get("encoding_format")
        if (
            not texts
            or not isinstance(arguments["model"], str)
            or (is_given(cut) and type(cut) is not int)
            or (is_given(form) and form not in ("float", "base64"))
        ):
            return None
        return cls(arguments, texts, single)

    def inner(self, missing: Sequence[str]) -> dict[str, Any]:
        """The arguments of the call for what is missing.

        Without a format the client would ask for base64, and make Python floats of it.
        """
        self._sent += len(missing)
        found: dict[str, Any] = {**self._arguments, "encoding_format": self._form or "base64"}
        found["input"] = missing[0] if self._single else list(missing)
        return found

    def rows(self, answer: Any, count: int) -> np.ndarray:
        """The vectors of an answer, as `rows_of` reads them."""
        self._answers.append(answer)
        return rows_of(answer, count, self.model)

    def response(self, matrix: np.ndarray) -> Any:
        """What the client returns to the caller, in the format that was asked for.

        Its usage is what was sent for this call, and so 0 where everything was found; its extra
        field `embedcache` has the number of `texts`, and how many of them were `sent`.
        """
        from openai.types import CreateEmbeddingResponse, Embedding
        from openai.types.create_embedding_response import Usage

        vectors: list[Any]
        if self._form == "base64":
            vectors = [base64.b64encode(row.astype("<f4").tobytes()).decode() for row in matrix]
        elif self._form == "float":
            vectors = as_written(matrix)
        else:
            vectors = matrix.tolist()
        rows = [
            Embedding.construct(embedding=vector, index=i, object="embedding")
            for i, vector in enumerate(vectors)
        ]
        last = self._answers[-1] if self._answers else None
        response = CreateEmbeddingResponse.construct(
            data=rows,
            model=getattr(last, "model", None) or self.model,
            object="list",
            usage=Usage.construct(
                prompt_tokens=self._tokens("prompt_tokens"),
                total_tokens=self._tokens("total_tokens"),
            ),
            embedcache={"texts": len(self.texts), "sent": self._sent},
        )
        if (request := getattr(last, "_request_id", None)) is not None:
            response._request_id = request
        return response

    def _tokens(self, name: str) -> int:
        return sum(tokens_of(answer, name) for answer in self._answers)
