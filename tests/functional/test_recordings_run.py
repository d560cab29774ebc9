"""Runs of pytest that record, replay, and say what is missing."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from support.recorded import CONFTEST, Project, Replayer, cache_directory, contents, entries

SUITE = """
import pytest

@pytest.mark.parametrize("number", range(4))
def test_text(model, number):
    assert model.encode([f"text {number}", "shared"]).shape == (2, 8)
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    found = Project(pytester, monkeypatch)
    found.tests(SUITE)
    return found


@pytest.fixture
def recorded(project: Project) -> Project:
    """The same, with its five texts recorded, and without the model from now on."""
    project.run(mode="record").assert_outcomes(passed=4)
    project.setenv("NO_MODEL", "1")
    return project


def xdist(workers: int) -> list[str]:
    pytest.importorskip("xdist")
    return [f"-n{workers}"]


# ------------------------------------------------------------------------------ recording


def test_what_was_recorded_replays_without_the_model(project: Project) -> None:
    """Recorded once, said so, and then no model is needed."""
    result = project.run(mode="record")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["recordings: 5 texts recorded in tests?embeddings"])
    project.setenv("NO_MODEL", "1")
    result = project.run(mode="replay")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["vectors: 8 texts asked, 8 found (recordings 8), 0 computed"])


def test_workers_leave_the_same_files_as_one_process(project: Project) -> None:
    """Whatever the number of workers: the directory is the same, byte for byte."""
    project.run(mode="record")
    alone = contents(project.recordings)
    project.recordings.rename(project.pytester.path / "alone")
    project.run(*xdist(3), mode="record").assert_outcomes(passed=4)
    assert contents(project.recordings) == alone


def test_a_crashed_worker_has_lost_nothing(project: Project) -> None:
    """What it had computed before it was killed is recorded at the end of the run."""
    project.tests(
        SUITE
        + """
def test_crash(model):
    import os
    model.encode(["last words"])
    os.kill(os.getpid(), 9)
"""
    )
    project.run(*xdist(2), mode="record")
    model = Replayer(project.recordings).model()
    assert model.encode(["last words", "shared"]).shape == (2, 8)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL here")
def test_a_killed_run_leaves_the_old_recordings_whole(recorded: Project) -> None:
    """Nothing changes in them; the next run takes over what was new, and computes it not again."""
    os.environ.pop("NO_MODEL")
    before = contents(recorded.recordings)
    recorded.tests(
        """
import os

def test_new(model):
    model.encode(["new"])
    os.kill(os.getpid(), 9)
""",
        "test_zzz.py",
    )
    assert recorded.run(mode="record").ret == -signal.SIGKILL
    assert contents(recorded.recordings) == before
    recorded.tests("def test_new(model):\n    model.encode(['new'])\n", "test_zzz.py")
    result = recorded.run(mode="record")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["*, 0 computed", "recordings: 1 text recorded in *"])
    after = contents(recorded.recordings)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1


def test_rerecord_says_what_it_did(recorded: Project) -> None:
    """All is computed; what agrees is kept, and git sees no change. Old spools are swept up."""
    os.environ.pop("NO_MODEL")
    before = contents(recorded.recordings)
    killed = cache_directory() / "spool" / "x" / "rerecord-y"
    killed.mkdir(parents=True)
    os.utime(killed, (0, 0))
    result = recorded.run(mode="rerecord")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["recordings: 0 texts recorded, 0 replaced, 5 as before in *"])
    assert contents(recorded.recordings) == before
    assert not killed.exists()


def test_other_weights_leave_a_namesake_that_is_told_and_can_be_dropped(project: Project) -> None:
    """Replay without weights cannot choose; the command that is named drops the unused one."""
    project.run(mode="record").assert_outcomes(passed=4)
    (old,) = project.recordings.iterdir()
    project.setenv("WEIGHTS", "other")
    told = f"recordings: tests?embeddings?{old.name} is of another model under the same name*"
    project.run(mode="rerecord").stdout.fnmatch_lines(
        [told + " complete run with: pytest --embedcache-mode=record --embedcache-prune-recordings"]
    )
    result = project.run("--embedcache-prune-recordings", mode="record")
    result.stdout.fnmatch_lines(["*, 0 computed", "*5 unused texts dropped *"])
    result.stdout.no_fnmatch_line(told)
    assert not old.exists()
    project.setenv("NO_MODEL", "1")
    project.run(mode="replay").assert_outcomes(passed=4)


