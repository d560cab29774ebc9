"""Speed-up gates in a run: what fails, what skips, what is listed. Their time is simulated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.suites import Suite, complaints, outcome

#: Gates whose ratio is 12, 8, and on the bound of 10.
GATES = """
    from support.simulated import world

    def test_reached(speedup):
        found = speedup(
            baseline=world.spend(0.012), contender=world.spend(0.001), at_least=10, **world.options
        )
        assert found.rounds == 10

    def test_missed(embedcache_speedup):
        embedcache_speedup(world.spend(0.008), world.spend(0.001), at_least=10, **world.options)

    def test_undecided(speedup):
        speedup(world.spend(0.01, 0.0102, 0.0098), world.spend(0.001), at_least=10, max_seconds=0.5,
                **world.options)

    def test_too_small(speedup):
        speedup(world.spend(0.0012), world.spend(0.001), at_least=10, ignore_below=0.001,
                name="small", **world.options)
"""
TESTS = ("reached", "missed", "undecided", "too_small")


def listed(path: Path) -> dict[str, dict[str, Any]]:
    """The gates in the JSON of a run, by the test's short name."""
    rows = json.loads(path.read_text(encoding="utf-8"))["gates"]
    return {row["test"].partition("test_")[2].partition("test_")[2]: row for row in rows}


@pytest.fixture
def gates(suite: Suite) -> Suite:
    suite.write(test_gates=GATES)
    return suite


def test_a_serial_run_fails_what_is_missed_and_what_is_undecided(gates: Suite) -> None:
    """The failure has the story at the test's own line; the summary and the JSON list all gates."""
    result = gates.run("--embedcache-json=out.json")
    text = complaints(result)
    assert outcome(result) == {"passed": 2, "failed": 2}, text
    assert "SpeedupError: missed: 8 [8, 8] after" in text
    assert "SpeedupError: undecided: " in text
    assert "10 rounds; the ratio is their median" in text
    assert "8 ms median" in text
    summary = text[text.index("= embedcache gates =") :].splitlines()[1:5]
    assert [line.partition(":")[0] for line in summary] == [
        "missed",
        "undecided",
        "too small to matter",
        "reached",
    ]
    assert summary[0].endswith("test_missed: 8 [8, 8], at least 10; 10 rounds")
    assert "test_too_small small: 1.2" in summary[2]
    rows = listed(gates.path / "out.json")
    assert [rows[name]["outcome"] for name in TESTS] == [
        "reached",
        "missed",
        "undecided",
        "too small to matter",
    ]
    assert rows["reached"]["ratio"] == pytest.approx(12)
    assert (rows["reached"]["baseline"], rows["reached"]["contender"]) == pytest.approx(
        (0.012, 0.001)
    )


def test_report_fails_nothing_and_says_so(gates: Suite) -> None:
    """Measured and listed; the reason is beside what would have failed."""
    result = gates.run("--embedcache-gates=report")
    text = complaints(result)
    assert outcome(result) == {"passed": 4}, text
    assert "test_missed: 8 [8, 8], at least 10; 10 rounds (only reported" in text


def test_off_skips_with_the_reason_and_passes_nothing(gates: Suite) -> None:
    """A gate that does not measure does not pass."""
    (gates.path / "pytest.ini").write_text("[pytest]\nembedcache_gates = off\n")
    result = gates.run("-rs", "--embedcache-json=out.json")
    text = complaints(result)
    assert outcome(result) == {"skipped": 4}, text
    assert "speed-up gates are switched off (--embedcache-gates=off)" in text
    rows = json.loads((gates.path / "out.json").read_text(encoding="utf-8"))["gates"]
    assert [row["outcome"] for row in rows] == ["not measured"] * 4


def test_beside_other_workers_the_undecided_is_skipped(gates: Suite) -> None:
    """With the reason; what is missed for sure fails there as well. Both workers' gates are in
    one list."""
    result = gates.run("-n", "2", "-rs", "--embedcache-json=out.json")
    text = complaints(result)
    assert outcome(result) == {"passed": 2, "failed": 1, "skipped": 1}, text
    assert "2 workers share this machine" in text
    assert set(listed(gates.path / "out.json")) == set(TESTS)


def test_no_two_gates_measure_at_once(suite: Suite) -> None:
    """On workers they are one xdist group, but for those that are in another; and whatever xdist
    makes of that, the machine's lock keeps them apart: a gate that found another one measuring
    would leave a file behind."""
    suite.write(
        test_gates="""
            import os, pathlib, pytest
            from support.simulated import world

            HERE = pathlib.Path(__file__).parent

            @pytest.mark.parametrize("number", range(4))
            def test_gate(speedup, number, request):
                assert request.node.get_closest_marker("xdist_group").args == ("embedcache_gates",)
                spend = world.spend(0.012)

                def baseline():
                    try:
                        os.close(os.open(HERE / "measuring", os.O_CREAT | os.O_EXCL))
                    except FileExistsError:
                        (HERE / "collision").touch()
                    spend()
                    (HERE / "measuring").unlink()

                speedup(baseline, world.spend(0.001), at_least=10, **world.options)

            @pytest.mark.xdist_group("mine")
            def test_in_a_group_of_its_own(speedup, request):
                assert request.node.get_closest_marker("xdist_group").args == ("mine",)

            def test_another(request):
                assert request.node.get_closest_marker("xdist_group") is None
        """
    )
    result = suite.run("-n", "2")
    assert outcome(result) == {"passed": 6}, complaints(result)
    assert not (suite.path / "collision").exists()


def test_a_bad_bound_is_an_error_that_names_it(suite: Suite) -> None:
    """Without frames of ours."""
    suite.write(
        test_it="""
            def test_it(speedup):
                speedup(print, print, at_least=0)
        """
    )
    result = suite.run()
    text = complaints(result)
    assert outcome(result) == {"failed": 1}, text
    assert "at_least = 0 (from the call) cannot be used: give a number above 0" in text


def test_a_warm_load_is_compared_with_a_cold_one_and_loads_are_counted(suite: Suite) -> None:
    """Cold loads exactly once in every round, warm never; the run's summary has the loads."""
    suite.write(
        test_it="""
            def test_it(warm_load_speedup):
                # The toys take no time: so the bound is one that anything is above.
                found = warm_load_speedup("a", at_least=1e-9)
                assert found.outcome == "reached"
                assert found.rounds == 10
        """
    )
    counts = suite.counts()
    (gate,) = counts["gates"]
    assert gate["outcome"] == "reached"
    (model,) = counts["models"]
    loads = [words for words in suite.noted() if words[0] == "load"]
    # One for the warm side; for the cold one at least that of the first call, and one in a round.
    assert model["loads"] == len(loads) >= 12


def test_a_cold_model_that_is_not_loaded_fails_whatever_the_times(suite: Suite) -> None:
    """The count has no noise: a registry that hands out a loaded model is found out."""
    suite.write(
        test_it="""
            import pytest

            from pytest_embedcache.errors import SpeedupError
            from pytest_embedcache.models.registry import ModelRegistry

            def test_it(warm_load_speedup, monkeypatch):
                real = ModelRegistry.stats

                def stats(self):
                    found = real(self)
                    return type(found)(())

                monkeypatch.setattr(ModelRegistry, "stats", stats)
                with pytest.raises(SpeedupError, match="cold rounds loaded 'a' 0 times"):
                    warm_load_speedup("a", at_least=1e-9)
        """
    )
    result = suite.run()
    assert outcome(result) == {"passed": 1}, complaints(result)
