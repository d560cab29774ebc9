"""Libraries that use sentence-transformers: a fresh process each, without and with the drop-in."""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
from pathlib import Path

from benchmarks.children import call_in_child
from benchmarks.harness import Report, Target, in_turns, ratio, say, seconds_of
from benchmarks.library_uses import USES
from examples.real_model import real_model
from pytest_embedcache import ModelSpec
from pytest_embedcache.snapshot import locate

#: Held to a ratio, and to importing no torch; the others' seconds are said.
HELD = ("chroma", "langchain", "llama_index")
WAYS = {"naive": "as it is", "dropin": "drop-in, stored", "defer": "drop-in with defer, stored"}


def run(*, quick: bool = False) -> Report:
    report = Report(
        "libraries: what others make of a stored model, in a fresh process",
        ("s (median)", "faster", "95 % interval", "torch imported by"),
    )
    with real_model() as name, tempfile.TemporaryDirectory() as folder:
        model = str(locate(ModelSpec(name)).path)
        for library in USES if not quick else ["chroma"]:
            _add(report, library, model, Path(folder), 1 if quick else 7, quick=quick)
    report.notes.append(
        "Rounds in turns; seconds by the clock of a whole process of Python, which imports the "
        "library, makes its embedding object, embeds a few texts and ends. Vectors, keywords and "
        "topics were compared with those without the drop-in, and are the same."
    )
    return report


def _add(
    report: Report, library: str, model: str, folder: Path, rounds: int, *, quick: bool
) -> None:
    found: dict[str, dict[str, object]] = {}

    def once(how: str) -> float:
        def child() -> None:
            printed = call_in_child(
                "benchmarks.library_uses",
                *(library, how, model),
                EMBEDCACHE_DIR=str(folder / "cache"),
                HF_HUB_OFFLINE="1",
                HF_HUB_DISABLE_PROGRESS_BARS="1",
                ANONYMIZED_TELEMETRY="false",
            )
            found[how] = json.loads(printed.splitlines()[-1])

        return seconds_of(child)

    for how in ("naive", "dropin", "dropin"):  # reads from the disk once, and stores the vectors
        once(how)
    cases = {how: functools.partial(once, how) for how in WAYS}
    samples = in_turns(cases, rounds, progress=None if quick else say)
    _compare(library, found)
    for how, label in WAYS.items():
        times, low, high = ratio(samples["naive"], samples[how])
        chain = found[how]["torch"]
        report.row(
            f"{library}, {label}",
            f"{statistics.median(samples[how]):.2f}",
            f"{times:.1f} x",
            f"{low:.1f} to {high:.1f}",
            "nobody" if chain is None else _who(chain),
        )
        if library in HELD and how == "dropin":
            report.targets += [
                Target(
                    f"{library}, stored", 5, times, "times", at_least=True, interval=(low, high)
                ),
                Target(f"{library}, torch imported", 0, float(chain is not None), "times"),
            ]


def _who(chain: object) -> str:
    """The first module on the way that is neither torch's nor transformers' own."""
    assert isinstance(chain, list)
    own = ("torch", "transformers", "sentence_transformers", "pytest_embedcache")
    return next((f"`{name}`" for name in chain if name.partition(".")[0] not in own), "?")


def _compare(library: str, found: dict[str, dict[str, object]]) -> None:
    for how in ("dropin", "defer"):
        difference = _largest(found["naive"]["out"], found[how]["out"])
        if difference > 1e-5:
            raise RuntimeError(f"{library} gives something else with {how}: {difference}")


def _largest(one: object, other: object) -> float:
    """The largest difference of numbers; anything else has to be equal."""
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return max(map(_largest, one, other), default=0.0)
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other)
    return 0.0 if one == other else float("inf")
