"""The OpenAI client's `embeddings.create` from the vector store, for code that is not changed.

Each text of a call is looked up, and what is missing is sent in one request of the caller's own
client, with its key, its retries and its errors. Nothing here imports `openai`: its classes are
changed when somebody else has imported it.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_embedcache.dropin.after_import import AfterImport
from pytest_embedcache.dropin.openai_calls import EmbeddingsCall, Names
from pytest_embedcache.errors import FakeModelError, ReplayModelError
from pytest_embedcache.models.openai.answers import tokens_of
from pytest_embedcache.models.remote import ASKS_ITSELF, RemoteModel, bare_url, is_fake
from pytest_embedcache.vectors.api import default_cache
from pytest_embedcache.vectors.calls import Call
from pytest_embedcache.vectors.encoder import Compute, TextEncoder

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.dropin.switch import Switch
    from pytest_embedcache.testing.fake_remote import FakeRemote
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.source import ModelSource

__all__ = ["OpenAIStandIn"]

_RESOURCES = "openai.resources.embeddings"
#: What a test can do that needs the service.
_MARK = "Let the test ask the service: @pytest.mark.embedcache(dropin=False)"
_CLIENTS = ("OpenAI", "AsyncOpenAI", "AzureOpenAI", "AsyncAzureOpenAI")
#: What a service alone can answer.
_OTHER = "embeddings.create() with other than texts and known arguments"
#: Where nothing is sent a client needs no key, and its constructor wants one.
_NO_KEY = "none-needed"
#: Requests under way at once in one event loop; more wait. Not the loop's own limit, which the
#: caller's other threads need.
_AT_ONCE = 64


class OpenAIStandIn:
    """Stands in for `embeddings.create`, sync and async.

    Args:
        names: What the user says of remote models.
        keyless: Whether a client can be made without a key: in replay it needs none.
        fake: Makes the fake of a model; where it is given, no service is asked, and no key needed.
        cache: Returns the vectors to use; by default those of the process.
    """

    def __init__(
        self,
        names: Names | None = None,
        *,
        keyless: bool = False,
        fake: Callable[[RemoteModel], FakeRemote] | None = None,
        cache: Callable[[], VectorCache] = default_cache,
    ) -> None:
        self._names = names or Names()
        self._keyless = keyless or fake is not None
        self._fake = fake
        self._cache = cache
        self._switch: Switch | None = None
        self._originals: list[tuple[type, str, Any, Any]] = []
        self._encoders: weakref.WeakKeyDictionary[VectorCache, dict[str, TextEncoder]]
        self._encoders = weakref.WeakKeyDictionary()
        self._hook = AfterImport({_RESOURCES: self._patch_create, "openai": self._patch_clients})

    def install(self, switch: Switch) -> None:
        """Change the classes: at once if they are imported, or else when they are."""
        self._switch = switch
        self._hook.install()

    def remove(self) -> None:
        """Put the classes back; a method that somebody kept is the original's from now on."""
        self._switch = None
        self._hook.remove()
        for owner, name, original, ours in reversed(self._originals):
            if vars(owner).get(name) is ours:  # else somebody has changed it since
                setattr(owner, name, original)
        self._originals.clear()

    def _replace(self, owner: type, name: str, make: Callable[[Any], Any]) -> None:
        original = vars(owner)[name]
        ours = make(original)
        setattr(owner, name, ours)
        self._originals.append((owner, name, original, ours))

    def _patch_create(self, module: Any) -> None:
        self._replace(module.Embeddings, "create", self._sync)
        self._replace(module.AsyncEmbeddings, "create", self._async)

    def _patch_clients(self, module: Any) -> None:
        for name in _CLIENTS:
            if isinstance(found := getattr(module, name, None), type):
                self._replace(found, "__init__", functools.partial(self._constructor, module))

    def _constructor(self, module: Any, original: Any) -> Any:
        @functools.wraps(original)
        def construct(client: Any, *args: Any, **options: Any) -> None:
            try:
                original(client, *args, **options)
            except module.OpenAIError:
                on = self._switch is not None and self._switch.on
                if not on or not self._keyless or options.get("api_key"):
                    raise
                original(client, *args, **{**options, "api_key": _NO_KEY})

        return construct

    def _sync(self, original: Any) -> Any:
        @functools.wraps(original)
        def create(resource: Any, **arguments: Any) -> Any:
            if (faked := self._faked(resource, arguments)) is not None:
                return faked
            found = self._read(resource, arguments)
            if found is None:
                return original(resource, **arguments)
            call, encoder = found

            def compute(model: Any, missing: list[str], quiet: bool) -> np.ndarray:
                answer = original(resource, **call.inner(missing))
                return _rows(call, encoder, answer, len(missing))

            matrix = encoder.matrix(call.texts, Call(), compute)
            if matrix is None:
                return original(resource, **arguments)
            return call.response(matrix)

        return create

    def _async(self, original: Any) -> Any:
        @functools.wraps(original)
        async def create(resource: Any, **arguments: Any) -> Any:
            if (faked := self._faked(resource, arguments)) is not None:
                return faked
            found = self._read(resource, arguments)
            if found is None:
                return await original(resource, **arguments)
            call, encoder = found
            from anyio import from_thread

            def compute(model: Any, missing: list[str], quiet: bool) -> np.ndarray:
                # In a thread, where waiting for others is allowed; the request is the loop's.
                ask = functools.partial(original, resource, **call.inner(missing))
                return _rows(call, encoder, from_thread.run(ask), len(missing))

            matrix = await _beside(encoder, call, compute)
            if matrix is None:
                return await original(resource, **arguments)
            return call.response(matrix)

        return create

    def _read(
        self, resource: Any, arguments: dict[str, Any]
    ) -> tuple[EmbeddingsCall, TextEncoder] | None:
        """The call and who answers it; None where it is the client's alone.

        Raises:
            RecordingNotFoundError, RecordingMismatchError: In replay, for the model.
            ReplayModelError: In replay, for what only the service can answer.
        """
        client, switch = resource._client, self._switch
        if switch is None or not switch.on or not switch.started:
            return None
        if is_fake(bare_url(str(client.base_url))) or hasattr(client, ASKS_ITSELF):
            return None
        cache = self._cache()
        call = EmbeddingsCall.read(arguments)
        if call is None:
            if cache.policy.replays:
                raise ReplayModelError(str(arguments.get("model")), _OTHER, _MARK)
            return None
        remote = self._names.remote(client, call.model, call.dimensions)
        return call, self._encoder(cache, remote, cache.policy.remote)

    def _encoder(
        self, cache: VectorCache, remote: RemoteModel, source: Callable[[RemoteModel], ModelSource]
    ) -> TextEncoder:
        encoders = self._encoders.setdefault(cache, {})
        encoder = encoders.get(remote.fingerprint)
        if encoder is None:
            made = TextEncoder(source(remote), cache)
            encoder = encoders.setdefault(remote.fingerprint, made)
        return encoder

    def _faked(self, resource: Any, arguments: dict[str, Any]) -> Any:
        """The response of a fake; None where this is no run of fakes. Nothing is ever sent.

        Raises:
            FakeModelError: Only the service can answer this.
            ValueError: No fake has these dimensions.
        """
        client, switch = resource._client, self._switch
        if self._fake is None or switch is None or not switch.on:
            return None
        if is_fake(bare_url(str(client.base_url))):  # the fixture's, in this process
            return None
        call = EmbeddingsCall.read(arguments)
        if call is None:
            name = str(arguments.get("model"))
            raise FakeModelError(name, f"is a fake in this run, and cannot answer {_OTHER}", _MARK)
        remote = self._names.remote(client, call.model, call.dimensions)
        matrix = None
        if switch.started:  # before, the store is not the run's
            encoder = self._encoder(self._cache(), remote, self._fake)
            matrix = encoder.matrix(call.texts, Call(), lambda fake, texts, _: fake.encode(texts))
        return call.response(
            self._fake(remote).model.encode(call.texts) if matrix is None else matrix
        )


def _rows(call: EmbeddingsCall, encoder: TextEncoder, answer: Any, count: int) -> np.ndarray:
    """The vectors of an answer; what it cost is counted, where the service says so."""
    rows = call.rows(answer, count)
    if tokens := tokens_of(answer):
        encoder.count(billed=count, tokens=tokens)
    return rows


async def _beside(
    encoder: TextEncoder, call: EmbeddingsCall, compute: Compute
) -> np.ndarray | None:
    """The vectors of a call, looked up beside the event loop, asyncio's or trio's."""
    from anyio import CapacityLimiter, to_thread

    limits = _limits()
    try:
        limit = limits.get()
    except LookupError:
        limit = CapacityLimiter(_AT_ONCE)
        limits.set(limit)
    find = functools.partial(encoder.matrix, call.texts, Call(), compute)
    matrix: np.ndarray | None = await to_thread.run_sync(find, limiter=limit)
    return matrix


@functools.cache
def _limits() -> Any:
    """The limit of each event loop."""
    from anyio.lowlevel import RunVar

    return RunVar("pytest_embedcache.dropin.openai")
