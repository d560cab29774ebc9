"""A server process for a test: started, asked, stopped, killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support.asgi import Answer
from support.children import python_path

__all__ = ["Hold", "Server", "needs_serve", "served"]

needs_serve = pytest.mark.skipif(
    not all(map(find_spec, ("fastapi", "uvicorn", "orjson", "prometheus_client")))
    or not hasattr(os, "mkfifo"),
    reason="needs the extra serve, and named pipes",
)

#: Seconds after which a server that says nothing is a failure; nothing waits for it otherwise.
PATIENCE = 60


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


class Server:
    """`embedcache serve` over fakes, in the test's own cache directory.

    `arguments` are those of the command; without a place, a free port of 127.0.0.1.
    """

    def __init__(self, *arguments: str, **environment: str) -> None:
        place = () if {"--port", "--uds"} & set(arguments) else ("--port", "0")
        # With a key for OpenAI, whosever it is, another model would be the default one.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "support.fake_server", *place, *arguments],
            env={**inherited, "PYTHONPATH": python_path("tests"), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().rstrip()
        if "serving" not in line:
            raise AssertionError(line + self.process.communicate(timeout=PATIENCE)[1])
        self.where = line.partition("serving ")[2]

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return self.where.rstrip("/")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def connection(self) -> http.client.HTTPConnection:
        """One of its own; the caller closes it."""
        if self.where.startswith("at the socket "):
            return _UnixConnection(self.where.removeprefix("at the socket "))
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request over a connection of its own."""
        connection = self.connection()
        try:
            content = None if body is None else json.dumps(body)
            given = {"Content-Type": "application/json"} if content is not None else {}
            connection.request(method, path, content, given | headers)
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())
        finally:
            connection.close()

    def post(self, path: str, **body: Any) -> Answer:
        return self.ask("POST", path, body)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def figures(self) -> dict[str, Any]:
        """What `/embed/metrics` says."""
        found: dict[str, Any] = self.get("/embed/metrics").json["metrics"]
        return found

    def kill(self) -> None:
        """As `kill -9`."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE)

    def terminate(self) -> None:
        """Ask it to end, and do not wait."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> tuple[int, str]:
        """Wait for its end: the exit status, and what it wrote to standard error."""
        errors = self.process.communicate(timeout=PATIENCE)[1]
        return self.process.returncode, errors


@contextmanager
def served(*arguments: str, **environment: str) -> Iterator[Server]:
    """One that is stopped at the end of the block, if it runs still, and has then ended well."""
    server = Server(*arguments, **environment)
    try:
        yield server
    except BaseException:  # what it holds nobody will release
        server.kill()
        raise
    if server.process.poll() is None:
        server.terminate()
        status, errors = server.ended()
        assert (status, "Traceback" in errors) == (0, False), errors


class Hold:
    """A text that stands in the model until the test lets it go."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self._directory = directory
        for name in ("arrived", "go"):
            os.mkfifo(directory / name)

    @property
    def text(self) -> str:
        return f"hold {self._directory}"

    def wait(self, asking: Future[Answer] | None = None) -> None:
        """Until the model has the text; `asking` is the request for it, which may fail before."""

        def ended(future: Future[Answer]) -> None:
            # Opened from here, so that the test does not stand still.
            with contextlib.suppress(OSError):
                os.close(os.open(self._directory / "arrived", os.O_WRONLY | os.O_NONBLOCK))

        if asking is not None:
            asking.add_done_callback(ended)
        (self._directory / "arrived").open().close()
        if asking is not None and asking.done():
            raise AssertionError(asking.result())

    def release(self) -> None:
        """Let the model go on."""
        (self._directory / "go").open("w").close()
