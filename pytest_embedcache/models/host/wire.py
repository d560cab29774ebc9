"""What a worker and a model host say to each other: frames, texts, vectors, and who they are.

A frame is a head of 16 bytes (`EMBC`, bytes of the JSON as u32, bytes of what follows as u64, both
little-endian), a JSON object, and raw bytes: texts as UTF-8, or a matrix of float32. Nothing that
is read is ever executed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from pytest_embedcache.errors import HostError

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "PROTOCOL",
    "Message",
    "greet",
    "pack_rows",
    "pack_texts",
    "receive",
    "send",
    "unpack_rows",
    "unpack_texts",
    "welcome",
]

#: Grows with every change of what is said.
PROTOCOL = 1
Message = dict[str, Any]


class Connection(Protocol):
    """As much of a socket as is used."""

    def recv_into(self, buffer: memoryview, /) -> int:
        """Bytes that came, 0 at the end."""

    def sendall(self, data: bytes, /) -> None:
        """Send all of it."""


_HEAD = struct.Struct("<4sIQ")
_MAGIC = b"EMBC"
#: Bytes that a peer is believed to mean: 2 GiB of texts or vectors, 64 MiB around them.
_MOST = 2 * 2**30
_MOST_JSON = 64 * 2**20
#: Of a frame of somebody who has not said yet who he is.
_STRANGER = 4096
_DTYPES = {"<f4": 4, "<f2": 2}


def send(sock: Connection, message: Message, payload: bytes = b"") -> None:
    """Send one frame. Raises `OSError`."""
    told = json.dumps(message, separators=(",", ":")).encode()
    sock.sendall(_HEAD.pack(_MAGIC, len(told), len(payload)) + told)
    if payload:
        sock.sendall(payload)


def receive(sock: Connection, *, known: bool = True) -> tuple[Message, bytearray]:
    """The next frame; from one who is not `known` only a small one.

    Raises `ConnectionError` at the end, or for what is no frame; `OSError` as sockets do.
    """
    magic, told, size = _HEAD.unpack(_exactly(sock, _HEAD.size))
    most = (_MOST_JSON, _MOST) if known else (_STRANGER, 0)
    if magic != _MAGIC or told > most[0] or size > most[1]:
        raise ConnectionError("what came is not of this protocol")
    try:
        message = json.loads(_exactly(sock, told))
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ConnectionError("what came is not of this protocol")
    return message, _exactly(sock, size)


def _exactly(sock: Connection, count: int) -> bytearray:
    found = bytearray(count)
    view = memoryview(found)
    while view:
        got = sock.recv_into(view)
        if not got:
            raise ConnectionError("the other side is gone")
        view = view[got:]
    return found


def pack_texts(texts: Sequence[str]) -> tuple[list[int], bytes]:
    """Lengths and bytes; every text comes back exactly, a lone surrogate too."""
    parts = [text.encode("utf-8", "surrogatepass") for text in texts]
    return [len(part) for part in parts], b"".join(parts)


def unpack_texts(lengths: Any, payload: bytearray) -> list[str]:
    """The inverse. Raises `ValueError` where the two do not fit together."""
    sound = isinstance(lengths, list) and all(type(n) is int and n >= 0 for n in lengths)
    if not sound or sum(lengths) != len(payload):
        raise ValueError("lengths and texts do not fit together")
    texts, start = [], 0
    for length in lengths:
        texts.append(payload[start : start + length].decode("utf-8", "surrogatepass"))
        start += length
    return texts


def pack_rows(rows: Sequence[np.ndarray]) -> tuple[Message, bytes]:
    """What describes the matrix, and its bytes. Raises `HostError` for another number format."""
    import numpy as np

    matrix = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
    kind = matrix.dtype.newbyteorder("<").str
    if kind not in _DTYPES:
        raise HostError(f"vectors of {matrix.dtype} are not sent")
    return {"shape": list(matrix.shape), "dtype": kind}, matrix.astype(kind, copy=False).tobytes()


def unpack_rows(message: Message, payload: bytearray, count: int) -> np.ndarray:
    """The matrix, of `count` rows, which can be written to.

    Raises `ConnectionError` where it is not one.
    """
    import numpy as np

    shape, kind = message.get("shape"), message.get("dtype")
    match shape:
        case [int(rows), int(columns)] if rows == count and kind in _DTYPES:
            fits = rows * columns * _DTYPES[kind] == len(payload)
        case _:
            fits = False
    if not fits:
        raise ConnectionError("what came is not the vectors of the texts")
    found: np.ndarray = np.frombuffer(payload, dtype=kind).reshape(shape)
    return found


def welcome(sock: Connection, secret: bytes, environment: str) -> bool:
    """The host's side: whether the other one knows the secret, and is of the same environment.

    Somebody who does not know it learns nothing but a random number. Raises `OSError`.
    """
    mine = os.urandom(32)
    send(sock, {"protocol": PROTOCOL, "nonce": mine.hex()})
    said, _ = receive(sock, known=False)
    theirs = str(said.get("nonce", ""))
    if not hmac.compare_digest(_proof(secret, "worker", mine.hex(), theirs), _text(said, "proof")):
        return False
    proof = _proof(secret, "host", mine.hex(), theirs)
    send(sock, {"proof": proof, "environment": environment, "pid": os.getpid()})
    return True


def greet(sock: Connection, secret: bytes) -> Message:
    """The worker's side: what the host says of itself, `environment` and `pid`.

    Raises `ConnectionError` where it is of another protocol or does not know the secret.
    """
    said, _ = receive(sock, known=False)
    if said.get("protocol") != PROTOCOL:
        raise ConnectionError(f"it speaks protocol {said.get('protocol')!r}, not {PROTOCOL}")
    theirs, mine = _text(said, "nonce"), os.urandom(32).hex()
    send(sock, {"nonce": mine, "proof": _proof(secret, "worker", theirs, mine)})
    answer, _ = receive(sock, known=False)
    if not hmac.compare_digest(_proof(secret, "host", theirs, mine), _text(answer, "proof")):
        raise ConnectionError("it is not the host of this address")
    return answer


def _text(message: Message, name: str) -> str:
    """Something that can be compared, whatever came."""
    found = message.get(name)
    return found if isinstance(found, str) and found.isascii() else ""


def _proof(secret: bytes, side: str, *nonces: str) -> str:
    told = "\0".join((side, *nonces)).encode("utf-8", "surrogatepass")
    return hmac.new(secret, told, hashlib.sha256).hexdigest()
