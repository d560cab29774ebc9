"""The command `embedcache`: what it prints where, how it ends, and what it does not import."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from support.models import COMMIT, add_to_hub_cache

from pytest_embedcache import ModelSpec
from pytest_embedcache.cli import main

NAME = "sentence-transformers/tiny"


@pytest.fixture
def in_hub_cache(tiny: Path, hub_cache: Path) -> Path:
    """The snapshot of a tiny model in the test's Hub cache."""
    return add_to_hub_cache(hub_cache, NAME, tiny)


def embedcache(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    """`python -m pytest_embedcache` in a process of its own."""
    command = [sys.executable, "-W", "error", "-m", "pytest_embedcache", *arguments]
    return subprocess.run(command, text=True, check=False, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


# ------------------------------------------------------------------------------ explain


def test_explain_shows_what_a_fingerprint_is_made_of(
    in_hub_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its short name: which model that is, where, and each part with its hash."""
    assert main(["explain", "tiny"]) == 0
    out, err = capsys.readouterr()
    fingerprint = ModelSpec("tiny").fingerprint()
    facts = dict(re.findall(r"^(\w+)  +(\S.*)$", out, re.M))
    assert facts["model"] == NAME
    assert facts["commit"] == COMMIT
    assert facts["path"] == str(in_hub_cache)
    assert facts["fingerprint"] == fingerprint
    parts = re.findall(r"^  (\S.*?)  +([0-9a-f]{16}|\S+)$", out, re.M)
    assert len(parts) > 3
    assert err == ""


def test_explain_prints_json_for_programs(
    in_hub_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same, whole."""
    assert main(["explain", "tiny", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["model"], shown["commit"], shown["path"]) == (NAME, COMMIT, str(in_hub_cache))
    assert shown["fingerprint"] == ModelSpec("tiny").fingerprint()
    assert all(isinstance(label, str) and content for label, content in shown["parts"])


def test_explain_shows_what_changed(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another dtype is another fingerprint, and one part of it tells."""

    def parts(*more: str) -> dict[str, str]:
        assert main(["explain", str(tiny), "--json", *more]) == 0
        shown = json.loads(capsys.readouterr().out)
        return {"fingerprint": shown["fingerprint"], **dict(shown["parts"])}

    plain, half = parts(), parts("--dtype", "float16")
    differing = {label for label in plain if plain[label] != half.get(label)}
    assert "fingerprint" in differing
    assert len(differing) == 2


def test_explain_knows_a_model_whose_files_are_gone(
    in_hub_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the cache directory, where it was noted when they were there."""
    assert main(["explain", "tiny", "--json"]) == 0
    before = json.loads(capsys.readouterr().out)
    shutil.rmtree(in_hub_cache)
    assert main(["explain", "tiny", "--json"]) == 0
    after = json.loads(capsys.readouterr().out)
    assert after["fingerprint"] == before["fingerprint"]
    assert after["path"] is None
    assert after["source"] != before["source"]
    assert main(["explain", "tiny"]) == 0
    assert "not on this machine" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "never-heard-of"], "never-heard-of"),
        (["explain", "./nowhere"], "./nowhere"),
        (["explain", " "], "all-MiniLM-L6-v2"),
        (["explain", "tiny", "--dtype", "float7"], "float32"),
    ],
)
def test_an_error_is_one_line_on_stderr(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named by what it is about; the status is 1, and nothing is on stdout."""
    assert main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("embedcache: ")
    assert err.count("\n") == 1
    assert said in err


# ------------------------------------------------------------------------------ the rest


def test_where_prints_the_cache_directory(
    cache_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the environment, or the one that is given, before or after the command; with its
    version, and without making it."""
    assert main(["where"]) == 0
    assert capsys.readouterr().out == f"{cache_dir / 'v1'}\n"
    for arguments in (
        ["--dir", str(tmp_path / "c"), "where"],
        ["where", "--dir", str(tmp_path / "c")],
    ):
        assert main(arguments) == 0
        assert capsys.readouterr().out == f"{tmp_path / 'c' / 'v1'}\n"
    assert not cache_dir.exists()
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    ("arguments", "status"), [([], 2), (["nonsense"], 2), (["explain"], 2), (["--help"], 0)]
)
def test_bad_usage_is_2_and_help_is_0(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """As of any command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    assert "usage: embedcache" in "".join(capsys.readouterr())


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    """Under the command's own name, and with its status."""
    version = embedcache("--version", capture_output=True, cwd=tmp_path)
    assert version.returncode == 0
    assert version.stdout == f"pytest-embedcache {metadata.version('pytest-embedcache')}\n"
    failed = embedcache("explain", "./nowhere", capture_output=True, cwd=tmp_path)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("embedcache: ")
    usage = embedcache("nonsense", capture_output=True, cwd=tmp_path)
    assert "usage: embedcache " in usage.stderr


def test_a_reader_that_goes_away_is_no_error(tiny: Path) -> None:
    """`embedcache explain X | head -1`."""
    read, write = os.pipe()
    os.close(read)
    ended = embedcache("explain", str(tiny), stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_explaining_imports_no_model(tiny: Path) -> None:
    """It reads files: neither torch nor sentence-transformers nor the Hub's client is needed."""
    code = (
        "import sys; from pytest_embedcache.cli import main; main(['explain', sys.argv[1]])\n"
        "heavy = {'torch', 'sentence_transformers', 'transformers', 'huggingface_hub', 'pytest'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tiny)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
