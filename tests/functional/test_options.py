"""The settings as a user gives them: options, environment, ini; and what is said of bad ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.suites import Suite, complaints, outcome

SHOW = """
    import json, pathlib
    from pytest_embedcache.plugin.waking import RUN

    def test_it(request):
        settings = request.config.stash[RUN].settings
        pathlib.Path(__file__).with_name("seen.json").write_text(json.dumps(settings.as_dict()))
"""


def seen(suite: Suite, *arguments: str, **environment: str) -> dict[str, object]:
    """The settings that a test of the suite has."""

    result = suite.run(*arguments, **environment)
    assert outcome(result) == {"passed": 1}, complaints(result)
    path = suite.path / "seen.json"
    found: dict[str, object] = json.loads(path.read_text())
    path.unlink()
    return found


@pytest.mark.parametrize("arguments", [(), ("-n", "1")], ids=" ".join)
def test_the_nearer_source_wins(suite: Suite, arguments: tuple[str, ...]) -> None:
    """Command line before environment before ini before default; a worker has what its controller
    has, also where its environment or directory says something else."""
    (suite.path / "tox.ini").write_text(
        "[pytest]\nembedcache_model = ini\nembedcache_threads = 3\nembedcache_mode = live\n"
    )
    suite.write(test_it=SHOW)
    settings = seen(
        suite,
        "--embedcache-model=line",
        *arguments,
        EMBEDCACHE_MODEL="environment",
        EMBEDCACHE_THREADS="2",
    )
    assert (settings["model"], settings["threads"], settings["mode"]) == ("line", 2, "live")
    assert settings["device"] == "cpu"
    assert settings["given"] == {
        "model": "--embedcache-model",
        "mode": "ini embedcache_mode",
        "dir": "EMBEDCACHE_DIR",
        "threads": "EMBEDCACHE_THREADS",
    }


def test_a_relative_path_starts_where_it_is_written(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an ini file from its directory, on the command line from the current one."""
    monkeypatch.delenv("EMBEDCACHE_DIR")
    (suite.path / "pytest.ini").write_text("[pytest]\nembedcache_dir = cache\n")
    (suite.path / "below").mkdir()
    suite.write(**{"below/test_it": SHOW})
    monkeypatch.chdir(suite.path / "below")
    result = suite.run("--embedcache-json=out.json", "--rootdir", str(suite.path))
    assert outcome(result) == {"passed": 1}, complaints(result)

    settings = json.loads((suite.path / "below" / "seen.json").read_text())
    assert settings["dir"] == str(suite.path / "cache")
    assert settings["json"] == str(suite.path / "below" / "out.json")
    assert (suite.path / "below" / "out.json").is_file()


#: Option, ini key or environment variable with a bad value, and what has to be said.
BAD = {
    "--embedcache-threads=many": "use auto, off, or a number of threads from 1 up",
    "--embedcache-device=GPU 0": "'cuda'",
    "--embedcache-mode=fast": "use auto, live, record, replay, rerecord, fake",
    "EMBEDCACHE_THREADS=0": "use auto, off, or a number of threads from 1 up",
    "embedcache_model= ": "give a value, or leave it out",
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_value_ends_the_run_before_it_begins(suite: Suite, bad: str) -> None:
    """As bad usage (4), in one line that has the value, where it was given, and the good ones."""
    suite.write(test_it="def test_it(): pass")
    name, _, value = bad.partition("=")
    if name.startswith("--"):
        result = suite.run(bad)
    elif name.isupper():
        result = suite.run(**{name: value})
    else:
        result = suite.run("-o", bad)
    text = complaints(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert name in text
    assert repr(value) in text
    assert BAD[bad] in text
    assert "Traceback" not in text
    assert "1 passed" not in text


def test_a_bad_value_ends_a_run_on_workers_as_well(suite: Suite) -> None:
    """No worker is started."""
    suite.write(test_it="def test_it(): pass")
    result = suite.run("-n", "2", "--embedcache-threads=many")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "workers" not in complaints(result)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('embedcache_threads = "many"', ["embedcache_threads", "auto, off, or a number"]),
        ("embedcache_threads = 2", ["embedcache_threads", "string"]),
        ('embedcache_model = ["a"]', ["embedcache_model", "string"]),
        ('embedcache_stub_missing = "perhaps"', ["embedcache_stub_missing"]),
    ],
)
def test_a_bad_value_in_native_toml_is_bad_usage(suite: Suite, line: str, said: list[str]) -> None:
    """pytest looks at the types of these only when it is asked for them."""
    if int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip("pytest reads native TOML from version 9 on")
    (suite.path / "pyproject.toml").write_text(f"[tool.pytest]\n{line}\n")
    suite.write(test_it="def test_it(): pass")
    result = suite.run()
    text = complaints(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert all(part in text for part in said)
    assert "Traceback" not in text


def test_a_good_value_in_native_toml_is_used(suite: Suite) -> None:
    """As in an ini file."""
    if int(pytest.__version__.partition(".")[0]) < 9:
        pytest.skip("pytest reads native TOML from version 9 on")
    (suite.path / "pyproject.toml").write_text('[tool.pytest]\nembedcache_threads = "2"\n')
    suite.write(test_it=SHOW)
    assert seen(suite)["threads"] == 2


def test_a_bad_truth_value_in_an_ini_file_is_bad_usage(suite: Suite) -> None:
    """The one ini key that is read before anything else."""
    (suite.path / "pytest.ini").write_text("[pytest]\nembedcache_stub_missing = perhaps\n")
    suite.write(test_it="def test_it(): pass")
    result = suite.run()
    text = complaints(result)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "embedcache_stub_missing" in text
    assert "Traceback" not in text


def test_every_option_is_in_the_help(suite: Suite) -> None:
    """With its default, and as an ini key."""
    from pytest_embedcache.plugin.table import SETTINGS

    text = "".join(complaints(suite.run("--help")).split())  # argparse breaks lines at hyphens
    for row in SETTINGS:
        assert (f"{row.flag}={row.metavar}" if row.metavar else row.flag) in text
        assert f"{row.key}(string)" in text
    assert "(default:all-MiniLM-L6-v2)" in text
    assert "embedcache_stub_missing(bool)" in text


def test_the_marker_is_in_the_list_of_markers(suite: Suite) -> None:
    """With its keywords."""
    assert "@pytest.mark.embedcache(model=" in complaints(suite.run("--markers"))


def test_a_model_in_a_directory_is_found_after_a_change_of_directory(
    suite: Suite, tmp_path: Path
) -> None:
    """The setting means what it meant when the run began."""
    (suite.path / "models" / "small").mkdir(parents=True)
    suite.write(
        test_it="""
            def test_it(monkeypatch, tmp_path, request):
                monkeypatch.chdir(tmp_path)
                model = request.getfixturevalue("embedding_model")
                assert model.name == str(request.config.rootpath / "models" / "small")
        """
    )
    result = suite.run(f"--embedcache-model={os.path.join('models', 'small')}")
    assert outcome(result) == {"passed": 1}, complaints(result)
