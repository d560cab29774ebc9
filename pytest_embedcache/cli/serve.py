"""`embedcache serve`: the models of this machine over HTTP."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pytest_embedcache.cli.options import add_directory, rounds

__all__ = ["add_command"]

_PORT = 8000


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    serve = commands.add_parser("serve", help="answer over HTTP, as OpenAI's API does, and more")
    serve.add_argument("--host", default="127.0.0.1", help="another one needs a token (127.0.0.1)")
    serve.add_argument("--port", type=int, default=_PORT, help=f"0 is any that is free ({_PORT})")
    serve.add_argument("--uds", metavar="PATH", help="a Unix socket instead, for its owner alone")
    serve.add_argument(
        "--model", default=os.environ.get("EMBEDCACHE_MODEL"), help="for requests that name none"
    )
    serve.add_argument(
        "--models-file", metavar="TOML", help="more models (default: EMBEDCACHE_MODELS_FILE)"
    )
    serve.add_argument(
        "--token-file", metavar="PATH", help="the token to ask for (default: EMBEDCACHE_TOKEN)"
    )
    serve.add_argument("--no-cache", action="store_true", help="keep no vectors")
    _add_limits(serve)
    add_directory(serve)
    serve.set_defaults(run=_serve)


def _add_limits(serve: argparse.ArgumentParser) -> None:
    serve.add_argument(
        "--max-body", type=rounds, metavar="BYTES", help="of a request (16 MiB); beyond: 413"
    )
    serve.add_argument(
        "--max-texts", type=rounds, metavar="N", help="in one request (2048); beyond: 422"
    )
    serve.add_argument(
        "--max-waiting", type=rounds, metavar="N", help="texts for a model (16384); beyond: 429"
    )
    serve.add_argument(
        "--timeout", type=_seconds, metavar="SECONDS", help="of a request (60); beyond: 504"
    )
    serve.add_argument(
        "--drain", type=_seconds, metavar="SECONDS", help="that a shutdown waits at most (60)"
    )


def _seconds(text: str) -> float:
    """A time above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _serve(options: argparse.Namespace) -> int:
    if options.dir is not None:
        # Of the process that this command is: stores, locks and prepared models all ask for it.
        os.environ["EMBEDCACHE_DIR"] = options.dir
    _need_extra()
    from pytest_embedcache.service.embedder import get_embedder_service
    from pytest_embedcache.service.http.app import create_app
    from pytest_embedcache.service.http.limits import Limits
    from pytest_embedcache.service.http.server import check_token, run

    given = {
        "body_bytes": options.max_body,
        "texts": options.max_texts,
        "waiting": options.max_waiting,
        "seconds": options.timeout,
        "drain_seconds": options.drain,
    }
    limits = Limits(**{name: value for name, value in given.items() if value is not None})
    token = _token(options)
    check_token(None if options.uds else options.host, token)
    with _listening(options) as (opened, where):
        service = get_embedder_service(
            default_model=options.model,
            models_file=options.models_file,
            enable_caching=not options.no_cache,
            max_waiting=limits.waiting,
        )
        seconds = limits.drain_seconds
        try:
            seconds = run(
                create_app(service, limits=limits, token=token),
                opened,
                limits=limits,
                started=lambda: print(f"embedcache: serving {where}", flush=True),
            )
        finally:
            left = service.close(seconds)
    if not any(left):
        print("embedcache: stopped; what was accepted is finished", file=sys.stderr)
        return 0
    print(
        f"embedcache: stopped; not finished in time (--drain {limits.drain_seconds:g}), and given "
        f"up: calls: {left.calls}, batches under way: {left.batches}",
        file=sys.stderr,
        flush=True,
    )
    # Past their threads, for which the interpreter would wait.
    os._exit(1)


def _need_extra() -> None:
    from pytest_embedcache.errors import MissingExtraError
    from pytest_embedcache.installed import is_installed

    for package in ("fastapi", "uvicorn", "orjson", "prometheus_client"):
        if not is_installed(package):
            raise MissingExtraError("embedcache serve", package, "serve")


def _token(options: argparse.Namespace) -> str | None:
    if options.token_file is None:
        return os.environ.get("EMBEDCACHE_TOKEN", "").strip() or None
    # What is no text is no token, and is told as one that cannot be sent.
    with open(options.token_file, encoding="utf-8", errors="replace") as file:
        return file.read().strip()


@contextmanager
def _listening(options: argparse.Namespace) -> Iterator[tuple[socket.socket, str]]:
    """A listening socket, and where it is, for people."""
    from pytest_embedcache.service.http.server import listen, listen_at

    if options.uds:
        with listen_at(options.uds) as opened:
            yield opened, f"at the socket {options.uds}"
        return
    opened = listen(options.host, options.port)
    with opened:
        host, port = opened.getsockname()[:2]
        yield opened, f"http://{f'[{host}]' if ':' in host else host}:{port}/"
