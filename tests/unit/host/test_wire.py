"""What a worker and a host say to each other arrives exactly, or the connection ends."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_embedcache.errors import HostError
from pytest_embedcache.models.host import wire

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    for sock in (one, other):
        sock.settimeout(30)
    with one, other:
        yield one, other


@given(st.lists(st.text(st.characters(codec=None, exclude_categories=()), max_size=8), max_size=6))
def test_every_text_arrives_exactly(texts: list[str]) -> None:
    """Surrogates that would join in JSON, empty texts, any character."""
    lengths, payload = wire.pack_texts(texts)
    assert wire.unpack_texts(json.loads(json.dumps(lengths)), bytearray(payload)) == texts


def test_a_frame_arrives_whole(pair: Pair) -> None:
    """A message and a payload that is larger than a socket's buffer."""
    message, payload = {"do": "x", "list": [1, None, "ä"]}, os.urandom(3_000_000)
    sender = threading.Thread(target=wire.send, args=(pair[0], message, payload))
    sender.start()
    assert wire.receive(pair[1]) == (message, bytearray(payload))
    sender.join()


@pytest.mark.parametrize("kind", ["float32", "float16", ">f4"])
def test_vectors_arrive_bit_for_bit(kind: str) -> None:
    """Rows, number format and special values; and they can be written to."""
    rows = np.array([[1.5, -0.0, np.inf], [np.nan, 1e-8, 2.0]], dtype=kind)
    message, payload = wire.pack_rows(list(rows))
    found = wire.unpack_rows(json.loads(json.dumps(message)), bytearray(payload), 2)
    assert found.dtype == rows.dtype.newbyteorder("=")
    assert np.array_equal(found, rows, equal_nan=True)
    found[0, 0] = 3.0


def test_another_number_format_is_not_sent() -> None:
    """float64 would lose bits on the way to a store of float32."""
    with pytest.raises(HostError, match="float64"):
        wire.pack_rows([np.zeros(3)])


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"shape": [2, 3], "dtype": "<f4"},
        {"shape": [3, 2], "dtype": "<f4"},
        {"shape": [2, 2], "dtype": "O"},
        {"shape": [2, 2], "dtype": "<f2"},
        {"shape": [2, 2, 1], "dtype": "<f4"},
        {"shape": [2, -2], "dtype": "<f4"},
        {"shape": ["2", 2], "dtype": "<f4"},
    ],
)
def test_what_is_not_the_vectors_of_the_texts_is_refused(message: dict[str, object]) -> None:
    """Shape, format and size have to fit the 16 bytes and the two texts."""
    with pytest.raises(ConnectionError):
        wire.unpack_rows(message, bytearray(16), 2)


@pytest.mark.parametrize("lengths", [None, [1], [4], [-1, 4], [1.0, 2], [True, 2], "12"])
def test_lengths_that_do_not_fit_are_refused(lengths: object) -> None:
    """No text is cut in another place than its sender meant."""
    with pytest.raises(ValueError, match="fit together"):
        wire.unpack_texts(lengths, bytearray(b"abc"))


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("<4sIQ", b"EMBC", 2, 0) + b"[]",
        struct.pack("<4sIQ", b"EMBC", 3, 0) + b"{{{",
        struct.pack("<4sIQ", b"EMBC", 5000, 0),
        struct.pack("<4sIQ", b"EMBC", 2, 1) + b"{}x",
        b"EM",
    ],
    ids=["http", "no object", "no JSON", "too large", "a payload", "cut"],
)
def test_a_stranger_cannot_make_a_host_read_on(pair: Pair, raw: bytes) -> None:
    """What is no small frame ends the conversation before anything is allocated for it."""
    pair[0].sendall(raw)
    pair[0].shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionError):
        wire.receive(pair[1], known=False)


def _greeted(pair: Pair, mine: bytes, theirs: bytes) -> tuple[bool, object]:
    welcomed: list[bool] = []

    def host() -> None:
        with pair[1]:
            welcomed.append(wire.welcome(pair[1], theirs, "here"))

    thread = threading.Thread(target=host)
    thread.start()
    said: object
    try:
        said = wire.greet(pair[0], mine)
    except ConnectionError as error:
        said = error
    thread.join()
    return welcomed[0], said


def test_both_sides_know_the_secret_or_neither_goes_on(pair: Pair) -> None:
    """The host says who it is only to one who knows it."""
    welcomed, said = _greeted(pair, b"x" * 32, b"y" * 32)
    assert welcomed is False
    assert isinstance(said, ConnectionError)


def test_who_knows_the_secret_is_told_the_environment(pair: Pair) -> None:
    """And the process that it talks to."""
    welcomed, said = _greeted(pair, b"x" * 32, b"x" * 32)
    assert welcomed is True
    assert isinstance(said, dict)
    assert (said["environment"], said["pid"]) == ("here", os.getpid())


@pytest.mark.parametrize(
    "answers",
    [
        [{"protocol": 99, "nonce": "a"}],
        [{"protocol": wire.PROTOCOL, "nonce": "a"}, {"proof": "0" * 64, "environment": "here"}],
        [{"protocol": wire.PROTOCOL, "nonce": None}, {"proof": None}],
    ],
    ids=["another protocol", "a wrong proof", "no proof"],
)
def test_a_worker_believes_no_other_host(pair: Pair, answers: list[dict[str, object]]) -> None:
    """Another version, or somebody else who listens there, is not talked to."""
    for answer in answers:
        wire.send(pair[1], answer)
    with pytest.raises(ConnectionError):
        wire.greet(pair[0], b"x" * 32)
