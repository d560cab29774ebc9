"""A Hub on this machine: enough of its HTTP for huggingface_hub to list and fetch a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


class MockHub:
    """Serves directories as repositories, and records every request.

    Attributes:
        repositories: name -> (commit, directory).
        requests: "METHOD /path" of every request, in order.
        status: If set, every answer has this status and no content.
        silent: If set, a request gets no answer until the hub is closed.
        stalls_at: A file that is not sent until the hub is closed.
        stalled: Set when somebody asked for that file.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, tuple[str, Path]] = {}
        self.requests: list[str] = []
        self.status: int | None = None
        self.silent = False
        self.stalls_at: str | None = None
        self.stalled = threading.Event()
        self._closing = threading.Event()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub._answer(self)

            do_HEAD = do_POST = do_GET  # noqa: N815 - http.server's names

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def downloads(self) -> list[str]:
        """The paths of the files that were sent."""
        return [r for r in self.requests if r.startswith("GET ") and "/resolve/" in r]

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(request.path).path)
        self.requests.append(f"{request.command} {path}")
        if self.silent:
            self._closing.wait()
            return
        if self.status is not None:
            self._send(request, self.status, b"")
            return
        if request.command == "GET" and self.stalls_at and path.endswith(f"/{self.stalls_at}"):
            self.stalled.set()
            self._closing.wait()
            return
        if path.startswith("/api/models/"):
            self._api(request, path.removeprefix("/api/models/"))
        else:
            self._file(request, path.lstrip("/"))

    def _api(self, request: BaseHTTPRequestHandler, path: str) -> None:
        name, _, rest = path.partition("/revision/")
        tree = "/tree/" in path
        if tree:
            name, _, rest = path.partition("/tree/")
        found = self.repositories.get(name)
        revision = rest.split("/")[0]
        if found is None:
            self._send(request, 404, b"", {"X-Error-Code": "RepoNotFound"})
            return
        commit, root = found
        if revision and revision not in ("main", commit):
            self._send(request, 404, b"", {"X-Error-Code": "RevisionNotFound"})
            return
        files = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
        if tree:
            answer: object = [_entry(root, file) for file in files]
        else:
            siblings = [{"rfilename": file} for file in files]
            answer = {"id": name, "modelId": name, "sha": commit, "siblings": siblings}
            answer |= {"tags": [], "private": False, "downloads": 0, "likes": 0}
        self._send(request, 200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _file(self, request: BaseHTTPRequestHandler, path: str) -> None:
        name, _, rest = path.partition("/resolve/")
        found = self.repositories.get(name)
        file = found[1] / rest.partition("/")[2] if found else None
        if found is None or file is None or not file.is_file():
            self._send(request, 404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        content = file.read_bytes()
        headers = {"X-Repo-Commit": found[0], "ETag": f'"{_etag(file)}"', "Accept-Ranges": "bytes"}
        self._send(request, 200, content, headers)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(content)


def _etag(file: Path) -> str:
    content = file.read_bytes()
    if file.suffix == ".safetensors":  # large files: SHA-256; the others: git's SHA-1
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(root: Path, name: str) -> dict[str, object]:
    file = root / name
    entry: dict[str, object] = {"type": "file", "path": name, "size": file.stat().st_size}
    entry["oid"] = _etag(file)
    if file.suffix == ".safetensors":
        entry["lfs"] = {"oid": _etag(file), "size": file.stat().st_size, "pointerSize": 134}
    return entry
