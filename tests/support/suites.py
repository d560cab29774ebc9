"""A suite under test, run by a pytest of its own."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
#: What pytest calls it when nothing but what is named is loaded.
ALONE = "PYTEST_DISABLE_PLUGIN_AUTOLOAD"
#: What only pytest-xdist knows.
_XDIST = ("-n", "--dist", "--tx", "--max-worker-restart")
#: For `Suite.run`: every plugin that is installed.
EVERYTHING = {ALONE: ""}

needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="sentence-transformers is not installed",
)


class Suite:
    """A suite in a directory of its own, run by a pytest of its own.

    Attributes:
        path: Its directory, which is also where runs start.
        log: What the toys note.
        plugins: Those that a run has, beside xdist where it is asked for. What else is installed is
            not loaded: to import it takes ten times as long as these suites. A run with
            `**EVERYTHING` loads all, and ours as everybody does who has it installed; that one is
            in random order.
    """

    plugins: tuple[str, ...] = ("embedcache",)

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self._pytester = pytester
        self._monkeypatch = monkeypatch
        self.path = pytester.path
        self.log = self.path / "toys.log"
        monkeypatch.setenv("TOY_LOG", str(self.log))
        monkeypatch.setenv(ALONE, "1")

    def importable(self) -> None:
        """Let its modules be imported before pytest makes them so: by `-p`, and on workers."""
        parts = [str(self.path), os.environ.get("PYTHONPATH", "")]
        self._monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, parts)))

    def write(self, **files: str) -> None:
        """Write `name=text` as name.py; `conftest` gets the toys before its own text."""
        for name, text in files.items():
            text = dedent(text)
            if name == "conftest":
                text = (
                    f"import sys; sys.path.insert(0, {str(TESTS)!r})\nimport support.inner\n{text}"
                )
            (self.path / f"{name}.py").write_text(text, encoding="utf-8")

    def run(self, *arguments: str | os.PathLike[str], **environment: str) -> pytest.RunResult:
        """Run it, with warnings as errors."""
        with self._monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            named = [part for name in self._plugins(arguments) for part in ("-p", name)]
            return self._pytester.runpytest_subprocess(
                "-W", "error", *named, *arguments, timeout=600
            )

    def _plugins(self, arguments: tuple[str | os.PathLike[str], ...]) -> list[str]:
        if not os.environ.get(ALONE):
            # It has its own mind about runs with workers.
            return ["no:benchmark"]
        texts = [str(argument) for argument in arguments]
        named = list(self.plugins)
        if any(text.startswith(_XDIST) for text in texts):
            named.append("xdist")
        return [name for name in named if f"no:{name}" not in texts]

    def program(self, name: str) -> pytest.RunResult:
        """Run one of its files as a program, for which every plugin is loaded."""
        with self._monkeypatch.context() as patch:
            patch.delenv(ALONE)
            return self._pytester.run(sys.executable, "-W", "error", f"{name}.py", timeout=600)

    def counts(self, *arguments: str, **environment: str) -> dict[str, Any]:
        """Run it, which succeeds, and return what it counted."""
        path = self.path / "counts.json"
        result = self.run(*arguments, f"--embedcache-json={path}", **environment)
        assert result.ret == 0, result.stdout.str()
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return found

    def noted(self) -> list[list[str]]:
        """The lines of the toys' log since the last call, as words."""
        if not self.log.exists():
            return []
        lines = self.log.read_text(encoding="utf-8").splitlines()
        self.log.unlink()
        return [line.split() for line in lines]


def outcome(result: pytest.RunResult) -> dict[str, int]:
    """What the last line says, less the warnings that others give."""
    found = result.parseoutcomes()
    found.pop("warnings", None)
    return found


def complaints(result: pytest.RunResult) -> str:
    """All output, which shows no trouble inside pytest or this package."""
    text = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in text, text
    assert f"{os.sep}pytest_embedcache{os.sep}" not in text, text
    return text
