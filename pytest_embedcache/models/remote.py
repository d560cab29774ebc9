"""A model behind somebody's API: known by its name alone, since nobody here has its weights.

Its vendor can change it silently, and no fingerprint of ours would tell. So its identity is marked
as named, and has a version that the user gives: raise it when the vendor says that the model has
changed, and everything is computed anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from pytest_embedcache.encoding import digest

__all__ = [
    "ASKS_ITSELF",
    "DIMENSIONS",
    "RemoteModel",
    "asks_itself",
    "bare_url",
    "fake_at",
    "faking",
    "is_fake",
    "is_http",
]

_Client = TypeVar("_Client")

VERSION = "embedcache-remote-1"
#: Of OpenAI's models, as its documentation has them.
DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
}
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class RemoteModel:
    """What stands for the weights of a model that is asked over a network.

    Attributes:
        provider: Whose protocol: `openai`, or `azure`.
        base_url: As `bare_url` gives it: no credentials are in it.
        name: As the service is asked for it; a deployment's name with Azure.
        dimensions: To which the service shortens its vectors; None where it is not asked to.
        version: The user's, None where none was given.
    """

    provider: str
    base_url: str
    name: str
    dimensions: int | None = None
    version: str | None = None

    @property
    def fingerprint(self) -> str:
        """64 hexadecimal digits over all of it."""
        told = (self.provider, self.base_url, self.name, self.dimensions, self.version)
        return digest(VERSION, *map(repr, told))

    @property
    def described(self) -> str:
        """For people."""
        cut = "" if self.dimensions is None else f" with {self.dimensions} dimensions"
        version = "" if self.version is None else f", version {self.version}"
        return f"{self.name}{cut} of {self.base_url} ({self.provider}{version}; by name only)"

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`. Raises `ValueError` for anything else."""
        found = {**dict.fromkeys(("dimensions", "version")), **facts}
        texts = [found.get(name) for name in ("provider", "base_url", "name")]
        cut, version = found["dimensions"], found["version"]
        if (
            len(found) != len(cls.__dataclass_fields__)
            or not all(isinstance(text, str) for text in texts)
            or not isinstance(cut, int | None)
            or not isinstance(version, str | None)
        ):
            raise ValueError("its remote model is not one")
        return cls(**found)


def bare_url(url: str) -> str:
    """The URL without what may be secret (credentials, query) or says nothing (a last slash)."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    port = parts.port
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _PORTS.get(parts.scheme):
        host = f"{host}:{port}"
    return f"{parts.scheme}://{host}{parts.path.rstrip('/')}"


def is_http(url: str) -> bool:
    """Whether it is the address of something that can be asked over HTTP."""
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0  # raises for a port that is none
    except ValueError:
        return False
    return has_host and parts.scheme in _PORTS and not any(map(str.isspace, url))


#: Of a client: an attribute of those that are ours, and that no drop-in answers for. It would wait
#: for the vectors that it was asked to compute.
ASKS_ITSELF = "_embedcache_asks_itself"


def asks_itself(client: _Client) -> _Client:
    """The client, marked."""
    setattr(client, ASKS_ITSELF, True)
    return client


#: By origin, something that no other fake has.
_fakes: dict[str, str] = {}


@contextmanager
def faking(origin: str) -> Iterator[None]:
    """Inside, what is at `origin` is a fake, whose vectors no store of real ones may see."""
    _fakes[origin] = os.urandom(8).hex()
    try:
        yield
    finally:
        _fakes.pop(origin, None)


def fake_at(base_url: str) -> str | None:
    """What tells the fake that answers at this URL from any other; None where there is none."""
    found = (
        name
        for origin, name in _fakes.items()
        if base_url == origin or base_url.startswith(f"{origin}/")
    )
    return next(found, None)


def is_fake(base_url: str) -> bool:
    """Whether a fake answers at this URL."""
    return fake_at(base_url) is not None
