"""The command `embedcache`, run in this process on light models."""

from __future__ import annotations

import io
import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pytest_embedcache.cli import main
from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.vectors.sqlite import SqliteStore
from support.light import LightBackend

__all__ = ["Command", "Ran"]


class Ran(NamedTuple):
    """One call: its exit status, and what it printed."""

    status: int
    out: str
    err: str


class Command:
    """`command("stats", "--json")`, in the test's own world.

    Attributes:
        log: What the light models note.
    """

    def __init__(
        self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, log: Path
    ) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.log = log
        monkeypatch.setitem(BACKENDS, "torch", LightBackend())
        monkeypatch.setenv("LIGHT_LOG", str(log))

    def __call__(self, *arguments: str | os.PathLike[str], stdin: bytes = b"") -> Ran:
        """Run it; a use that it refuses is status 2, as in a shell."""
        self._capsys.readouterr()
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
            try:
                status = main([os.fspath(argument) for argument in arguments])
            except SystemExit as stopped:
                status = int(stopped.code or 0)
        captured = self._capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    def json(self, *arguments: str | os.PathLike[str]) -> dict[str, Any]:
        """What it prints with `--json`; it succeeds, and complains of nothing."""
        ran = self(*arguments, "--json")
        assert (ran.status, ran.err) == (0, "")
        found: dict[str, Any] = json.loads(ran.out)
        return found

    def computed(self) -> Counter[str]:
        """The texts that reached a model since the last call."""
        lines = self.log.read_text(encoding="utf-8").splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return Counter(line.removeprefix("text ") for line in lines if line.startswith("text "))

    def store(self) -> SqliteStore:
        """The test's own store."""
        return SqliteStore(os.environ["EMBEDCACHE_DIR"])