def test_recordings_that_cannot_be_written_fail_the_run(project: Project) -> None:
    """A run that was to record, and could not, is not green; what it made waits."""
    project.recordings.write_text("in the way")
    result = project.run(mode="record")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["recordings: * cannot be written *"])
    project.recordings.unlink()
    project.run(mode="record").stdout.fnmatch_lines(["*, 0 computed", "*: 5 texts recorded *"])


# ----------------------------------------------------------------------- which mode it is


def test_a_suite_without_recordings_is_not_asked_for_any(project: Project) -> None:
    """auto says nothing of recordings, on CI neither."""
    project.setenv("CI", "true")
    result = project.run()
    result.assert_outcomes(passed=4)
    result.stdout.no_fnmatch_line("recordings: *")
    result.stdout.no_fnmatch_line("*mode=replay*")
    assert not project.recordings.exists()


@pytest.mark.parametrize("variable", ["CI", "BUILD_NUMBER"])
def test_on_ci_the_default_is_replay_and_the_header_says_so(
    recorded: Project, variable: str
) -> None:
    """Where there are recordings; pytest's two variables are its two variables."""
    recorded.setenv(variable, "1")
    result = recorded.run()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["embedcache: mode=replay (CI is set, and there are recordings)*"])


@pytest.mark.parametrize("chosen", [(), ("--embedcache-mode=replay",)], ids=["ci", "chosen"])
def test_a_miss_says_that_ci_chose_the_mode(recorded: Project, chosen: tuple[str, ...]) -> None:
    """And not so where somebody chose it."""
    recorded.setenv("CI", "1")
    recorded.tests(
        """
def test_new(embedding_model_factory):
    embedding_model_factory("m").encode("never seen")
"""
    )
    result = recorded.run(*chosen)
    told = "The mode is replay because CI is set, and there are recordings. Record it with:"
    assert (told in result.stdout.str()) is (not chosen)
    assert "'never seen'" in result.stdout.str()


def test_an_explicit_mode_wins_on_ci(recorded: Project) -> None:
    """In the ini file, the weakest place, too."""
    os.environ.pop("NO_MODEL")
    recorded.setenv("CI", "1")
    recorded.pytester.makeini("[pytest]\ntestpaths = tests\nembedcache_mode = live\n")
    result = recorded.run()
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["embedcache: mode=live *", "*0 found, 0 computed, 8 without*"])


def test_the_marker_exempts_a_test(recorded: Project) -> None:
    """One test computes in the middle of a replay."""
    os.environ.pop("NO_MODEL")
    recorded.tests(
        """
import pytest

@pytest.mark.embedcache(model="m", mode="live")
def test_live(embedding_model_factory):
    assert embedding_model_factory("m", backend="pure", mode="live").encode(["new"]).shape == (1, 8)
""",
        "test_live.py",
    )
    recorded.run(mode="replay").assert_outcomes(passed=5)


