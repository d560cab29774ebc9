"""TLS in front of a Unix socket, with a certificate that is made for it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

__all__ = ["TlsFront"]


class TlsFront:
    """A port of this machine that speaks TLS, and hands what is said on to the Unix socket `inner`.

    Attributes:
        port: Where it listens.
        certificate: The file that a client has to trust.
    """

    def __init__(self, inner: Path, directory: Path) -> None:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("needs the command openssl")
        key, self.certificate = directory / "key.pem", directory / "certificate.pem"
        subprocess.run(
            [
                *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
                *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._inner = inner
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        """One connection after the other: a store has one, unless threads share it."""
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            with (
                plain,
                contextlib.suppress(OSError),  # of a client that does not trust us
                self._context.wrap_socket(plain, server_side=True) as outside,
                socket.socket(socket.AF_UNIX) as inside,
            ):
                inside.connect(str(self._inner))
                answers = threading.Thread(target=_pump, args=(inside, outside))
                answers.start()
                _pump(outside, inside)
                answers.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Hand on what `source` says, to its end."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
