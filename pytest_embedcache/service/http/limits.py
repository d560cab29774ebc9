"""What a server admits, and how long it takes: decided before any of it is read."""

from __future__ import annotations

from dataclasses import dataclass, fields

from pytest_embedcache.errors import SettingsError

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one server. What is over one is refused, with the bound in the message.

    Attributes:
        body_bytes: Of a request's body (413).
        texts: In one request (422; 400 in OpenAI's route). OpenAI has 2,048.
        waiting: Texts that wait to be encoded by one model, of all requests (429, with
            Retry-After): the service's `max_waiting`. What a store has never waits.
        seconds: From a request's first byte to its answer (504). The work is not lost: its vectors
            are stored, and the next request finds them.
        drain_seconds: That a shutdown waits for what was accepted; the rest is given up (503).
    """

    body_bytes: int = 16 * 2**20
    texts: int = 2048
    waiting: int = 16_384
    seconds: float = 60.0
    drain_seconds: float = 60.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise SettingsError(field.name, value, "Limits", "give a number above 0")