def test_nobody_who_uses_nothing_of_ours_notices(
    recorded: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With recordings in the repository, a run of other tests has no header, summary or file."""
    recorded.tests("def test_nothing(): pass\n")
    before = contents(recorded.pytester.path)
    monkeypatch.delenv("EMBEDCACHE_DIR")
    result = recorded.run("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*embedcache:*")
    result.stdout.no_fnmatch_line("recordings: *")
    made = contents(recorded.pytester.path).keys() - before.keys()
    assert not [name for name in made if "__pycache__" not in name]


def test_recordings_can_be_elsewhere(project: Project) -> None:
    """The ini names the directory, from its own place; so does the option."""
    project.pytester.makeini("[pytest]\ntestpaths = tests\nembedcache_recordings = data/vectors\n")
    project.run(mode="record").assert_outcomes(passed=4)
    assert len(entries(project.pytester.path / "data" / "vectors")) == 5
    assert not project.recordings.exists()
    project.run("--embedcache-recordings=other", mode="record").assert_outcomes(passed=4)
    assert len(entries(project.pytester.path / "other")) == 5


# --------------------------------------------------------------------------------- misses


def test_a_miss_fails_its_test_and_all_are_listed(recorded: Project) -> None:
    """The test that asked, and no other; five in the summary, all in a file, and the command."""
    recorded.tests(
        """
import pytest

@pytest.mark.parametrize("number", range(7))
def test_new(model, number):
    model.encode(f"new text {number}")
""",
        "test_new.py",
    )
    result = recorded.run("--embedcache-report=report.html", mode="replay")
    result.assert_outcomes(passed=4, failed=7)
    page = Path("report.html").read_text(encoding="utf-8")
    assert "replay: 7 texts not recorded" in page
    assert "new text" not in page
    lines = result.stdout.lines
    first = next(i for i, line in enumerate(lines) if line.strip("= ") == "embedcache")
    assert next(i for i, line in enumerate(lines[first + 1 :]) if line.startswith("=")) == 8
    result.stdout.fnmatch_lines(
        [
            "*ReplayMissError: the text 'new text 0' is not recorded for model 'm'.*"
            " nearest * 'text 0'.*--embedcache-mode=record 'tests/test_new.py::test_new[[]0[]]'",
            "replay: 7 texts not recorded, all are in *:",
            "  'new text 0' (m)",
            "  'new text 4' (m)",
            "record with: pytest --embedcache-mode=record",
        ]
    )
    lines = (cache_directory() / "replay-misses.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"new text {n}" for n in range(7)]


def test_misses_of_workers_are_listed_once(recorded: Project) -> None:
    """What several workers miss is one text."""
    recorded.tests(SUITE.replace('"shared"', '"other"'))
    result = recorded.run(*xdist(2), mode="replay")
    result.assert_outcomes(failed=4)
    result.stdout.fnmatch_lines(["replay: 1 text not recorded, all are in *:", "  'other' (m)"])


SWALLOWED = """
import pytest

def ask(model):
    try:
        model.encode("new")
    except Exception:
        return "swallowed"

def test_code_under_test_swallows_it(model):
    assert ask(model) == "swallowed"

def test_it_is_missed_again(model):
    ask(model)

def test_it_skips_itself(model):
    if ask(model):
        pytest.skip("no model")

def test_it_is_expected(model):
    with pytest.raises(LookupError):
        model.encode("new")

@pytest.fixture
def asked(model):
    return ask(model)

def test_its_fixture_swallows_it(asked):
    pass

@pytest.fixture
def asking(model):
    yield
    ask(model)

def test_its_end_swallows_it(asking):
    pass

def test_nothing_is_missed(model):
    model.encode("shared")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_a_swallowed_miss_fails_the_test_that_asked(recorded: Project, workers: int) -> None:
    """Whoever catches the error, in whichever phase, and that test alone; the text counts once."""
    recorded.tests(SWALLOWED, "test_swallowed.py")
    result = recorded.run(*(xdist(workers) if workers else []), mode="replay")
    result.assert_outcomes(passed=4 + 2, failed=4, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ReplayMissError: the text 'new' is not recorded for model 'm'.*",
            "replay: 1 text not recorded, all are in *:",
        ]
    )
    text = result.stdout.str()
    assert text.count("ReplayMissError: the text 'new' is not recorded") >= 6
    assert 'model.encode("new")' in text


def test_a_damaged_file_fails_in_replay_and_not_in_auto(recorded: Project) -> None:
    """Replay names the file; auto computes the text, with a notice."""
    name = sorted(entries(recorded.recordings))[0]
    (recorded.recordings / name).write_text("{}")
    result = recorded.run(mode="replay")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([f"*RecordingError: the recording *{Path(name).name} is damaged*"])
    os.environ.pop("NO_MODEL")
    result = recorded.run(mode="auto")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines([f"recordings: the recording *{Path(name).name} is damaged*"])


