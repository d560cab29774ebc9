"""A vector as bytes: a header of 16 bytes, then raw little-endian float32.

    offset  bytes
    0       4      magic, "EMBV"
    4       4      checksum of everything after it and of the key
    8       1      version, 1
    9       1      dtype, 1 = float32
    10      2      zero
    12      4      dimension
    16      4 n    the components

The checksum also covers the key under which the value lies: a sound value under another vector's
key (a damaged index, a mixed-up reply) is as wrong as a damaged one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from typing import TypeGuard

import numpy as np

from pytest_embedcache.errors import StoredValueError, VectorError

__all__ = [
    "FLOAT32",
    "HEADER_SIZE",
    "MAGIC",
    "check_vectors",
    "decode",
    "decode_many",
    "encode",
    "same",
]

MAGIC = b"EMBV"
VERSION = 1
_FLOAT32 = 1
_HEADER = struct.Struct("<4sIBBHI")
#: The part of the header that the checksum covers.
_COVERED = struct.Struct("<BBHI")
_COVERED_FROM = 8
HEADER_SIZE = _HEADER.size
_COMPONENT = np.dtype("<f4")
#: Made once: to compare with the type would make it anew for every vector.
FLOAT32 = np.dtype(np.float32)
#: Vectors that are checked at once: their copy fits into the processor's cache.
_TOGETHER = 128


def encode(vector: np.ndarray, key: bytes = b"") -> bytes:
    """The stored form of a 1-D float32 vector under `key`.

    Raises:
        VectorError: It is something else, or holds NaN or infinity.
    """
    return pack(check_vectors({key: vector})[key], key)


def pack(vector: np.ndarray, key: bytes) -> bytes:
    """`encode`, for a vector that came out of `check_vectors`."""
    covered = _COVERED.pack(VERSION, _FLOAT32, 0, len(vector)) + vector.astype("<f4").tobytes()
    return MAGIC + _checksum(covered, key).to_bytes(4, "little") + covered


def decode(value: object, key: bytes = b"") -> np.ndarray:
    """The vector stored as `value` under `key`: 1-D, float32, a read-only view of `value`.

    `value` may be anything at all: a damaged database gives numbers where bytes were.

    Raises:
        StoredValueError: `value` is not what `encode` made for that key.
    """
    if not isinstance(value, bytes) or len(value) < HEADER_SIZE or not value.startswith(MAGIC):
        raise StoredValueError("it does not begin like one", ours=False)
    _, checksum, version, dtype, zero, dimension = _HEADER.unpack_from(value)
    if version != VERSION:
        # Of a later version, perhaps: for that one to judge.
        raise StoredValueError(f"version {version}, this is version {VERSION}", ours=False)
    if dtype != _FLOAT32 or zero:
        raise StoredValueError(f"dtype {dtype}, expected {_FLOAT32}")
    if dimension == 0 or len(value) != HEADER_SIZE + 4 * dimension:
        raise StoredValueError(f"{len(value)} bytes for a dimension of {dimension}")
    if _checksum(value[_COVERED_FROM:], key) != checksum:
        raise StoredValueError("its checksum is another")
    return _from_value(value)


def decode_many(
    items: Iterable[tuple[bytes, object]],
) -> tuple[dict[bytes, np.ndarray], dict[bytes, StoredValueError]]:
    """Decode (key, value) pairs; returns the vectors, and the errors of the others, by key.

    Each vector is a view of its own value. Values of one size are checked together, which is
    several times faster than one by one.
    """
    pairs = list(items)
    if len(pairs) > 1 and _uniform(pairs) and _all_sound(pairs):
        return {key: _from_value(value) for key, value in pairs}, {}
    vectors = {}
    errors = {}
    for key, value in pairs:
        try:
            vectors[key] = decode(value, key)
        except StoredValueError as error:
            errors[key] = error
    return vectors, errors


def check_vectors(items: Mapping[bytes, object]) -> dict[bytes, np.ndarray]:
    """The same vectors, if all of them can be stored.

    Raises:
        VectorError: One cannot; it is named by its key.
    """
    vectors = {}
    for key, vector in items.items():
        if not isinstance(vector, np.ndarray) or vector.dtype != FLOAT32 or vector.ndim != 1:
            raise VectorError(key, f"it is {_describe(vector)}")
        if not vector.size:
            raise VectorError(key, "it is empty")
        vectors[key] = vector
    listed = list(vectors.values())
    for start in range(0, len(listed), _TOGETHER):
        # Many at once, and one by one only to name the culprit: seven times faster.
        if not np.isfinite(np.concatenate(listed[start : start + _TOGETHER])).all():
            for key, vector in vectors.items():
                if not np.isfinite(vector).all():
                    raise VectorError(key, "it holds NaN or infinity")
    return vectors


def same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two vectors have the same bytes (0.0 and -0.0 are equal numbers, but differ here)."""
    return one.tobytes() == other.tobytes()


def _checksum(covered: bytes, key: bytes) -> int:
    # CRC-32 takes 0.4 µs for 384 components; blake2b, the fastest digest in hashlib, 1.4 µs, and a
    # whole read from SQLite 3. The enemy is a flipped bit or a torn page, not a forger: whoever can
    # write the store can also write a checksum.
    return zlib.crc32(covered, zlib.crc32(key))


def _from_value(value: bytes) -> np.ndarray:
    vector = np.frombuffer(value, _COMPONENT, -1, HEADER_SIZE)
    return vector if _COMPONENT.isnative else vector.astype(np.float32)


def _uniform(pairs: list[tuple[bytes, object]]) -> TypeGuard[list[tuple[bytes, bytes]]]:
    sizes = {len(value) if isinstance(value, bytes) else -1 for _, value in pairs}
    size = sizes.pop()
    return not sizes and size > HEADER_SIZE and size % 4 == 0


def _all_sound(pairs: list[tuple[bytes, bytes]]) -> bool:
    """Whether values of one size are all what `encode` made for their keys."""
    heads = np.frombuffer(b"".join([value[:HEADER_SIZE] for _, value in pairs]), "<u4")
    heads = heads.reshape(len(pairs), -1)
    dimension = (len(pairs[0][1]) - HEADER_SIZE) // 4
    expected = np.frombuffer(_HEADER.pack(MAGIC, 0, VERSION, _FLOAT32, 0, dimension), "<u4")
    if not (heads[:, (0, 2, 3)] == expected[[0, 2, 3]]).all():
        return False
    crc32 = zlib.crc32
    return all(
        crc32(value[_COVERED_FROM:], crc32(key)) == checksum  # _checksum, without its call
        for (key, value), checksum in zip(pairs, heads[:, 1].tolist(), strict=True)
    )


def _describe(vector: object) -> str:
    if isinstance(vector, np.ndarray):
        return f"{vector.ndim}-D {vector.dtype}"
    return type(vector).__name__
