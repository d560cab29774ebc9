"""The codec: what comes out is what went in, under the key it went in with, or an error."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pytest_embedcache.errors import StoredValueError, VectorError
from pytest_embedcache.vectors.codec import (
    HEADER_SIZE,
    MAGIC,
    check_vectors,
    decode,
    decode_many,
    encode,
    same,
)

vectors = hnp.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)
keys = st.binary(min_size=32, max_size=32)


# ------------------------------------------------------------------------------ round trips


@settings(deadline=None)
@given(vectors, keys)
def test_a_round_trip_keeps_every_bit(vector: np.ndarray, key: bytes) -> None:
    """Subnormal numbers and negative zero included."""
    found = decode(encode(vector, key), key)
    assert found.dtype == np.float32
    assert found.tobytes() == vector.tobytes()


@settings(deadline=None)
@given(st.lists(st.tuples(keys, vectors), max_size=12, unique_by=lambda pair: pair[0]))
def test_a_batch_is_what_its_values_are_alone(pairs: list[tuple[bytes, np.ndarray]]) -> None:
    """Of one dimension or of many, in any order."""
    found, errors = decode_many([(key, encode(vector, key)) for key, vector in pairs])
    assert errors == {}
    assert {key: row.tobytes() for key, row in found.items()} == {
        key: vector.tobytes() for key, vector in pairs
    }


def test_the_format_is_the_documented_one() -> None:
    """16 bytes of header, then little-endian float32: another program can read it."""
    value = encode(np.array([1.5, -2.0], np.float32), b"k" * 32)
    magic, _, version, dtype, zero, dimension = struct.unpack_from("<4sIBBHI", value)
    assert (magic, version, dtype, zero, dimension) == (b"EMBV", 1, 1, 0, 2)
    assert struct.unpack_from("<2f", value, HEADER_SIZE) == (1.5, -2.0)
    assert len(value) == HEADER_SIZE + 8


def test_the_format_stays_the_same_from_version_to_version() -> None:
    """A change here makes stored vectors unreadable: raise VERSION then."""
    value = encode(np.array([1.0, -0.0], np.float32), b"key")
    assert value.hex() == "454d42562f47913601010000020000000000803f00000080"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_what_is_decoded_cannot_be_changed(count: int) -> None:
    """Alone or in a batch: read-only, also if numpy is asked for more."""
    pairs = [
        (bytes([n]) * 32, encode(np.ones(3, np.float32), bytes([n]) * 32)) for n in range(count)
    ]
    found, _ = decode_many(pairs)
    for vector in found.values():
        assert not vector.flags.writeable
        with pytest.raises(ValueError, match="WRITEABLE"):
            vector.flags.writeable = True


# ------------------------------------------------------------------------------ damage


@settings(deadline=None)
@given(vectors, keys, st.data())
def test_any_flipped_bits_are_found_out(
    vector: np.ndarray, key: bytes, data: st.DataObject
) -> None:
    """One bit or several within four bytes, anywhere in the value: never a vector."""
    value = bytearray(encode(vector, key))
    start = data.draw(st.integers(0, len(value) - 1))
    for _ in range(data.draw(st.integers(1, 6))):
        at = min(start + data.draw(st.integers(0, 3)), len(value) - 1)
        value[at] ^= 1 << data.draw(st.integers(0, 7))
    if bytes(value) == encode(vector, key):
        return  # flipped back
    with pytest.raises(StoredValueError):
        decode(bytes(value), key)
    found, errors = decode_many([(key, bytes(value)), (b"o" * 32, encode(vector, b"o" * 32))])
    assert list(found) == [b"o" * 32]
    assert list(errors) == [key]


@settings(deadline=None)
@given(vectors, keys, st.data())
def test_any_other_length_is_found_out(vector: np.ndarray, key: bytes, data: st.DataObject) -> None:
    """Cut off or longer: never a vector."""
    value = encode(vector, key)
    with pytest.raises(StoredValueError):
        decode(value[: data.draw(st.integers(0, len(value) - 1))], key)
    with pytest.raises(StoredValueError):
        decode(value + data.draw(st.binary(min_size=1, max_size=8)), key)


@settings(deadline=None)
@given(vectors, keys, keys)
def test_the_value_of_another_key_is_found_out(
    vector: np.ndarray, key: bytes, other: bytes
) -> None:
    """A sound value under the wrong key is wrong."""
    if key != other:
        with pytest.raises(StoredValueError):
            decode(encode(vector, key), other)


@pytest.mark.parametrize(
    "value",
    [None, 7, 1.5, "EMBV", b"", b"EMB", MAGIC, b"\0" * 64, b"another program's value", [1.0]],
)
def test_what_is_not_ours_is_said_to_be_not_ours(value: Any) -> None:
    """Anything at all may lie in a shared store: it is an error, never a crash."""
    with pytest.raises(StoredValueError) as raised:
        decode(value, b"k")
    assert raised.value.ours is False
    found, errors = decode_many([(b"k", value), (b"l", value)])
    assert found == {}
    assert set(errors) == {b"k", b"l"}


def test_a_later_version_is_not_ours_to_judge() -> None:
    """Another version is left for the program that knows it; a damaged value is ours."""
    value = bytearray(encode(np.ones(3, np.float32), b"k"))
    value[8] = 2
    with pytest.raises(StoredValueError, match="version 2") as raised:
        decode(bytes(value), b"k")
    assert raised.value.ours is False
    damaged = encode(np.ones(3, np.float32), b"k")[:-1] + b"\x01"
    with pytest.raises(StoredValueError, match="checksum") as raised:
        decode(damaged, b"k")
    assert raised.value.ours is True


def test_only_the_damaged_of_a_batch_are_lost() -> None:
    """One bad value among a thousand is one miss."""
    pairs = [(b"%032d" % n, encode(np.full(8, n, np.float32), b"%032d" % n)) for n in range(1000)]
    pairs[500] = (pairs[500][0], pairs[501][1])
    found, errors = decode_many(pairs)
    assert len(found) == 999
    assert list(errors) == [pairs[500][0]]
    assert all((vector == int(key)).all() for key, vector in found.items())


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    """NaN and infinity are never stored; the error names the key, not the others'."""
    items = {b"a": np.ones(3, np.float32), b"b": np.array([0, bad, 0], np.float32)}
    with pytest.raises(VectorError, match=b"b".hex()) as raised:
        check_vectors(items)
    assert raised.value.key == b"b".hex()
    with pytest.raises(VectorError, match="NaN"):
        encode(items[b"b"])


@pytest.mark.parametrize(
    "bad",
    [
        [1.0],
        np.float32(1.0),
        np.array(1.0, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros(3, np.float16),
        np.zeros(3, ">f4"),
        np.zeros(0, np.float32),
    ],
    ids=["list", "scalar", "0-D", "2-D", "float16", "big-endian", "empty"],
)
def test_what_is_no_vector_is_refused(bad: Any) -> None:
    """Another type, shape, dtype or byte order is an error, not a guess."""
    with pytest.raises(VectorError):
        encode(bad)


def test_same_looks_at_bytes() -> None:
    """0.0 and -0.0 are equal numbers and different bytes; dimensions count."""
    zero, negative = np.zeros(2, np.float32), -np.zeros(2, np.float32)
    assert same(zero, zero.copy())
    assert not same(zero, negative)
    assert not same(zero, np.zeros(3, np.float32))