def test_auto_counts_what_is_not_recorded_and_strict_fails_for_it(recorded: Project) -> None:
    """Distinct texts, over all workers; the command that records them; and the ini that insists."""
    os.environ.pop("NO_MODEL")
    recorded.run(mode="auto").stdout.no_fnmatch_line("recordings: *")
    new = "def test_new(model):\n    model.encode(['new', 'newer', 'shared'])\n"
    recorded.tests(new, "test_new.py")
    line = "recordings: 2 texts not in them; record with: pytest --embedcache-mode=record"
    for arguments in ([], xdist(2)):
        result = recorded.run(*arguments)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines([line])
    recorded.pytester.makeini("[pytest]\ntestpaths = tests\nembedcache_strict = true\n")
    result = recorded.run()
    result.assert_outcomes(passed=5)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines([line, "embedcache_strict: the run fails for that"])
    recorded.run(mode="record")
    assert recorded.run().ret == pytest.ExitCode.OK


# -------------------------------------------------------------------------------- pruning


def test_a_complete_green_run_prunes_what_it_did_not_use(recorded: Project) -> None:
    """Only on demand, and then the unused text alone."""
    recorded.tests(SUITE.replace("range(4)", "range(3)"))
    before = contents(recorded.recordings)
    recorded.run(mode="replay").assert_outcomes(passed=3)
    assert contents(recorded.recordings) == before
    result = recorded.run("--embedcache-prune-recordings", mode="replay")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["recordings: 1 unused text dropped from tests?embeddings"])
    after = contents(recorded.recordings)
    assert len(after) == len(before) - 1
    assert after.items() <= before.items()
    result = recorded.run("--embedcache-prune-recordings", *xdist(2), mode="replay")
    result.stdout.fnmatch_lines(["recordings: 0 unused texts dropped from *"])
    recorded.run(mode="replay").assert_outcomes(passed=3)


def test_nothing_is_pruned_where_the_model_is_another(recorded: Project) -> None:
    """In auto a model of other weights uses no recording: all would go, and nothing be recorded."""
    recorded.setenv("WEIGHTS", "other")
    recorded.pytester.path.joinpath("conftest.py").write_text(
        CONFTEST.replace('os.environ.get("NO_MODEL") is None', "True")
    )
    before = contents(recorded.recordings)
    result = recorded.run("--embedcache-prune-recordings", mode="auto")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "recordings of m are not used: *",
            "recordings: not pruned, because the run missed 5 texts",
        ]
    )
    assert contents(recorded.recordings) == before


@pytest.mark.parametrize(
    ("arguments", "extra", "why"),
    [
        (["-k", "not 3"], "", "1 test deselected"),
        (["tests"], "", "the command line names what to run"),
        (["--rootdir=.."], "", "it was not started in the root directory"),
        (["--lf"], "", "--lf was given"),
        ([], "def test_fails(): assert False", "the run was not green"),
        ([], "import pytest\ndef test_skips(): pytest.skip('today')", "1 test skipped"),
        (["-n1"], "import os\ndef test_dies(): os._exit(3)", "the run was not green"),
    ],
)
def test_any_other_run_prunes_nothing_and_says_why(
    recorded: Project, arguments: list[str], extra: str, why: str
) -> None:
    """What was not run may be what needs the others."""
    if "-n1" in arguments:
        xdist(1)
    recorded.tests(SUITE.replace('"shared"', '"text 1"'))
    if extra:
        recorded.tests(extra, "test_extra.py")
    before = contents(recorded.recordings)
    result = recorded.run("--embedcache-prune-recordings", *arguments, mode="replay")
    result.stdout.fnmatch_lines([f"recordings: not pruned, because {why}"])
    assert contents(recorded.recordings) == before


def test_a_bad_setting_is_a_usage_error(project: Project) -> None:
    """A mode that is none lists those that are."""
    result = project.run(mode="replays")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*auto, live, record, replay, rerecord*"])
