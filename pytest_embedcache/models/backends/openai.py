"""The backend `openai`: a model behind OpenAI's API, or any that is compatible with it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import MissingExtraError, ModelLoadError
from pytest_embedcache.installed import is_installed
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.remote import DIMENSIONS, RemoteModel, asks_itself, bare_url, fake_at

if TYPE_CHECKING:
    from pytest_embedcache.models.artifacts import ArtifactStore
    from pytest_embedcache.spec import ModelSpec

__all__ = ["OPENAI", "OpenAIBackend", "endpoint_of"]

OPENAI = "https://api.openai.com/v1"
KEY, URL = "OPENAI_API_KEY", "OPENAI_BASE_URL"
#: The client wants a key, and a server of one's own often none.
_NO_KEY = "none-needed"
#: Before the name of a variable that was not set when a model was asked for; no key begins with it.
UNSET = "$"
#: Seconds for one answer. The client's own ten minutes are for texts that are written.
_TIMEOUT = 60.0


class OpenAIBackend:
    """Makes an `OpenAIModel` of a spec.

    Its `path`, where it is not resolved yet, is what `OPENAI_BASE_URL` says, else OpenAI's own;
    its `revision` is a version that the user gives; its `token` is the key, without which
    `OPENAI_API_KEY` counts, for the endpoint of `OPENAI_BASE_URL` alone.

    Args:
        wait: Waits for so many seconds before a request is repeated.
        timeout: Seconds for one answer.
    """

    #: Calls of one model may run beside each other.
    is_concurrent = True

    def __init__(
        self, *, wait: Callable[[float], object] = time.sleep, timeout: float = _TIMEOUT
    ) -> None:
        self._wait = wait
        self._timeout = timeout

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        """The spec with the endpoint as its path. Asks nobody: a name is all there is to know."""
        return replace(spec, path=endpoint_of(spec), cache_folder=None)

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        """By name alone, as the drop-in knows it: they share their vectors."""
        path = endpoint_of(spec)
        version = spec.revision
        if (fake := fake_at(path)) is not None:
            # No real vector is to be found in its place, nor one of its own anywhere later.
            version = f"fake {fake} {version or ''}"
        remote = RemoteModel("openai", path, spec.name, version=version)
        # What the drop-in knows of it, and no more: both write one header of its recordings.
        metadata = ModelMetadata(dimension=DIMENSIONS.get(spec.name))
        signature = self.signature(replace(spec, path=path))
        return Identity(
            spec.name, remote.fingerprint, "float32", metadata, signature, remote=remote
        )

    def signature(self, spec: ModelSpec) -> str | None:
        return digest("openai", spec.path or "", spec.name, spec.revision or "")

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        return ()

    def import_libraries(self) -> bool:
        fresh = sys.modules.get("openai") is None
        try:
            import openai  # noqa: F401
        except ModuleNotFoundError as error:
            if error.name != "openai":
                raise
            raise MissingExtraError("the backend 'openai'", "openai", "openai") from error
        return fresh

    def missing(self) -> MissingExtraError | None:
        """The client's package, where it is not installed."""
        if is_installed("openai"):
            return None
        return MissingExtraError("the backend 'openai'", "openai", "openai")

    def url_of(self, spec: ModelSpec) -> str:
        """Where a resolved spec is asked for: with credentials, where the environment has some."""
        assert spec.path is not None
        return _url() if bare_url(_url()) == spec.path else spec.path

    def load(self, spec: ModelSpec) -> Any:
        """A model that has its client. Raises `ModelLoadError` where there is no key."""
        from pytest_embedcache.models.openai.model import OpenAIModel
        from pytest_embedcache.models.openai.requests import Asking

        assert spec.path is not None
        path, url = spec.path, self.url_of(spec)
        try:
            key = _key(spec)
        except LookupError as error:
            raise ModelLoadError(
                spec.name,
                "openai",
                f"there is no key for {path}: {error.args[0]}",
                f"Set {KEY}, or give openai_api_key= to the service.",
            ) from error

        def client() -> Any:
            import openai

            # When to ask again is ours to decide, not the client's.
            made = openai.OpenAI(api_key=key, base_url=url, max_retries=0, timeout=self._timeout)
            return asks_itself(made)

        asking = Asking(spec.name, path, wait=self._wait)
        try:
            return OpenAIModel(spec.name, client, asking, DIMENSIONS.get(spec.name))
        except Exception as error:
            reason = f"the client could not be made ({type(error).__name__})"
            remedy = "Check its environment variables (OPENAI_…)."
            raise ModelLoadError(spec.name, "openai", reason, remedy) from error


def endpoint_of(spec: ModelSpec) -> str:
    """The base URL that a spec means, resolved or not, as `bare_url` gives it."""
    return bare_url(spec.path or _url())


def _url() -> str:
    return os.environ.get(URL) or OPENAI


def _key(spec: ModelSpec) -> str:
    """The key for a resolved spec's endpoint. Raises `LookupError`."""
    if isinstance(spec.token, str) and spec.token.startswith(UNSET):
        name = spec.token.removeprefix(UNSET)
        if found := os.environ.get(name):
            return found
        raise LookupError(f"{name} is not set")  # and not another account's in its place
    if isinstance(spec.token, str) and spec.token:
        return spec.token
    if spec.path != bare_url(_url()):
        return _NO_KEY  # OpenAI's key is not for others
    if found := os.environ.get(KEY):
        return found
    raise LookupError(f"{KEY} is not set")
