"""Runs as a report shows them: made up, rich, and hostile where a test or a user can be."""

from __future__ import annotations

import hashlib
from typing import Any

from pytest_embedcache.plugin.counts import merge, serialize, with_savings
from pytest_embedcache.plugin.report_data import gather
from pytest_embedcache.vectors.tally import Tally

#: What a test's id, a model's name, a reason or a text can be.
HOSTILE = (
    "</style></svg><script>document.title='owned'</script>",
    "<img src=http://outside.invalid/x onerror=\"document.title='owned'\">",
    "\"><a href=javascript:alert(1)>x</a>'",
    "| `a` || [x](http://outside.invalid) ![y](http://outside.invalid/y) <b>b</b> @all #1 $x$",
    "``` \r\n# heading\n- list\n\n<!-- ",
    "\u202egpj.exe\u2066\x00\x1b[31m\ud800\u200b&amp;&lt;",
)
BEGIN = 1_790_000_000.0


def load(name: str, start: float, seconds: float, **more: Any) -> dict[str, Any]:
    """A load as a `Timeline` has it; `start` is from the beginning of the run."""
    row = {"name": name, "device": "cpu", "start": BEGIN + start, "end": BEGIN + start + seconds}
    return row | {"import_seconds": 0.0, "failed": False, "test": "tests/test_a.py::test_0"} | more


def text(model: str, content: str, seconds: float, **more: Any) -> dict[str, Any]:
    """A slow text as a `Timeline` has it."""
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    row = {"model": model, "test": "tests/test_a.py::test_0", "together": 1, "digest": digest}
    return row | {"length": len(content), "seconds": seconds, "text": None} | more


def case(number: int, worker: str, start: float, seconds: float, **more: Any) -> dict[str, Any]:
    """A test as `Durations` has it."""
    name = f"tests/test_search.py::TestRanking::test_finds_what_is_meant[case-{number}]"
    row = {"test": name, "worker": worker, "outcome": "passed", "seconds": seconds}
    return row | {"start": BEGIN + start, "end": BEGIN + start + seconds} | more


def gate(
    outcome: str, ratio: float | None, low: float | None, high: float | None, **more: Any
) -> Any:
    """A gate as the run's counts have it."""
    row = {"test": "tests/test_speed.py::test_warm", "name": None, "outcome": outcome}
    row |= {"reason": None, "ratio": ratio, "low": low, "high": high, "at_least": 10.0}
    return row | {"rounds": 12, "seconds": 3.0, "baseline": 0.5, "contender": 0.05} | more


def process(
    models: dict[str, Tally],
    timeline: dict[str, Any] | None = None,
    *,
    loads: int = 1,
    notices: dict[str, int] | None = None,
    gates: Any = (),
) -> dict[str, Any]:
    """The counts of one process that loaded each of these models so often."""
    rows = [
        {
            "name": name,
            "device": "cpu",
            "backend": "torch",
            "gets": 0,
            "loads": loads,
            "failures": 0,
            "evictions": 0,
            "load_seconds": 0.4 * loads,
            "import_seconds": 3.9,
        }
        for name in models
        if not name.startswith("text-embedding")
    ]
    vectors = [{name: tally.as_dict() for name, tally in models.items()}]
    uses = {(name, "cpu"): 40 for name in models if not name.startswith("text-embedding")}
    counts = serialize(rows, uses, vectors, threads=1, notices=notices or {}, gates=gates)
    return counts if timeline is None else counts | {"timeline": timeline}


def report_of(run: dict[str, Any], tests: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What `gather` makes of it."""
    return gather(with_savings(merge(run), {}), tests, **{"project": "shop"} | more)


MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MPNET = "sentence-transformers/all-mpnet-base-v2"
SMALL, LARGE = "text-embedding-3-small", "text-embedding-3-large"


def rich(name: str | None = None) -> dict[str, Any]:
    """A run of four workers with everything in it; every name is `name`, where one is given."""
    minilm, mpnet, small = (name or one for one in (MINILM, MPNET, SMALL))
    test = name or "tests/test_search.py::TestRanking::test_finds_what_is_meant[case-7]"
    reason = name or "Redis at cache.example:6379 did not answer in 0.5 s"
    tests, run = [], {}
    for worker in range(4):
        at, who = 0.3 + worker * 0.11, f"gw{worker}"
        for number in range(60):
            took = 5.1 if number == 1 else 0.05 + (number * 37 % 11) * 0.021
            kind = "failed" if (worker, number) in ((1, 30), (2, 44)) else "passed"
            more = {"test": f"{test}{'' if number == 1 else number}"} if name else {}
            tests.append(case(number * 4 + worker, who, at, took, outcome=kind, **more))
            at += took
        timeline = {
            "loads": [load(minilm, 0.5 + worker * 0.11, 4.4, import_seconds=3.9, test=test)],
            "computing": [
                [BEGIN + 5 + n * (worker + 1) * 0.4, BEGIN + 5.2 + n * (worker + 1) * 0.4, 30]
                for n in range(9)
            ],
            "texts": [
                text(
                    minilm,
                    name or f"text {n} {worker}" * 40,
                    0.4 / (n + 1),
                    test=test,
                    together=n,
                    text=name or "What is the opening time on Sundays?",
                )
                for n in range(5)
            ],
            "tests": {tests[-59]["test"]: [4.4, 0.3], tests[-20]["test"]: [0, 0.2]},
        }
        if worker == 2:
            timeline["loads"].append(load(mpnet, 9.5, 2.2))
            timeline["loads"].append(load(mpnet, 13.0, 0.7, failed=True))
        tally = Tally(
            asked=600,
            found={"memory": 210, "sqlite": 250, "recordings": 30},
            computed=80,
            shared=30,
            encode_seconds=2.4,
        )
        models = {
            minilm: tally,
            small: Tally(
                asked=90,
                found={"redis": 70},
                computed=20,
                billed=20,
                tokens=812,
                encode_seconds=1.0,
            ),
        }
        if worker == 2:
            models[mpnet] = Tally(
                asked=50,
                found={"memory": 11},
                computed=20,
                bypassed=9,
                untrusted=10,
                encode_seconds=1.1,
            )
            models[LARGE] = Tally(
                asked=50,
                found={"redis": 40},
                computed=10,
                billed=10,
                tokens=412,
                encode_seconds=0.8,
            )
        run[who] = process(models, timeline, notices={reason: 3} if worker == 0 else None)
    run["gw4"] = None
    run["gw0"]["gates"] = [
        gate("reached", 14.2, 12.9, 15.8, test=test, name=name or "first vector"),
        gate("missed", 7.1, 6.2, 8.4, test=test),
        gate(
            "undecided",
            10.1,
            9.6,
            10.7,
            test=test,
            reason=name or "skipped: 4 workers share this machine",
        ),
        gate("reached", 812.0, 640.0, 1020.0, test=test),
        gate("undecided", 11.0, None, None, test=test),
        gate("too small to matter", 3.0, 2.1, 5.0, test=test),
        gate(
            "not measured",
            None,
            None,
            None,
            test=test,
            reason=name or "pytest-benchmark is off: --benchmark-disable",
        ),
    ]
    return report_of(
        run,
        tests,
        project=name or "shop",
        settings=[
            ("mode", "replay", "CI is set, and there are recordings"),
            ("model", minilm, "--embedcache-model"),
        ],
        lines=[name or "recordings: not pruned, because the run was not green"],
        prices={small: "0.02"},
        services=frozenset({small, LARGE}),
    )
