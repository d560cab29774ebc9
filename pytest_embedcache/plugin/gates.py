"""Speed-up gates in a run: when they measure, what becomes of the verdict, and what is listed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

from pytest_embedcache.errors import LockTimeoutError, SpeedupError
from pytest_embedcache.plugin.benchmark import publish
from pytest_embedcache.plugin.fixtures import GATE_FIXTURES

if TYPE_CHECKING:
    from pytest_embedcache.plugin.run import Run
    from pytest_embedcache.testing.speedup import Speedup

__all__ = ["NOT_MEASURED", "Gate", "Gates", "WarmLoadGate", "group_gates", "skip"]

NOT_MEASURED = "not measured"
#: One xdist group: with `--dist loadgroup` one worker has all gates.
GROUP = "embedcache_gates"
Row = dict[str, Any]


class Gates:
    """The gates of one process: rows of built-in types, in the order of their verdicts.

    `workers` is the number of processes of the run, `left_out` the tests that were collected and
    deselected.
    """

    def __init__(self, mode: str, workers: int = 1, left_out: Sequence[pytest.Item] = ()) -> None:
        self.mode = mode
        self.workers = workers
        self.rows: list[Row] = []
        self._left_out = left_out

    @property
    def deselected(self) -> set[str]:
        """What was left out, by every name that a marker may have for it."""
        return {
            name
            for item in self._left_out
            for name in (item.nodeid, item.name, getattr(item, "originalname", None))
            if name
        }

    def add(self, test: str, found: Speedup, name: str | None = None) -> Row:
        """List a verdict; returns its row."""
        row = {"test": test, "name": name, "reason": None, **found.as_dict()}
        self.rows.append(row)
        return row

    def add_unmeasured(self, test: str, reason: str, *, at_least: float | None = None) -> None:
        """List a gate that measured nothing, and why."""
        self.rows.append(
            {
                "test": test,
                "name": None,
                "outcome": NOT_MEASURED,
                "reason": reason,
                "at_least": at_least,
            }
        )


def group_gates(items: list[pytest.Item]) -> None:
    """Put the tests with a gate into one xdist group, unless they are in one."""
    for item in items:
        fixtures = GATE_FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if fixtures and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(GROUP))


class Gate:
    """What the fixture `speedup` gives: `speedup(baseline=, contender=, at_least=, …)`."""

    def __init__(self, run: Run, item: Any) -> None:
        self._run = run
        self._item = item
        self._test = item.nodeid

    def __call__(
        self,
        baseline: Callable[[], object],
        contender: Callable[[], object],
        *,
        at_least: float,
        name: str | None = None,
        **options: Any,
    ) -> Speedup:
        """Measure both in turns, and fail unless `baseline` takes `at_least` times as long.

        `name` tells the gates of one test apart. The options and the result are those of
        `pytest_embedcache.testing.speedup.measure`.

        Raises:
            SpeedupError: An `AssertionError`; see `--embedcache-gates` for when it is not raised.
        """
        from pytest_embedcache.testing.speedup import measure

        return self._judged(
            lambda: measure(baseline, contender, at_least=at_least, **options), name
        )

    def _judged(self, measured: Callable[[], Speedup], name: str | None) -> Speedup:
        gates = self._run.gates
        if gates.mode == "off":
            self._unmeasured("speed-up gates are switched off (--embedcache-gates=off)")
        with contextlib.ExitStack() as alone:
            try:
                _lock(self._run, alone)
            except LockTimeoutError as error:
                self._unmeasured(f"another gate is measuring: {error}")
            found = measured()
        row = gates.add(self._test, found, name)
        publish(self._item, found, row)
        if found.passed:
            return found
        if gates.mode == "report":
            row["reason"] = "only reported (--embedcache-gates=report)"
            return found
        if found.outcome == "undecided" and gates.workers > 1:
            row["reason"] = f"skipped: {gates.workers} workers share this machine"
            skip(f"{found.line()}; {row['reason']}")
        raise SpeedupError(found.outcome, "\n".join(found.lines()))

    def _unmeasured(self, reason: str) -> NoReturn:
        self._run.gates.add_unmeasured(self._test, reason)
        skip(reason)


def skip(reason: str) -> NoReturn:
    """Skip the test, at its own place in the report and not at ours."""
    raise pytest.skip.Exception(reason, _use_item_location=True)


class WarmLoadGate(Gate):
    """What the fixture `warm_load_speedup` gives: `warm_load_speedup(model, at_least=10)`."""

    def __call__(  # type: ignore[override]
        self,
        model: Any = None,
        *,
        at_least: float = 10.0,
        fresh_process: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> Speedup:
        """Fail unless a warm model gives its vector `at_least` times sooner than a cold one.

        `model` is a name or a `ModelSpec`, by default the run's model. Cold is a fresh registry, or
        with `fresh_process=True` a fresh interpreter; each cold round has to load exactly once, and
        the warm ones never. Options and result are those of `measure_warm_load`.

        Raises:
            SpeedupError: As for `speedup`; and for a wrong number of loads, in every mode.
        """
        from pytest_embedcache.spec import ModelSpec
        from pytest_embedcache.testing.speedup.loads import measure_warm_load

        run = self._run
        if not isinstance(model, ModelSpec):
            model = ModelSpec(model or run.settings.model, device=run.settings.device)
        with _registries(run) as make_registry:
            return self._judged(
                lambda: measure_warm_load(
                    model,
                    at_least=at_least,
                    fresh_process=fresh_process,
                    make_registry=make_registry,
                    cache_dir=run.root,
                    **options,
                ),
                name,
            )


@contextlib.contextmanager
def _registries(run: Run) -> Iterator[Callable[[], Any]]:
    """Makes registries of the run, which are let go, and their loads counted, at the end."""
    made: list[Any] = []

    def make() -> Any:
        made.append(run.registries.make())
        return made[-1]

    try:
        yield make
    finally:
        for registry in made:
            run.registries.retire(registry)


def _lock(run: Run, until: contextlib.ExitStack) -> None:
    """Keep other gates from measuring: of this run's workers, and of runs with its cache directory.

    Raises `LockTimeoutError`. Where there can be no lock file, there is none, which is said.
    """
    from pytest_embedcache.models.locking import default_lock_timeout, machine_lock
    from pytest_embedcache.notices import degraded

    path = run.directory() / "gates.lock"
    try:
        until.enter_context(machine_lock(path, "a gate", timeout=default_lock_timeout()))
    except OSError as error:
        degraded(f"speed-up gates measure without a lock ({error.strerror or error})")
