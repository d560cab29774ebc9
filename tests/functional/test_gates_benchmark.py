"""Gates and pytest-benchmark: entries in its files, and two benchmarks compared by a marker."""

from __future__ import annotations

import json
import platform
from importlib.util import find_spec

import pytest
from support.suites import Suite, complaints, outcome

from pytest_embedcache.cli import main
from pytest_embedcache.plugin.gate_marker import asked_of
from pytest_embedcache.testing.speedup.ledger import read_ledger

pytestmark = pytest.mark.skipif(
    find_spec("pytest_benchmark") is None, reason="needs pytest-benchmark"
)

#: The functions of two ordinary benchmarks take 12 times as long as each other, in simulated time.
COMPARED = """
    import pytest
    from support.simulated import world

    pytestmark = pytest.mark.benchmark(timer=world.clock)

    def test_cold(benchmark):
        benchmark.pedantic(world.spend(0.012), rounds=10)

    @pytest.mark.embedcache_speedup(over="test_cold", at_least={at_least})
    def test_warm(benchmark):
        benchmark.pedantic(world.spend(0.001), rounds=10)
"""


@pytest.fixture
def suite(suite: Suite) -> Suite:
    suite.plugins = ("embedcache", "benchmark")
    return suite


def section(text: str) -> list[str]:
    """The lines about gates."""
    lines = text[text.index("= embedcache gates =") :].splitlines()[1:]
    return lines[: next(i for i, line in enumerate(lines) if not line or line.startswith("="))]


def test_a_gate_is_two_entries_of_a_benchmark_run(suite: Suite) -> None:
    """In the table, and in its JSON, each with all rounds and the verdict in `extra_info`."""
    suite.write(
        test_it="""
            from support.simulated import world

            def test_it(speedup):
                speedup(world.spend(0.012), world.spend(0.001), at_least=10, **world.options)
        """
    )
    result = suite.run("--benchmark-json=out.json", "--embedcache-json=ours.json")
    text = complaints(result)
    assert outcome(result) == {"passed": 1}, text
    assert "test_it (baseline)" in text
    assert "test_it (contender)" in text
    found = json.loads((suite.path / "out.json").read_text(encoding="utf-8"))["benchmarks"]
    assert [one["fullname"] for one in found] == [
        "test_it.py::test_it (baseline)",
        "test_it.py::test_it (contender)",
    ]
    assert [one["stats"]["median"] for one in found] == pytest.approx([0.012, 0.001])
    assert [one["stats"]["rounds"] for one in found] == [10, 10]
    for one, role in zip(found, ("baseline", "contender"), strict=True):
        extra = one["extra_info"]["embedcache_speedup"]
        assert extra["role"] == role
        assert extra["outcome"] == "reached"
        assert extra["ratio"] == pytest.approx(12)
        assert extra["at_least"] == 10
    # Both files of one run tell `embedcache gate` the same of its gates and of the machine.
    theirs, ours = (read_ledger(str(suite.path / name)) for name in ("out.json", "ours.json"))
    assert theirs.gates == ours.gates
    assert theirs.times == ours.times
    assert len(theirs.times) == 2
    assert theirs.machine["python"] == ours.machine["python"] == platform.python_version()
    assert theirs.machine["node"]
    assert "node" not in ours.machine


def test_a_gate_measures_itself_where_pytest_benchmark_does_not(suite: Suite) -> None:
    """Under xdist, where that is switched off: the fixture needs none of it."""
    suite.write(
        test_it="""
            from support.simulated import world

            def test_it(speedup):
                speedup(world.spend(0.012), world.spend(0.001), at_least=10, **world.options)
        """
    )
    counts = suite.counts("-n", "1")
    assert [(row["outcome"], row["rounds"]) for row in counts["gates"]] == [("reached", 10)]


