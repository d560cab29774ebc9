"""From a host or a path to a server that answers there, until it is told to stop."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import math
import os
import signal
import socket
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.service.http.limits import Limits

__all__ = ["check_token", "listen", "listen_at", "run"]

_BACKLOG = 2048
#: Less is guessed.
_SHORTEST_TOKEN = 16
#: So long does a connection that nobody uses stay open; less than a load balancer's minute would
#: have it send a request into a connection that is just being closed.
_KEEP_ALIVE_SECONDS = 75


def check_token(host: str | None, token: str | None) -> None:
    """Raise `SettingsError` where others could ask without a token, or guess it.

    `host` is None for a socket in the file system.
    """
    if token is None:
        if host is not None and not _is_loopback(host):
            raise SettingsError(
                "host",
                host,
                "--host",
                "others reach it there; set a token of their own: EMBEDCACHE_TOKEN, or "
                "--token-file",
            )
    elif len(token) < _SHORTEST_TOKEN or not (token.isascii() and token.isprintable()):
        raise SettingsError(
            "token",
            "…",
            "EMBEDCACHE_TOKEN or --token-file",
            f"give {_SHORTEST_TOKEN} or more ASCII characters, such as `openssl rand -hex 24` does",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0 is any that is free.

    Raises `OSError` with the place in its message, where that cannot be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, *_, address = found[0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            if os.name == "posix":
                opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            opened.listen(_BACKLOG)
        except BaseException:
            opened.close()
            raise
    except OSError as error:
        why = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {why}") from error
    return opened


@contextmanager
def listen_at(path: str | os.PathLike[str]) -> Iterator[socket.socket]:
    """A socket in the file system, for its owner alone; removed at the end.

    What a killed server left there is replaced. Raises `OSError` where a server answers, or where
    something else than a socket is, and `SettingsError` where the system has no such sockets.
    """
    place = Path(path)
    if not hasattr(socket, "AF_UNIX"):
        raise SettingsError("uds", str(place), "--uds", "this system has none; use --port")
    with _bound(place) as opened:
        made = place.stat().st_ino
        try:
            yield opened
        finally:
            with contextlib.suppress(OSError):
                if place.stat().st_ino == made:  # and not that of a server that came after us
                    place.unlink()


def _bound(place: Path) -> socket.socket:
    _remove_what_is_dead(place)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Between bind and chmod it would be everybody's.
        mask = os.umask(0o177)
        try:
            opened.bind(str(place))
        finally:
            os.umask(mask)
        opened.listen(_BACKLOG)
    except OSError as error:
        opened.close()
        why = error.strerror or str(error)
        raise OSError(error.errno, f"cannot listen at {place}: {why}") from error
    return opened


def _remove_what_is_dead(place: Path) -> None:
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, "there is something else than a socket", str(place))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(place))
        except ConnectionRefusedError:
            place.unlink()
            return
    raise OSError(errno.EADDRINUSE, "a server answers there", str(place))


def run(
    app: Any,
    opened: socket.socket,
    *,
    limits: Limits,
    started: Callable[[], None] = lambda: None,
) -> float:
    """Answer on a listening socket until SIGTERM or SIGINT; then finish what was accepted.

    A second SIGINT ends it at once. Returns how many seconds of the drain are left. To be called in
    the main thread.
    """
    import uvicorn

    class Server(uvicorn.Server):
        stopped = 0.0

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            self.stopped = time.monotonic()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        log_config=None,  # the user's logging is the user's
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=math.ceil(limits.drain_seconds),
    )
    # uvicorn raises the signal again when it is done. It has been obeyed then: what remains is to
    # close the stores, which a signal's own end would not.
    before = {number: signal.signal(number, _ignored) for number in (signal.SIGTERM, signal.SIGINT)}
    server = Server(config)
    try:
        server.run(sockets=[opened])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if server.force_exit:
        return 0.0
    return max(0.0, server.stopped + limits.drain_seconds - time.monotonic())


def _ignored(*_: object) -> None:
    pass
