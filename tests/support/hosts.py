"""Model hosts whose models need no torch: in a thread of this process, and as real processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.models.backends.remote import HostedHandle
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.host.address import Address, address_of, private_directory
from pytest_embedcache.models.host.lifeline import is_over
from pytest_embedcache.models.host.link import Link
from pytest_embedcache.models.host.process import Life
from pytest_embedcache.vectors.api import cached_model
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore
from support.children import ROOT
from support.light import LightBackend

#: `starting.COMMAND` of a host whose models are light.
LIGHT_HOST = (
    sys.executable,
    *("-P", "-W", "ignore", "-c"),
    "import json, sys; told = json.loads(sys.stdin.readline()); sys.path[:] = told.pop('path'); "
    f"sys.path.insert(0, {str(ROOT / 'tests')!r}); "
    "from support.light import install; install(); "
    "from pytest_embedcache.models.host.process import main; main(told['job'])",
)


@contextlib.contextmanager
def private_place() -> Iterator[str]:
    """A directory for sockets; pytest's own are too long for a socket's name."""
    folder = tempfile.mkdtemp(prefix="ec", dir="/tmp" if os.name == "posix" else None)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class LocalHost:
    """A host in a thread of this process."""

    def __init__(self, address: Address, **options: Any) -> None:
        private_directory(address.path.parent, make=True)
        self.address = address
        self.registry = ModelRegistry(backends={"torch": LightBackend()})
        self.life = Life(address, self.registry, **options)
        self._thread = threading.Thread(target=self.life.run, daemon=True)
        self._thread.start()

    @property
    def stats(self) -> dict[str, Any]:
        return self.life.server.stats()

    def end(self) -> None:
        """As when it is stopped; connections of this process's threads stay."""
        self.life.end()
        self.wait()

    def wait(self) -> None:
        self._thread.join(30)
        assert not self._thread.is_alive()

    def hang_up(self) -> None:
        """As when it is killed: it is gone, and so are all connections."""
        self.end()
        for peer in list(self.life.server._peers):
            with contextlib.suppress(OSError):
                peer.sock.shutdown(2)


class Worker:
    """What a worker has: a registry whose models may be a host's, and vectors in memory."""

    def __init__(self, *addresses: Address, start: Any = None, silence: float = 30.0) -> None:
        self.link = Link(lambda: addresses, start, worker="gw0", silence=silence)
        self.registry = ModelRegistry(backends={"torch": LightBackend()})
        self.registry.make_handle = self._handle
        self.cache = VectorCache(TieredStore([MemoryStore(max_bytes=2**20)]))

    def _handle(self, *asked: Any, **given: Any) -> ModelHandle:
        made = HostedHandle(*asked, **given)
        made.link = self.link
        return made

    def model(self, path: Path, **options: Any) -> CachedModel:
        return cached_model(self.registry, self.cache, ModelSpec(str(path), device="cpu"))

    @property
    def loads(self) -> int:
        """Of this process."""
        return self.registry.stats().loads


def ended(process: int) -> bool:
    """Waits until a process that is no child is gone; the test's own time limit ends it."""
    over = is_over(process)
    assert over is not None
    while not over():
        threading.Event().wait(0.02)
    return True


def run_address(name: str = "run", cache_dir: str = "/cache") -> Address:
    return address_of(cache_dir, name)
