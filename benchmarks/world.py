"""A world for the benchmarks' child processes: the real model, an empty cache, nobody's plugins."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from real_model import MODEL, real_model

__all__ = ["MODEL", "World", "the_world"]

#: The plugins that a suite runs with.
_PLUGINS = ("embedcache", "xdist", "xdist.looponfail")


class World:
    """Runs children; `scratch` is an empty directory, `cache` the cache directory of ours."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.cache = scratch / "cache"
        self.environment = {**os.environ, "EMBEDCACHE_DIR": str(self.cache)}
        # A plain run would ask the Hub at every load; nobody is to wait for a network here.
        self.environment |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        # Installed packages have their bytecode.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)

    def python(self, *arguments: str, **changes: str) -> tuple[float, str]:
        """Seconds from the start of a Python with these arguments to its end, and what it prints.

        Ends the benchmark if it fails.
        """
        command = [sys.executable, *arguments]
        start = time.perf_counter()
        ran = subprocess.run(
            command,
            env=self.environment | changes,
            cwd=self.scratch,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - start
        if ran.returncode:
            sys.exit(f"{' '.join(arguments)} failed:\n{ran.stdout[-3000:]}\n{ran.stderr[-3000:]}")
        return seconds, ran.stdout

    def pytest(self, *arguments: str, **changes: str) -> tuple[float, str]:
        """The same for pytest, with no plugins but xdist and ours."""
        return self.python("-m", "pytest", "-q", *_without_others(), *arguments, **changes)


@contextmanager
def the_world(**changes: str) -> Iterator[World]:
    """A world in which all-MiniLM-L6-v2 is found by its name; gone afterwards."""
    with real_model(), tempfile.TemporaryDirectory(prefix="embedcache-benchmark-") as folder:
        world = World(Path(folder))
        world.environment |= changes
        yield world


def _without_others() -> Iterator[str]:
    for name in sorted({entry.name for entry in metadata.entry_points(group="pytest11")}):
        if name not in _PLUGINS:
            yield from ("-p", f"no:{name}")
    yield from ("-p", "no:cacheprovider")


def shown(environment: Mapping[str, str]) -> str:
    """As it is typed."""
    return " ".join(f"{name}={value}" for name, value in environment.items())