def test_two_benchmarks_are_compared_when_all_tests_are_done(
    suite: Suite, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ratio above the bound passes and is in the JSON; one below fails the run, not a test.

    And it fails `embedcache gate`, which reads that JSON.
    """
    suite.write(test_it=COMPARED.format(at_least=10), test_too=COMPARED.format(at_least=20))
    result = suite.run("--benchmark-json=out.json")
    text = complaints(result)
    assert outcome(result) == {"passed": 4}
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert section(text) == [
        "missed: test_too.py::test_warm over test_cold: 12 [12, 12], at least 20; 10 rounds",
        "reached: test_it.py::test_warm over test_cold: 12 [12, 12], at least 10; 10 rounds",
    ]
    rows = json.loads((suite.path / "out.json").read_text(encoding="utf-8"))["benchmarks"]
    extra = {row["fullname"]: row["extra_info"] for row in rows}
    assert extra["test_it.py::test_cold"] == {}
    assert extra["test_it.py::test_warm"]["embedcache_speedup"]["ratio"] == pytest.approx(12)
    file = str(suite.path / "out.json")
    capsys.readouterr()
    assert main(["gate", file, "--baseline", file]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("missed ")
    assert shown[0].endswith(" 12 [12, 12] of 20  test_too.py::test_warm over test_cold")
    assert len([line for line in shown if line.startswith("no slower")]) == 6  # 2 ratios, 4 times
    assert shown[-1] == "1 missed or undecided"


@pytest.mark.parametrize(
    ("mode", "line"), [("report", "missed: test_it.py::test_warm"), ("off", "not measured: ")]
)
def test_a_comparison_that_is_only_reported_fails_nothing(
    suite: Suite, mode: str, line: str
) -> None:
    """Nor does one that is switched off; the reason is beside it."""
    suite.write(test_it=COMPARED.format(at_least=20))
    result = suite.run(f"--embedcache-gates={mode}")
    assert result.ret == pytest.ExitCode.OK
    (said,) = section(complaints(result))
    assert said.startswith(line)
    assert f"(--embedcache-gates={mode})" in said


#: Arguments, how the run ends, and what is said of the gate.
LEFT_OUT: dict[tuple[str, ...], tuple[int, dict[str, int], str]] = {
    ("-k", "warm"): (0, {"passed": 1, "deselected": 1}, "test_cold was deselected"),
    ("test_it.py::test_warm",): (0, {"passed": 1}, "no test 'test_cold' was collected"),
    ("--benchmark-disable",): (
        0,
        {"passed": 1, "skipped": 1},
        "pytest-benchmark is disabled (--benchmark-disable)",
    ),
    ("--benchmark-skip",): (0, {"skipped": 2}, "was not measured (skipped, failed"),
    ("-n", "1"): (0, {"passed": 1, "skipped": 1}, "pytest-benchmark measures nothing under xdist"),
}


@pytest.mark.parametrize("arguments", LEFT_OUT, ids=" ".join)
def test_what_is_not_measured_is_said_and_passes_nothing(
    suite: Suite, arguments: tuple[str, ...]
) -> None:
    """With the reason; a test that could only be called, and not measured, is skipped."""
    suite.write(test_it=COMPARED.format(at_least=10))
    status, counted, reason = LEFT_OUT[arguments]
    result = suite.run(*arguments)
    text = complaints(result)
    assert (result.ret, outcome(result)) == (status, counted), text
    (line,) = section(text)
    assert line.startswith("not measured: test_it.py::test_warm")
    assert reason in line


def test_without_pytest_benchmark_the_marked_test_is_skipped(suite: Suite) -> None:
    """Its fixture is then missing, which is no reason to fail."""
    suite.plugins = ("embedcache",)
    suite.write(
        test_it="""
            import pytest

            @pytest.mark.embedcache_speedup(over="test_cold", at_least=10)
            def test_warm(benchmark):
                benchmark(print)
        """
    )
    result = suite.run("-rs")
    text = complaints(result)
    assert outcome(result) == {"skipped": 1}, text
    assert "its speed-up over test_cold cannot be measured: pytest-benchmark is not " in text


def test_a_name_that_means_no_test_or_two_fails_the_run(suite: Suite) -> None:
    """A misspelt gate would otherwise be green for ever."""
    suite.write(test_it=COMPARED.format(at_least=10).replace('over="test_cold"', 'over="cold"'))
    result = suite.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "no test 'cold' was collected" in section(complaints(result))[0]

    elsewhere = "def test_cold(): pass"
    here = COMPARED.format(at_least=10).replace("def test_cold", "def test_colder")
    suite.write(test_it=here, test_a=elsewhere, test_b=elsewhere)
    result = suite.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "several tests are called 'test_cold'" in section(complaints(result))[0]


def test_the_nearest_test_of_that_name_with_the_same_parameters_is_meant(suite: Suite) -> None:
    """The one in its class, though its module and another one have it too."""
    suite.write(
        test_a="def test_cold(): pass",
        test_it="""
            import pytest
            from support.simulated import world

            pytestmark = pytest.mark.benchmark(timer=world.clock)

            def test_cold(benchmark):
                benchmark.pedantic(world.spend(0.001), rounds=10)

            class TestIt:
                @pytest.mark.parametrize("n", [1, 2])
                def test_cold(self, benchmark, n):
                    benchmark.pedantic(world.spend(0.02 * n), rounds=10)

                @pytest.mark.parametrize("n", [1, 2])
                @pytest.mark.embedcache_speedup(over="test_cold", at_least=10)
                def test_warm(self, benchmark, n):
                    benchmark.pedantic(world.spend(0.001), rounds=10)
        """,
    )
    result = suite.run()
    text = complaints(result)
    assert result.ret == pytest.ExitCode.OK, text
    ratios = sorted(line.partition(" over test_cold: ")[2][:2] for line in section(text))
    assert ratios == ["20", "40"]


def test_a_marker_that_cannot_be_read_is_an_error(suite: Suite) -> None:
    """Of the collection, without a traceback of ours."""
    suite.write(
        test_it="""
            import pytest

            @pytest.mark.embedcache_speedup("test_cold")
            def test_it(): pass
        """
    )
    result = suite.run()
    text = complaints(result)
    assert outcome(result) == {"errors": 1}, text
    assert "takes over=, the name of another test, and at_least=, a number above 0" in text


@pytest.mark.parametrize(
    "mark",
    [
        pytest.mark.embedcache_speedup(),
        pytest.mark.embedcache_speedup(over="x"),
        pytest.mark.embedcache_speedup(over="x", at_least=0),
        pytest.mark.embedcache_speedup(over="x", at_least="10"),
        pytest.mark.embedcache_speedup(over=3, at_least=10),
        pytest.mark.embedcache_speedup(over="x", at_least=10, atleast=10),
    ],
    ids=str,
)
def test_only_a_name_and_a_number_above_nothing_can_be_read(
    request: pytest.FixtureRequest, mark: pytest.MarkDecorator
) -> None:
    """Anything else is found out before a test is run."""
    request.node.add_marker(mark)
    with pytest.raises(pytest.UsageError, match="takes over="):
        asked_of(request.node)
    # This run's own plugin reads the markers of its tests as well, at its end.
    request.node.own_markers.remove(mark.mark)
