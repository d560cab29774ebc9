"""A load of HTTP requests that costs little itself: the server shares the machine with it."""

from __future__ import annotations

import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.children import environment

__all__ = ["Answers", "all_at_once", "post", "request", "served", "steady"]

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"
_CHUNK = 1 << 20
#: Seconds after which a server that says nothing is a failure.
_PATIENCE = 120


@dataclass
class Answers:
    """What came back: bodies by the number of their request, and seconds of each."""

    bodies: dict[int, bytes] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    whole: float = 0.0


def request(path: str, body: bytes = b"", *, method: str = "POST") -> bytes:
    """The bytes of a request that keeps its connection."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class _Connection:
    """One connection, and the answer that comes over it."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = 0
        self.began = 0.0
        self._parts: list[bytes] = []
        self._left: int | None = None

    def send(self, content: bytes, number: int) -> None:
        self.number, self._parts, self._left = number, [], None
        self.began = time.perf_counter()
        self.socket.sendall(content)

    def receive(self) -> bytes | None:
        """The body, once all of it is here. Raises `RuntimeError` for another status than 200."""
        part = self.socket.recv(_CHUNK)
        if not part:
            raise RuntimeError("the server closed the connection")
        if self._left is None:
            head, _, part = part.partition(_HEAD_END)
            if b" 200 " not in head[:16]:
                raise RuntimeError((head + part)[:500].decode(errors="replace"))
            self._left = int(head.lower().split(_LENGTH)[1].split(b"\r\n")[0])
        self._parts.append(part)
        self._left -= len(part)
        return b"".join(self._parts) if self._left <= 0 else None


def post(port: int, path: str, body: bytes = b"", *, method: str = "POST") -> bytes:
    """The body of one answer."""
    return all_at_once(port, [request(path, body, method=method)]).bodies[0]


def all_at_once(port: int, requests: Sequence[bytes]) -> Answers:
    """Each over a connection of its own, all sent before the first answer is read."""
    connections = [_Connection(port) for _ in requests]
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        start = time.perf_counter()
        for number, (connection, content) in enumerate(zip(connections, requests, strict=True)):
            connection.send(content, number)
        answers = Answers()
        for connection, body in _received(selector, lambda: len(answers.bodies) < len(requests)):
            answers.bodies[connection.number] = body
            answers.seconds.append(time.perf_counter() - connection.began)
        answers.whole = time.perf_counter() - start
    for connection in connections:
        connection.socket.close()
    return answers


def steady(port: int, content: bytes, *, clients: int, seconds: float) -> Answers:
    """`clients` that send the same request again as soon as it is answered; bodies are not kept."""
    connections = [_Connection(port) for _ in range(clients)]
    answers = Answers()
    with selectors.DefaultSelector() as selector:
        start = time.perf_counter()
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(content, 0)
        for connection, _ in _received(selector, lambda: time.perf_counter() - start < seconds):
            answers.seconds.append(time.perf_counter() - connection.began)
            connection.send(content, 0)
        answers.whole = time.perf_counter() - start
    for connection in connections:
        connection.socket.close()
    return answers


def _received(
    selector: selectors.BaseSelector, go_on: Callable[[], bool]
) -> Iterator[tuple[_Connection, bytes]]:
    while go_on():
        events = selector.select(_PATIENCE)
        if not events:
            raise RuntimeError("the server does not answer")
        for key, _ in events:
            connection: _Connection = key.data
            body = connection.receive()
            if body is not None:
                yield connection, body


@contextmanager
def served(*command: str, **changes: str) -> Iterator[int]:
    """The port of a server that `command` starts, once it says `… http://127.0.0.1:PORT/`."""
    errors = subprocess.DEVNULL
    child = subprocess.Popen(
        [sys.executable, *command],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        cwd=Path(__file__).parents[1],
    )
    try:
        assert child.stdout is not None
        line = child.stdout.readline()
        if "http://" not in line:
            raise RuntimeError(f"the server did not start: {line!r}")
        yield int(line.rstrip().rstrip("/").rpartition(":")[2])
    finally:
        child.terminate()
        child.wait(_PATIENCE)


def figures(port: int) -> dict[str, Any]:
    """What `/embed/metrics` says."""
    import json

    found: dict[str, Any] = json.loads(post(port, "/embed/metrics", method="GET"))["metrics"]
    return found
