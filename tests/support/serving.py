"""A service of models whose vectors are a pure function of their texts, for a test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_embedcache.service.embedder import EmbedderService
from support.encoders import World, world
from support.toys import DEADLOCK

__all__ = ["Serving", "eventually", "serving"]

_TABLE = """
[models.m]
backend = "pure"
dimension = 8
batch_size = 4
"""


class Serving:
    """A service with the model `m`, and those of `table`; `w` is the world that it is in."""

    def __init__(self, directory: Path, w: World, table: str = "", **options: Any) -> None:
        file = directory / "models.toml"
        file.write_text(_TABLE + table)
        given = {"models_file": file, "registry": w.registry, "cache": w.cache, **options}
        self.w = w
        self.service = EmbedderService("m", **given)
        self.sync = self.service.sync

    def batches(self) -> list[list[str]]:
        """The texts of every call that reached the model, in order."""
        return self.w.batches()


@contextmanager
def serving(directory: Path, w: World | None = None, **options: Any) -> Iterator[Serving]:
    """Inside, there is a service; closed at the end."""
    found = Serving(directory, w or world(), **options)
    try:
        yield found
    finally:
        found.service.close()


def eventually(holds: Callable[[], bool]) -> None:
    """Wait for another thread to come as far as that; too long is a failure."""
    deadline = time.monotonic() + DEADLOCK
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.001)
