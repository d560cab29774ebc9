"""`VectorStore`: what a store of vectors promises, whatever it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["StoreStats", "VectorStore"]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """What a store holds, and what this object did since it was made.

    Attributes:
        entries: Vectors held, of all namespaces.
        bytes: Bytes of these vectors.
        hits: Keys asked for and found.
        misses: Keys asked for and not found; a damaged or expired value is a miss.
        corrupt: Values that were not the vector of their key, and databases moved aside.
        errors: Calls that failed.
        evictions: Vectors removed to stay within a bound.
        details: What only this kind of store has to say, JSON types only.
    """

    entries: int = 0
    bytes: int = 0
    hits: int = 0
    misses: int = 0
    corrupt: int = 0
    errors: int = 0
    evictions: int = 0
    details: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain builtins."""
        return asdict(self)


@runtime_checkable
class VectorStore(Protocol):
    """Vectors by key, in batches, safe for threads and after a fork.

    A namespace is a model's fingerprint (64 hexadecimal digits); a key is the 32-byte digest that
    `vectors.keys` makes. Vectors of one namespace may differ in dimension.

    Every method may raise `StoreError`: the store cannot be used now. What it holds is sound then,
    and a call that wrote has written all of it, some of it or nothing.

    A store may have `promote_many` besides: as `put_many`, for what a tier below returned, and so
    need not be checked again. Without it `put_many` is called.
    """

    #: "memory", "sqlite", "redis", …: in summaries, and a label of metrics.
    name: str

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """The vectors that are here: 1-D, float32, read-only, bit for bit as they were put.

        They may be views of one buffer; whoever hands them on copies them.
        """
        ...

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        """Store what is not here yet; what is here stays.

        Returns the stored vectors that won over a *different* given one, usually none, so that
        everybody hands out the same bytes. What was accepted is what others will find, until it
        expires or is evicted.

        Raises:
            VectorError: A vector is not 1-D float32 of finite numbers; nothing was stored.
        """
        ...

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        """Remove vectors; returns how many there were."""
        ...

    def clear(self, fingerprint: str | None = None) -> int:
        """Remove a namespace, or everything; returns how many vectors there were."""
        ...

    def stats(self) -> StoreStats:
        """What is here now, and the counts of this object."""
        ...

    def close(self) -> None:
        """Let go of files and connections; closing again does nothing."""
        ...
