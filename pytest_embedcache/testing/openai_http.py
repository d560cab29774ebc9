"""The HTTP around the fake of OpenAI's service: a server on this machine, in a thread."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Reply", "Server"]

#: Status, headers and body.
Reply = tuple[int, Mapping[str, str], Mapping[str, Any]]
#: (method, path, headers in lower case, raw body) -> the reply.
Handle = Callable[[str, str, Mapping[str, str], bytes], Reply]


class Server:
    """Answers on a free port of 127.0.0.1 until it is closed.

    Attributes:
        port: Where.
        connections: How many it accepted.
    """

    def __init__(self, handle: Handle) -> None:
        self.connections = 0
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.owner, self._http.handle = self, handle
        self.port: int = self._http.server_address[1]
        # Looked at every 20 ms, so that closing takes no longer.
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(0.02,), name="fake-openai", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop; whoever is connected is disconnected."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._http.disconnect()


class _Http(ThreadingHTTPServer):
    owner: Server
    handle: Handle
    daemon_threads = True
    # A connection that is kept alive would be waited for.
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *args: Any) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self.owner.connections += 1
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def disconnect(self) -> None:
        with self._lock:
            left = list(self._open)
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that gave up waiting is no error of the server's.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave at once: otherwise each answer waits 40 ms for an acknowledgement.
    disable_nagle_algorithm = True
    server: _Http

    def do_GET(self) -> None:
        self._reply("GET")

    def do_POST(self) -> None:
        self._reply("POST")

    def _reply(self, method: str) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = {name.lower(): value for name, value in self.headers.items()}
        status, headers, body = self.server.handle(method, self.path, given, raw)
        content = json.dumps(body).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """A test's output is the test's."""
