"""What `embedcache doctor` looks at: one function for each thing, and a table of them.

Nothing is fetched, loaded or made; the only file that is written is one of no content in the cache
directory, which goes again at once.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_embedcache.errors import EmbedCacheError
from pytest_embedcache.installed import is_installed
from pytest_embedcache.models.profile import ResourceProfile

__all__ = ["CHECKS", "Finding", "Patient"]

_GIB = 2**30


@dataclass(frozen=True)
class Finding:
    """Something that was looked at.

    `level` is `broken` (it does not work), `slow` (it costs time), `note` (it may matter to some)
    or `ok`. `remedy` is None where there is nothing to do.
    """

    topic: str
    level: str
    what: str
    remedy: str | None = None


@dataclass(frozen=True)
class Patient:
    """What is looked at: the versioned cache directory, the model, and the machine."""

    directory: Path
    model: str
    profile: ResourceProfile


Check = Callable[[Patient], Iterator[Finding]]


def settings(patient: Patient) -> Iterator[Finding]:
    """Variables of the environment that cannot be used."""
    from pytest_embedcache.models.idle import default_idle_timeout
    from pytest_embedcache.models.locking import default_lock_timeout
    from pytest_embedcache.models.strategies import default_strategy
    from pytest_embedcache.vectors.store_settings import StoreSettings

    reads: tuple[Callable[[], object], ...] = (
        StoreSettings.from_environment,
        default_idle_timeout,
        default_lock_timeout,
        lambda: default_strategy(patient.model),
    )
    for read in reads:
        try:
            read()
        except EmbedCacheError as error:
            yield Finding("settings", "broken", str(error), "Change the variable, or unset it.")


def packages(patient: Patient) -> Iterator[Finding]:
    """What loads models, and what would load them faster."""
    torch, onnx = is_installed("sentence_transformers"), is_installed("onnxruntime")
    if not torch and not onnx:
        what = "no model can be loaded: neither sentence-transformers nor onnxruntime is installed"
        level = "note" if _recordings() else "broken"
        remedy = "pip install 'pytest-embedcache[sentence-transformers]', or [onnx]"
        yield Finding("packages", level, f"{what}; stored vectors are answered", remedy)
    elif not onnx:
        yield Finding(
            "packages",
            "slow",
            "every process that computes a vector imports torch; a prepared model needs none",
            "pip install 'pytest-embedcache[onnx]', and strategy='cached'",
        )
    if not is_installed("xdist"):
        what = "pytest-xdist is not installed: tests run in one process"
        yield Finding("packages", "note", what, "pip install 'pytest-embedcache[xdist]'")
    if os.environ.get("EMBEDCACHE_REDIS_URL") and not is_installed("redis"):
        what = "EMBEDCACHE_REDIS_URL is set, and the package redis is not installed"
        yield Finding("packages", "broken", what, "pip install 'pytest-embedcache[redis]'")


def directory(patient: Patient) -> Iterator[Finding]:
    """Whether the cache directory can be written, by whom, and where it is."""
    place = patient.directory
    existing = next(path for path in (place, *place.parents) if path.exists())
    elsewhere = "Choose another with --embedcache-dir or EMBEDCACHE_DIR."
    if not _writable(existing):
        what = f"nothing can be kept: {existing} cannot be written; all is computed every time"
        yield Finding("cache", "broken", what, elsewhere)
    if os.name == "posix" and place.exists() and place.stat().st_mode & 0o022:
        what = f"{place} can be written by others, who could replace what is loaded from it"
        yield Finding("cache", "broken", what, f"chmod go-w {place}")
    disk = patient.profile.disk
    if disk.kind == "memory":
        what = f"{disk.reason}, and models are prepared anew"
        yield Finding("cache", "slow", what, elsewhere)
    elif disk.kind == "network":
        what = f"{disk.reason}: locks may do nothing there, and every read is a request"
        yield Finding("cache", "slow", what, f"{elsewhere} A Redis is for several machines.")
    elif disk.kind == "hdd":
        what = f"the cache may be on a turning disk ({disk.reason}): a first load reads slowly"
        yield Finding("cache", "note", what)


def database(patient: Patient) -> Iterator[Finding]:
    """Whether the database can be read while somebody writes."""
    from pytest_embedcache.vectors.sqlite import SqliteStore

    store = SqliteStore(patient.directory.parent)
    if not store.path.exists():
        yield Finding("vectors", "ok", "nothing is stored yet")
        return
    try:
        found = store.stats()
        mode = str(found.details.get("journal_mode") or "")
        yield Finding("vectors", "ok", f"{found.entries} vectors are stored")
        if mode and mode != "wal":
            what = f"SQLite's journal mode is {mode}: readers and writers wait for each other"
            remedy = "Put the cache on a local disk: EMBEDCACHE_DIR."
            yield Finding("vectors", "slow", what, remedy)
    except EmbedCacheError as error:
        yield Finding("vectors", "broken", str(error), "embedcache clear begins anew.")
    finally:
        store.close()


def model(patient: Patient) -> Iterator[Finding]:
    """Whether the model is here, or has to be fetched."""
    from pytest_embedcache.layout import problems
    from pytest_embedcache.snapshot import locate
    from pytest_embedcache.spec import ModelSpec

    try:
        place = locate(ModelSpec(patient.model))
    except EmbedCacheError as error:
        yield Finding("model", "broken", str(error))
        return
    if place.path is None:
        what = f"{place.name} is not on this machine"
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            remedy = "Unset HF_HUB_OFFLINE once, or copy the model here."
            yield Finding("model", "broken", f"{what}, and HF_HUB_OFFLINE forbids it", remedy)
        else:
            remedy = f"Fetch it beforehand: embedcache warm --model {patient.model} FILE."
            yield Finding("model", "slow", f"{what}: the first use fetches it", remedy)
    elif found := problems(place.path, complete=place.repository is not None):
        what = f"{place.path} is incomplete or damaged: {'; '.join(found)}"
        yield Finding("model", "broken", what, f"Delete {place.path}, and let it be fetched again.")
    else:
        yield Finding("model", "ok", f"{place.name} is on this machine")


def threads(patient: Patient) -> Iterator[Finding]:
    """Whether torch takes more threads than there are cores."""
    cores = patient.profile.cores
    seen = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    said = os.environ.get("OMP_NUM_THREADS", "")
    taken = int(said) if said.isdecimal() else seen
    if taken > cores:
        why = "is set" if said else f"is not set, and the processor has {seen} cores"
        what = f"torch takes {taken} threads where {cores} cores may be used: OMP_NUM_THREADS {why}"
        yield Finding("threads", "slow", what, f"export OMP_NUM_THREADS={cores}")
    else:
        several = "several processes at once need fewer each" if taken > 1 else "one each"
        yield Finding("threads", "ok", f"{taken} of {cores} cores in each process; {several}")


def accelerator(patient: Patient) -> Iterator[Finding]:
    """Whether there is one that is not used."""
    advice = patient.profile.recommended_device()
    if advice.value == "cpu" and patient.profile.accelerators:
        remedy = "Install a build of torch for it (https://pytorch.org/get-started/locally/)."
        yield Finding("device", "note", "; ".join(advice.reasons), remedy)
    elif advice.value != "cpu":
        remedy = f"device={advice.value!r}, or EMBEDCACHE_DEVICE; the default is the cpu."
        yield Finding("device", "note", "; ".join(advice.reasons), remedy)


def memory(patient: Patient) -> Iterator[Finding]:
    """Whether a model fits."""
    free = patient.profile.memory_free
    if free is not None and free < _GIB:
        what = f"{free / 2**20:.0f} MiB of memory are free; torch alone takes half a gigabyte"
        remedy = "strategy='cached' takes less, and EMBEDCACHE_MODEL_TIMEOUT gives it back."
        yield Finding("memory", "slow", what, remedy)


def forks(patient: Patient) -> Iterator[Finding]:
    """Whether multiprocessing copies a process that may have a model."""
    import multiprocessing

    # Looked at, not asked for: asking fixes it for the rest of the process.
    method = multiprocessing.get_start_method(allow_none=True)
    if (method or multiprocessing.get_all_start_methods()[0]) == "fork":
        what = "multiprocessing forks: a child of a process that has a model computes on one thread"
        remedy = "multiprocessing.set_start_method('spawn'), or load the model in the child."
        yield Finding("processes", "note", what, remedy)


def ci(patient: Patient) -> Iterator[Finding]:
    """Whether CI computes what could be in the repository."""
    from pytest_embedcache.plugin.ci import on_ci

    if on_ci() and not _recordings():
        what = "CI computes its vectors: there are no recordings in tests/embeddings"
        remedy = "pytest --embedcache-mode=record, once, and commit tests/embeddings."
        yield Finding("ci", "slow", what, remedy)


CHECKS: tuple[Check, ...] = (
    *(settings, packages, model, directory, database, threads, accelerator, memory, forks, ci),
)


def _recordings() -> bool:
    from pytest_embedcache.plugin.options import RECORDINGS
    from pytest_embedcache.plugin.recordings import have_recordings

    return have_recordings(os.environ.get("EMBEDCACHE_RECORDINGS") or os.path.abspath(RECORDINGS))


def _writable(directory: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False
