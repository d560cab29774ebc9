"""Keys with one right vector each, for tests of stores."""

from __future__ import annotations

import functools
import hashlib

import numpy as np

__all__ = [
    "DIMENSION",
    "MODEL",
    "OTHER_MODEL",
    "equal",
    "items_of",
    "key_of",
    "vector_of",
]

MODEL = hashlib.sha256(b"a model").hexdigest()
OTHER_MODEL = hashlib.sha256(b"another model").hexdigest()
DIMENSION = 8


def key_of(name: object) -> bytes:
    """A key, as the store gets them: 32 bytes."""
    return hashlib.sha256(repr(name).encode()).digest()


def vector_of(name: object, dimension: int = DIMENSION) -> np.ndarray:
    """The one right vector of `name`."""
    return np.frombuffer(_bytes_of(key_of(name), dimension), dtype=np.float32).copy()


@functools.lru_cache(maxsize=8192)
def _bytes_of(key: bytes, dimension: int) -> bytes:
    generator = np.random.default_rng(int.from_bytes(key[:8], "little"))
    return generator.standard_normal(dimension, dtype=np.float32).tobytes()


def items_of(*names: object) -> dict[bytes, np.ndarray]:
    """Keys and right vectors of the names."""
    return {key_of(name): vector_of(name) for name in names}


def equal(found: dict[bytes, np.ndarray], expected: dict[bytes, np.ndarray]) -> bool:
    """Whether both have the same keys, and the same bytes for each."""
    return {k: v.tobytes() for k, v in found.items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
