"""A connection to a host that may be silent, as long as its process is at work.

Its sign of life comes from a thread. That waits for the interpreter's lock, which a library may
hold while it computes, and for a processor, which others may have: neither is a host that hangs.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Patient", "at_work"]

#: Times the silence that is borne, after which a host is lost that gets nothing done.
_STANDS_STILL = 20
#: Of a thread: it computes or waits for a processor; it waits for a disk.
_BUSY = (b"R", b"D")
_LOOKS = 3


def at_work(process: int) -> bool:
    """Whether a thread of the process computes, or could if it were let.

    False for one that waits, that was stopped or is gone, and where the system does not say (it
    does in Linux).
    """
    threads = f"/proc/{process}/task"
    try:
        found = os.listdir(threads)
    except OSError:
        return False
    # One after the other, so that two that hand a lock over can both be seen while they wait.
    looks = (_state(f"{threads}/{thread}/stat") for _ in range(_LOOKS) for thread in found)
    return any(state in _BUSY for state in looks)


def _state(path: str) -> bytes:
    try:
        with open(path, "rb") as stat:
            # The name before it, in brackets, is whatever the thread has given itself.
            return stat.read().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):  # it has ended
        return b""


class Patient:
    """A socket of a worker.

    Args:
        sock: Connected.
        silence: Seconds of silence that are borne; where the other side is at work, `most`.

    Both of its methods raise `TimeoutError` after that, and else what a socket raises.
    """

    def __init__(self, sock: socket.socket, silence: float) -> None:
        self.silence = silence
        self._sock = sock
        self._process = _other_side(sock)

    @property
    def most(self) -> float:
        """Seconds after which it is too long for anybody."""
        return self.silence * _STANDS_STILL

    def recv_into(self, buffer: memoryview) -> int:
        """As a socket's."""
        return self._while_at_work(self._sock.recv_into, buffer)

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        left = memoryview(data)
        while left:
            left = left[self._while_at_work(self._sock.send, left) :]

    def close(self) -> None:
        """As a socket's."""
        self._sock.close()

    def _while_at_work(self, call: Callable[[Any], int], argument: Any) -> int:
        self._sock.settimeout(self.silence)
        until = time.monotonic() + self.most
        while True:
            try:
                return call(argument)
            except TimeoutError:
                if time.monotonic() >= until or not at_work(self._process):
                    raise


def _other_side(sock: socket.socket) -> int:
    """The process that listens there; 0 where the system does not say."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None or sock.family != socket.AF_UNIX:
        return 0
    process: int = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, option, 12))[0]
    return process
