"""OpenAI's embeddings endpoint in this process: the real `openai` client talks to it over HTTP.

The fixture `fake_openai` is this with pytest; `fake_openai` is the same for any other runner.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.models.remote import faking
from pytest_embedcache.testing import openai_service as service
from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.openai_faults import Faults, Hang
from pytest_embedcache.testing.openai_http import Reply, Server
from pytest_embedcache.testing.openai_service import Asked, ServiceError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["FakeOpenAI", "Hang", "Request", "fake_openai"]

API_KEY = "sk-fake-of-pytest-embedcache"
_SECRET_HEADERS = ("authorization", "api-key")


@dataclass(frozen=True)
class Request:
    """One request for embeddings, as it came; credentials are left out.

    Attributes:
        path: With its query.
        headers: By name in lower case.
        body: The parsed JSON, None where it is none.
        status: Of the answer.
        texts: The inputs; token arrays are not among them.
        tokens: What the answer's usage said, 0 for an error.
    """

    path: str
    headers: Mapping[str, str]
    body: Any
    status: int
    texts: tuple[str, ...]
    tokens: int


class FakeOpenAI(Faults):
    """Controls and observes the service of one test.

    Attributes:
        models: Dimension by model; others do not exist. A test may add its own.
        delay: Seconds that every answer takes.
        count_tokens: How many tokens a text has; by default a quarter of its bytes.
        vector: (model, text, dimension) -> the fake vector, float32 of shape (dimension,).
        requests: Every request, in the order of the answers.
        api_key: The one that is right.
    """

    def __init__(self) -> None:
        super().__init__()
        self.models = dict(service.MODELS)
        self.delay = 0.0
        self.count_tokens: Callable[[str], int] = service.estimated_tokens
        self.vector: Callable[[str, str, int], np.ndarray] = fake_vector
        self.requests: list[Request] = []
        self.api_key = API_KEY
        self._clients: list[Any] = []
        self._numbers = itertools.count(1)
        self._server = Server(self._handle)

    @property
    def base_url(self) -> str:
        """As `OPENAI_BASE_URL` has it."""
        return f"http://127.0.0.1:{self._server.port}/v1"

    @property
    def azure_endpoint(self) -> str:
        """As `AZURE_OPENAI_ENDPOINT` has it; a deployment's name is that of its model."""
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def texts(self) -> list[str]:
        """The texts of all requests that were answered with vectors, in order."""
        return [text for request in self._answered() for text in request.texts]

    @property
    def batch_sizes(self) -> list[int]:
        """The number of texts in each of these requests."""
        return [len(request.texts) for request in self._answered()]

    @property
    def tokens(self) -> int:
        """What all answers together said of their usage."""
        return sum(request.tokens for request in self._answered())

    @property
    def load_count(self) -> int:
        """How many connections were made: what a load is to a model, each new client makes one."""
        return self._server.connections

    def client(self, **options: Any) -> Any:
        """An `openai.OpenAI` that talks to this service; `options` are those of its constructor.

        Raises `MissingExtraError` where the package is not installed.
        """
        return self._made("OpenAI", "DefaultHttpxClient", options)

    def async_client(self, **options: Any) -> Any:
        """The same as `openai.AsyncOpenAI`."""
        return self._made("AsyncOpenAI", "DefaultAsyncHttpxClient", options)

    def close(self) -> None:
        """End; requests that hang are answered, clients that were given out are closed."""
        self.release_all()
        self._server.close()
        for client in self._clients:
            client.close()

    def _made(self, name: str, transport: str, options: dict[str, Any]) -> Any:
        try:
            import openai
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise MissingExtraError("the client of fake_openai", "openai", "openai") from error
        given = {"base_url": self.base_url, "api_key": self.api_key, **options}
        # No proxy that the environment may name: it is on this machine.
        given.setdefault("http_client", getattr(openai, transport)(trust_env=False))
        client = getattr(openai, name)(**given)
        if name == "OpenAI":  # closing the other one takes an event loop
            self._clients.append(client)
        return client

    def _answered(self) -> list[Request]:
        with self._lock:
            return [request for request in self.requests if request.status == 200]

    def _handle(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> Reply:
        """The reply to one request; called in a thread of its own."""
        told = {"x-request-id": f"req_fake_{next(self._numbers)}"}
        body, asked = None, None
        try:
            body = self._checked(method, path, headers, raw)
            asked = service.read(body, self.models, self.count_tokens)
            fault = self.next_fault()
            if self.delay:
                time.sleep(self.delay)
            if fault.hang is not None:
                fault.hang.wait()
            if fault.error is not None:
                raise fault.error
            reply = service.answer(asked, fault.vectors(self._matrix(asked)))
            reply["data"] = fault.rows(reply["data"])
            status = 200
        except ServiceError as error:
            status, reply = error.status, error.body
            told |= error.headers
        shown = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
        inputs = asked.inputs if asked is not None else ()
        texts = tuple(one for one in inputs if isinstance(one, str))
        tokens = asked.tokens if asked is not None and status == 200 else 0
        with self._lock:
            self.requests.append(Request(path, shown, body, status, texts, tokens))
        return status, told, reply

    def _checked(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> Any:
        """The body of a request that is for this endpoint and has the key."""
        route = path.partition("?")[0]
        if method != "POST" or not route.endswith("/embeddings"):
            raise ServiceError(404, f"Invalid URL ({method} {route})")
        key = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("api-key")
        if not key:
            raise ServiceError(401, "You didn't provide an API key.")
        if key != self.api_key:
            message = "Incorrect API key provided. You can find your API key in your account."
            raise ServiceError(401, message, code="invalid_api_key")
        try:
            return json.loads(raw)
        except ValueError:
            raise ServiceError(400, "We could not parse the JSON body of your request.") from None

    def _matrix(self, asked: Asked) -> np.ndarray:
        """float32 of shape (inputs, dimension); shortened as the service does, to unit length."""
        import numpy as np

        texts = (one if isinstance(one, str) else f"tokens {one}" for one in asked.inputs)
        matrix = np.stack([self.vector(asked.model, text, asked.native) for text in texts])
        if asked.dimension < asked.native:
            matrix = matrix[:, : asked.dimension]
            matrix = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
        return np.array(matrix, dtype=np.float32)


@contextmanager
def fake_openai() -> Iterator[FakeOpenAI]:
    """A fake service, to which clients that are made meanwhile talk by default.

    `OPENAI_BASE_URL` and `OPENAI_API_KEY` lead to it, also past a proxy, and so does
    `openai.embeddings`; so do the variables of Azure's client, where they are set. Everything is
    put back at the end. A client that was made before, or with a `base_url` of its own, talks to
    what it was made for.
    """
    fake = FakeOpenAI()
    local = "127.0.0.1"
    wanted = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": fake.api_key}
    # Only in the place of others: with both keys set, `openai.embeddings` would not know which.
    azure = {"AZURE_OPENAI_ENDPOINT": fake.azure_endpoint, "AZURE_OPENAI_API_KEY": fake.api_key}
    wanted |= {name: value for name, value in azure.items() if name in os.environ}
    for name in ("no_proxy", "NO_PROXY"):
        wanted[name] = ",".join(filter(None, (os.environ.get(name), local)))
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        with _shared_client(), faking(fake.azure_endpoint):
            yield fake
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        fake.close()


@contextmanager
def _shared_client() -> Iterator[None]:
    """Inside, the client behind `openai.embeddings` is made anew, from the environment."""
    before = {} if (module := sys.modules.get("openai")) is None else _shared(module)
    for name in before:
        setattr(module, name, None)
    try:
        yield
    finally:
        if (module := sys.modules.get("openai")) is not None:
            made = _shared(module).get("_client")
            for name in _shared(module):
                setattr(module, name, before.get(name))
            if made is not None:
                made.close()


def _shared(module: Any) -> dict[str, Any]:
    """What making that client leaves in the package, and what it is made from."""
    names = ("_client", "http_client", "api_key", "base_url", "azure_endpoint", "api_type")
    return {name: getattr(module, name) for name in names if hasattr(module, name)}
