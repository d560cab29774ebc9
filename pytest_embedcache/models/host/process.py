"""The life of a host: it listens at its address, and ends when it is of no use any more."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from pytest_embedcache.files import write_atomically
from pytest_embedcache.models.host.address import Address
from pytest_embedcache.models.host.holding import Holding
from pytest_embedcache.models.host.lifeline import is_over
from pytest_embedcache.models.host.serving import BEAT, Server
from pytest_embedcache.models.host.surroundings import Surroundings
from pytest_embedcache.models.registry import ModelRegistry

__all__ = ["SIGN", "Job", "Life", "main"]

#: Before each line that a host says: whatever is imported before it may print something, too.
SIGN = "embedcache-host: "

#: Seconds between two looks at whether it is of use.
_TICK = 0.2
#: Seconds without a worker, where nothing else tells that a run is over.
ALONE = 3.0
#: The same where a watch on the owner says that it lives, which may be a zombie.
LONG_ALONE = 60.0
#: Connections that wait to be accepted.
_BACKLOG = 128


@dataclass(frozen=True)
class Job:
    """What a host is told by whoever starts it.

    Attributes:
        path: Of its address.
        cache_dir: Of prepared models.
        owner: The process with which it ends; None is a host that is kept.
        idle: Seconds without a request after which a kept one ends; -1 never.
        model_timeout: Seconds without use after which a model is unloaded; -1 never.
        threads: The most that a model may use; None leaves it to the libraries.
    """

    path: str
    cache_dir: str
    owner: int | None = None
    idle: float = -1.0
    model_timeout: float = -1.0
    threads: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """In built-in types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        return cls(**told)

    def after_import(self, fresh: bool) -> None:
        """Before a model is built: what the libraries left behind stays; as many threads."""
        if fresh:
            gc.freeze()
        if self.threads is None:
            return
        torch = sys.modules.get("torch")
        if torch is not None and self.threads < torch.get_num_threads():
            torch.set_num_threads(self.threads)
        if "onnxruntime" in sys.modules:
            from pytest_embedcache.models import threads

            threads.limit(self.threads)


class Life:
    """One host, from its first to its last moment.

    Args:
        address: Where it listens; somebody who is there already is replaced.
        registry: Its models.
        owner, idle: As in `Job`.
    """

    def __init__(
        self,
        address: Address,
        registry: ModelRegistry,
        *,
        owner: int | None = None,
        idle: float = -1.0,
    ) -> None:
        self._address = address
        self._idle = idle
        self._owner = owner
        self._over = None if owner is None else is_over(owner)
        self._ending = threading.Event()
        secret = os.urandom(32)
        environment = Surroundings.now().environment
        self.server = Server(Holding(registry), secret, environment, self._ending.set)
        write_atomically(address.secret, secret)
        self._listener = _listen(address)
        self._mine = _identity(address)
        self._with_peers = time.monotonic()

    def run(self) -> None:
        """Serve until it is over; what it left in the directory is gone then."""
        beat = time.monotonic()
        try:
            while not self._ends():
                with contextlib.suppress(TimeoutError):
                    sock, _ = self._listener.accept()
                    self.server.serve(sock)
                if time.monotonic() - beat >= BEAT:
                    beat = time.monotonic()
                    self.server.beat()
        finally:
            self.close()

    def end(self) -> None:
        """Let `run` come to its end."""
        self._ending.set()

    def close(self) -> None:
        """Listen no more; another host that has the address by now keeps it."""
        # First the names: whoever is refused at them may have started another host by the second.
        if _identity(self._address) == self._mine:
            for path in (self._address.path, self._address.secret):
                path.unlink(missing_ok=True)
        self._listener.close()

    def _ends(self) -> bool:
        if self._ending.is_set() or (self._over is not None and self._over()):
            return True
        now = time.monotonic()
        if self.server.peers:
            self._with_peers = now
        alone = now - self._with_peers
        if self._owner is not None:
            # Where the owner's end cannot be watched for sure, a run that is over is one without
            # workers.
            return alone > (ALONE if self._over is None else LONG_ALONE)
        if alone > ALONE and _identity(self._address) != self._mine:
            return True  # nobody can find it any more
        return 0 <= self._idle < now - max(self.server.active, self._with_peers)


def _listen(address: Address) -> socket.socket:
    """A socket that is found only when it is ready, and by this user alone."""
    temporary = address.path.with_name(f".{os.getpid()}.{address.path.suffix[1:]}")
    if not address.unix:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        listener.settimeout(_TICK)
        port = json.dumps({"port": listener.getsockname()[1]})
        write_atomically(address.path, port.encode())
        return listener
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        temporary.unlink(missing_ok=True)
        listener.bind(str(temporary))
        temporary.chmod(0o600)
        listener.listen(_BACKLOG)
        listener.settimeout(_TICK)
        os.replace(temporary, address.path)
    except BaseException:
        listener.close()
        temporary.unlink(missing_ok=True)
        raise
    return listener


def _identity(address: Address) -> tuple[int, int] | None:
    try:
        found = address.path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def main(told: Mapping[str, Any]) -> None:
    """A host's whole process; says its id, and then `ready` or why there is none."""
    job = Job.from_dict(told)
    if hasattr(os, "fork") and os.fork():
        os._exit(0)  # whoever started it has no child to wait for
    _say(str(os.getpid()))
    with contextlib.suppress(ValueError, AttributeError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    registry = ModelRegistry(
        cache_dir=job.cache_dir, after_import=job.after_import, idle_timeout=job.model_timeout
    )
    try:
        address = Address(Path(job.path))
        life = Life(address, registry, owner=job.owner, idle=job.idle)
    except OSError as error:
        _say(f"{type(error).__name__}: {error}")
        os._exit(1)
    _say("ready")
    _close_output()
    try:
        life.run()
    finally:
        # Past the threads that are still computing for somebody who is gone.
        os._exit(0)


def _say(word: str) -> None:
    print(f"\n{SIGN}{word}", flush=True)


def _close_output() -> None:
    """Nobody reads it any more, and what libraries print must not end the host."""
    sys.stdout.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
