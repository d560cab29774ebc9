"""The command `embedcache`: how it is called, and how it ends."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.children import ROOT
from support.command import Command

from pytest_embedcache import cli
from pytest_embedcache.cli import stats

#: Every command with the least that it takes.
COMMANDS = {
    "explain": ["MODEL"],
    "where": [],
    "stats": [],
    "models": [],
    "warm": ["texts.txt"],
    "verify": [],
    "prune": [],
    "clear": [],
    "index": ["stats"],
    "recordings": ["show"],
    "gate": ["now.json"],
    "profile": [],
    "host": ["status"],
    "serve": ["--port", "0"],
    "doctor": [],
}


def in_a_shell(script: str) -> subprocess.CompletedProcess[str]:
    """A shell's `embedcache …`, which is the command of this Python."""
    function = f'embedcache() {{ "{sys.executable}" -W error -m pytest_embedcache "$@"; }}'
    return subprocess.run(
        ["sh", "-c", f"{function}\n{script}"],
        # With it every print finds out, and not only the last flush.
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ------------------------------------------------------------------------------ being called


def test_the_commands_are_those_of_the_readme_and_of_their_page(command: Command) -> None:
    """Each stands in the help, in README.md and, with all its options, in docs/command-line.md."""
    listed = set(re.findall(r"^    (\w+)(?: +\w|$)", command("--help").out, re.MULTILINE))
    assert listed == set(COMMANDS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name in COMMANDS:
        assert re.search(rf"embedcache (\w+ \| )?{name}\b", readme), name
        assert f"## `embedcache {name}" in page, name
        for option in re.findall(r"--[a-z-]+", command(name, "--help").out):
            assert f"`{option}" in page or option == "--help", (name, option)


def test_the_version_is_the_package_s(command: Command) -> None:
    """It is printed, and nothing else is done."""
    ran = command("--version")
    assert (ran.status, ran.out) == (0, f"pytest-embedcache {version('pytest-embedcache')}\n")


def test_the_directory_is_given_before_or_after_the_command(
    command: Command, tmp_path: Path, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it is that of the environment, or the user's."""
    chosen = tmp_path / "chosen"
    assert command("--dir", chosen, "where").out == f"{chosen / 'v1'}\n"
    assert command("where", "--dir", chosen).out == f"{chosen / 'v1'}\n"
    assert command("--dir", cache_dir, "where", "--dir", chosen).out == f"{chosen / 'v1'}\n"
    assert command("where").out == f"{cache_dir / 'v1'}\n"
    monkeypatch.delenv("EMBEDCACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert str(tmp_path) in command("where").out
    assert not chosen.exists()
    assert not cache_dir.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["explain"],
        ["warm"],
        ["warm", "x", "--role", "judge"],
        ["prune", "--older-than", "-1"],
        ["prune", "--older-than", "nan"],
        ["prune", "--older-than", "inf"],
        ["prune", "--max-size", "-5"],
        ["prune", "--max-size", "1.5"],
        ["verify", "--sample", "-1"],
        ["verify", "--sample", "some"],
        ["explain", "x", "--truncate-dim", "wide"],
        ["gate"],
        ["gate", "x", "--max-slowdown", "0.9"],
        ["gate", "x", "--max-slowdown", "nan"],
        ["index"],
        ["index", "search"],
        ["index", "search", "x", "-k", "0"],
        ["index", "search", "x", "--hybrid", "--keywords"],
        ["index", "search", "x", "--strategy", "swift"],
        ["profile", "--rounds", "0"],
        ["profile", "--strategy", "swift"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_status_2_and_says_what_is_good(
    command: Command, cache_dir: Path, arguments: list[str]
) -> None:
    """Nothing is done then."""
    ran = command(*arguments)
    assert ran.status == 2
    assert ran.err.startswith("usage: embedcache")
    assert ran.out == ""
    assert not cache_dir.exists()


def test_every_command_takes_the_cache_directory_at_its_end() -> None:
    """`--dir` before the command or after it, also after a command of a command."""

    def leaves(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
        inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
        if not any(action.required for action in inner):
            yield parser
        for action in inner:
            for choice in action.choices.values():
                yield from leaves(choice)

    found = list(leaves(cli._parser(None)))
    assert len(found) > len(COMMANDS)
    without = [p.prog for p in found if not any("--dir" in a.option_strings for a in p._actions)]
    assert without == []


@pytest.mark.parametrize("size", ["-5", "4GiB"])
def test_a_size_is_in_bytes_and_the_error_says_so(command: Command, size: str) -> None:
    """Of `prune`."""
    assert f"'{size}' is no number of bytes" in command("prune", "--max-size", size).err


# ------------------------------------------------------------------------------ nothing stored


@pytest.mark.parametrize("name", ["where", "stats", "verify", "prune", "clear"])
def test_looking_at_nothing_makes_nothing(command: Command, cache_dir: Path, name: str) -> None:
    """A store that there is not is no error, and is not made by asking."""
    ran = command(name)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out
    assert not cache_dir.exists()


# ------------------------------------------------------------------------------ ends


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_a_reader_that_has_seen_enough_is_no_error(tiny: Path) -> None:
    """`| head -1`, and a reader that takes nothing at all: no traceback, and status 0."""
    ran = in_a_shell(
        f"(embedcache explain '{tiny}'; echo status $? >&2) | head -1\n"
        f"(embedcache explain '{tiny}' --json; echo status $? >&2) | true\n"
        "(embedcache stats --json; echo status $? >&2) | true\n"
    )
    assert ran.stdout == f"model        {tiny}\n"
    assert ran.stderr == "status 0\n" * 3


def test_an_interrupt_is_status_130(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As of any command in a shell; and it says what became of the work."""

    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    (tmp_path / "texts.txt").write_text("a cat\n")
    monkeypatch.setattr("support.light.LightModel.encode", interrupted)
    ran = command("warm", tmp_path / "texts.txt")
    assert (ran.status, ran.out) == (130, "")
    assert ran.err == "embedcache: interrupted; what is stored stays\n"


@pytest.mark.parametrize("name", ["stats", "verify", "prune", "clear"])
def test_a_system_s_error_is_one_line_and_status_1(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Such as a directory that may not be looked into."""

    def forbidden(self: Path, **options: object) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "exists", forbidden)
    ran = command(name)
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("embedcache: ")
    assert "Permission denied" in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    "variable", ["EMBEDCACHE_CACHE_TTL", "EMBEDCACHE_CACHE_MAX_SIZE", "EMBEDCACHE_REDIS_URL"]
)
@pytest.mark.parametrize("name", ["stats", "warm", "clear"])
def test_a_bad_setting_is_an_error_that_names_it(
    command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, variable: str
) -> None:
    """And says what can be used; a password is not quoted."""
    if "REDIS" in variable and find_spec("redis") is None:
        pytest.skip("needs the package redis")
    (tmp_path / "texts.txt").write_text("a cat\n")
    monkeypatch.setenv(variable, "http://:hunter2@host")
    ran = command(name, *([tmp_path / "texts.txt"] if name == "warm" else []))
    assert (ran.status, ran.out) == (1, "")
    assert variable.removeprefix("EMBEDCACHE_").lower() in ran.err
    assert ("hunter2" in ran.err) == ("REDIS" not in variable)
    assert command.computed().total() == 0


def test_sizes_are_for_people() -> None:
    """Three digits or four, and a unit."""
    sizes = {0: "0 B", 999: "999 B", 1000: "1.0 kB", 123_456: "123.5 kB", 5e9: "5.0 GB"}
    assert {count: stats.size(int(count)) for count in sizes} == sizes
    assert stats.size(None) == "unknown"
