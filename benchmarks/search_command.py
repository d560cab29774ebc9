"""`embedcache index search QUERY` in a fresh process, and what a process that searched keeps."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.children import call_in_child, environment
from benchmarks.encoders import prepare
from benchmarks.harness import Report, Samples, Target, in_turns, ratio, say, seconds_of
from benchmarks.own_cache import own_cache
from benchmarks.real_texts import pieces, texts
from examples.real_model import MODEL, real_model

#: Entries -> seconds that a query may take whose vector is in no store.
NEW = {1_000: 0.5, 10_000: 0.6}
STORED = 0.2
MEMORY = 100.0
QUERY = "how do I cancel my subscription, and get the money back"
THEIRS = "sentence-transformers, numpy"
#: What no search that hands out numpy's vectors can be below.
BARE = "python -c 'import numpy'"


def run(*, quick: bool = False) -> Report:
    rounds = 2 if quick else 11
    sizes = {100: 0.5, 500: 0.6} if quick else NEW
    most = max(sizes)
    with tempfile.TemporaryDirectory() as folder, real_model(), own_cache(folder):
        say("preparing the model")
        prepare("float32")
        found = pieces(texts(most), most)
        seconds = {size: _build(folder, size, found[:size]) for size in sizes}
        with open(f"{folder}/texts.json", "w", encoding="utf-8") as file:
            json.dump(found, file)
        say("encoding the same texts with sentence-transformers")
        call_in_child("benchmarks.search_child", "encode", folder, EMBEDCACHE_DIR=folder)
        samples = in_turns(_cases(folder, most, list(sizes)), rounds + 1, progress=say)
        say("a process that searched, and whose model went idle")
        # What sqlite-vec searches is made by whoever opens the index for it first.
        _command(folder, most, "stats", "--vector-backend", "sqlite-vec")
        idle = json.loads(
            call_in_child(
                "benchmarks.search_child", "idle", folder, str(most), EMBEDCACHE_DIR=folder
            )
        )
    samples = {name: values[1:] for name, values in samples.items()}  # the first reads the files
    return _report(sizes, most, seconds, samples, idle)


def _cases(folder: str, most: int, sizes: list[int]) -> dict[str, Callable[[], float]]:
    asked = iter(range(10**9))

    def new(size: int) -> float:
        return _search(folder, size, f"{QUERY} {next(asked)}")

    def theirs() -> float:
        start = time.perf_counter()
        call_in_child("benchmarks.search_child", "search", folder, f"{QUERY} {next(asked)}")
        return time.perf_counter() - start

    _search(folder, most, QUERY)
    cases: dict[str, Callable[[], float]] = {
        _new(size): lambda size=size: new(size)  # type: ignore[misc]
        for size in sizes
    }
    cases[_stored(most)] = lambda: _search(folder, most, QUERY)
    cases[THEIRS] = theirs
    cases[BARE] = lambda: seconds_of(_bare)
    return cases


def _bare() -> None:
    subprocess.run([sys.executable, "-c", "import numpy"], env=environment(), check=True)


def _new(size: int) -> str:
    return f"new query, {size:,} entries"


def _stored(size: int) -> str:
    return f"stored query, {size:,} entries"


def _build(folder: str, size: int, found: list[str]) -> float:
    say(f"building an index of {size:,} entries")
    file = Path(folder, f"{size}.jsonl")
    file.write_text("".join(f"{json.dumps(text)}\n" for text in found), encoding="utf-8")
    shown = json.loads(_command(folder, size, "build", str(file), "--model", MODEL, "--quiet"))
    if (shown["entries"], shown["lacking"]) != (size, 0):
        raise RuntimeError(f"the index is not whole: {shown}")
    return float(shown["seconds"])


def _search(folder: str, size: int, query: str) -> float:
    """Seconds of the whole process."""
    start = time.perf_counter()
    shown = json.loads(_command(folder, size, "search", query))
    seconds = time.perf_counter() - start
    if (shown["by"], shown["notice"], len(shown["results"])) != ("vectors", None, 10):
        raise RuntimeError(f"this is no search by meaning: {shown}")
    return seconds


def _command(folder: str, size: int, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest_embedcache", "index", *arguments, "--json"]
    ran = subprocess.run(
        [*command, "--index", f"{folder}/index-{size}"],
        env=environment(EMBEDCACHE_DIR=folder, EMBEDCACHE_STRATEGY="cached"),
        cwd=folder,
        capture_output=True,
        text=True,
    )
    if ran.returncode:
        raise RuntimeError(f"embedcache index {' '.join(arguments)} failed:\n{ran.stderr}")
    return ran.stdout


def _report(
    sizes: dict[int, float],
    most: int,
    built: dict[int, float],
    samples: Samples,
    idle: dict[str, float],
) -> Report:
    report = Report(
        "search_command: embedcache index search QUERY in a fresh process",
        ("s (median)", "times faster", "95 % interval"),
    )
    for name, values in samples.items():
        times, low, high = ratio(samples[THEIRS], values)
        report.row(
            name, f"{statistics.median(values):.3f}", f"{times:.1f}", f"{low:.1f} to {high:.1f}"
        )
    of = ", ".join(f"{size:,} in {seconds:.0f} s" for size, seconds in built.items())
    report.notes += [
        f"{len(samples[THEIRS])} rounds in turns, whole processes by the clock, the files in the "
        "system's cache. The model was prepared before (strategy `cached`). Texts: sentences of "
        "docstrings and of Debian's package descriptions.",
        f"{THEIRS}: the model loaded, a new query encoded, and the ten nearest of {most:,} vectors "
        "in a .npy file.",
        f"Built: {of}, encoding included, where the smaller one's vectors are in the larger one.",
        f"A process that searched {most:,} entries through sqlite-vec: "
        f"{idle['loaded']:.0f} MB resident with its model, {idle['idle']:.0f} MB when it was idle; "
        f"{idle['private']:.0f} MB of that are its own.",
    ]
    for size, limit in sizes.items():
        report.targets.append(
            Target(_new(size), limit, statistics.median(samples[_new(size)]), "s")
        )
    stored = statistics.median(samples[_stored(most)])
    report.targets.append(Target(_stored(most), STORED, stored, "s"))
    report.targets.append(Target("resident, model idle", MEMORY, idle["idle"], "MB"))
    return report
