"""Stored vectors, read by text: our tiers, and what else keeps vectors by text."""

from __future__ import annotations

import functools
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from benchmarks import readers
from benchmarks.children import call_in_child
from benchmarks.harness import Report, Samples, Target, in_turns, per_call, ratio, say
from benchmarks.readers import (
    AGAIN,
    COUNT,
    DISKCACHE,
    LANGCHAIN,
    MEMORY,
    OF_OURS,
    OURS,
    RAW_REDIS,
    REDIS_TIER,
)
from examples.real_model import MODEL, real_model
from pytest_embedcache import get_model
from pytest_embedcache.vectors.api import StoreSettings, open_cache, swap_default_cache

US = 1e6
ONE, ONE_LOADED, ASKED = (
    "one text, memory tier",
    "one text, the model loaded",
    "get_model(name)",
)
#: Of whole processes; and of loops in this one.
ROUNDS, LOOPS = 11, 21
QUICK_CALLS, CALLS = 100, 2000


def run(*, quick: bool = False) -> Report:
    count = 200 if quick else COUNT
    report = Report(
        f"vector_reads: {count:,} stored vectors by text",
        ("µs, again", "of the SQLite tier", "95 % interval", "µs, first call", "of the processor"),
    )
    with real_model(), tempfile.TemporaryDirectory() as folder:
        with _redis(report) as url:
            cases, asides, neighbours = {}, {}, {}
            for name, reader in readers.READERS.items():
                module, package = reader.needs or ("numpy", "numpy")
                if find_spec(module) is None:
                    report.notes.append(f"{name}: skipped, needs the package {package}.")
                elif url or "Redis" not in name:
                    neighbours |= {package: version(package)} if reader.needs else {}
                    asides[name] = []
                    child = functools.partial(_child, name, Path(folder), url, count)
                    if name not in OF_OURS:
                        child("store")
                    cases[name] = functools.partial(_read, child, asides[name])
            samples = in_turns(cases, 2 if quick else ROUNDS, progress=None if quick else say)
        calls = QUICK_CALLS if quick else CALLS
        loops = _loops(Path(folder, "loops"), 3 if quick else LOOPS, calls)
    for name, seconds in samples.items():
        times, low, high = ratio(seconds, samples[OURS])
        each, *beside = (
            f"{statistics.median(s) * US / count:.2f}"
            for s in (seconds, *zip(*asides[name], strict=True))
        )
        report.row(name, each, f"{times:.2f} x", f"{low:.2f} to {high:.2f}", *beside)
    for name, seconds in loops.items():
        report.row(name, f"{statistics.median(seconds) * US:.2f}", "", "", "", "")
    report.targets += [*_targets(samples, count), *_loop_targets(loops)]
    report.notes += [
        f"{len(samples[OURS])} rounds in turns, a fresh process each, {count:,} texts a call: "
        "hash, look up, check, assemble. The first call has the first contact with the store, and "
        f"fresh memory from the system; again: the median of {AGAIN} calls after it. Every vector "
        "is compared with what was stored, afterwards. Of the processor: of the first call, by the "
        "process's own clock; a busy machine changes it less.",
        "The vectors are random numbers of 384 dimensions, stored under the keys of the real "
        "model: no model is loaded, and only reading is measured.",
        "SQLite tier: `CachedModel.encode` with a memory tier above, which is emptied before each "
        "call and into which it promotes; the raw SELECT reads the same file by 500 keys at a time "
        "that were made beforehand, and checks nothing. Redis tier: the same with Redis alone; the "
        "raw MGET has its names made beforehand, 1,000 to a command, over the same Unix socket, "
        "and checks nothing. LangChain returns lists of numbers, and is not asked to make an "
        "array.",
        "Measured beside ours: " + ", ".join(f"{name} {v}" for name, v in neighbours.items()) + ".",
    ]
    return report


@contextmanager
def _redis(report: Report) -> Iterator[str | None]:
    """The URL of a server of our own; None, with the reason noted, where there can be none."""
    import pytest

    from tests.support.redis_server import RedisServer

    try:
        server = RedisServer()
    except pytest.skip.Exception as reason:
        report.notes.append(f"Redis: skipped, {reason}.")
        yield None
        return
    try:
        yield server.start().url
    finally:
        server.close()


def _read(child: Callable[[str], str], asides: list[tuple[float, float]]) -> float:
    found = json.loads(child("read"))
    asides.append((found["first"], found["processor"]))
    return float(found["again"])


def _child(name: str, folder: Path, url: str | None, count: int, what: str) -> str:
    place = folder / (OURS if name in OF_OURS else name).replace(" ", "-")
    place.mkdir(exist_ok=True)
    changes = {"EMBEDCACHE_DIR": str(place), "HF_HUB_OFFLINE": "1"}
    if url:
        changes[readers.REDIS] = url
    return call_in_child("benchmarks.readers", what, name, str(place), str(count), **changes)


def _loops(folder: Path, rounds: int, calls: int) -> Samples:
    """One text at a time, in memory."""
    cache = open_cache(StoreSettings(directory=str(folder)))
    before = swap_default_cache(cache)
    try:
        model = get_model(MODEL)
        assert cache.store is not None
        text = readers.texts()[0]
        cache.store.put_many(model.fingerprint, {model.keys([text])[0]: readers.vectors()[0]})
        actions = {
            ONE: lambda: model.encode(text),
            ASKED: lambda: get_model(MODEL),
        }
        for action in actions.values():
            action()
        cases = {name: functools.partial(per_call, act, calls) for name, act in actions.items()}
        samples = in_turns(cases, rounds)
        if calls > QUICK_CALLS:
            # Whose state is read at each call then. Not in a quick run: it takes seconds to load.
            model.encode("a text that is not stored")
            samples |= in_turns({ONE_LOADED: cases[ONE]}, rounds)
        return samples
    finally:
        swap_default_cache(before)
        cache.close()


def _targets(samples: Samples, count: int) -> Iterator[Target]:
    for name, limit in ((OURS, 7.0), (MEMORY, 2.5)):
        each = statistics.median(samples[name]) * US / count
        yield Target(name, limit, each, "µs per vector")
    for slow, quick, limit, at_least in (
        (LANGCHAIN, OURS, 15.0, True),
        (DISKCACHE, OURS, 1.0, True),
        (REDIS_TIER, RAW_REDIS, 1.7, False),
    ):
        if slow in samples and quick in samples:
            times, low, high = ratio(samples[slow], samples[quick])
            what = f"{slow}, against {quick}"
            yield Target(what, limit, times, "times", at_least=at_least, interval=(low, high))


def _loop_targets(loops: Samples) -> Iterator[Target]:
    for name, limit in ((ONE, 30.0), (ONE_LOADED, 30.0), (ASKED, 3.0)):
        if name in loops:
            yield Target(name, limit, statistics.median(loops[name]) * US, "µs")
