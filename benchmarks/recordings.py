"""10,000 recorded vectors, beside the same in a warm SQLite store; other forms of a file."""

from __future__ import annotations

import base64
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.harness import Report, Target, in_turns, say, seconds_of
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.vectors.keys import KeyFields, KeyMaker
from pytest_embedcache.vectors.recording_file import Recording
from pytest_embedcache.vectors.recording_header import Header
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.spool import Spool, merge
from pytest_embedcache.vectors.sqlite import SqliteStore

MODEL = "a" * 64
DIMENSION = 384
#: Of the replay, over reading the same from SQLite.
LIMIT_SECONDS = 0.3


def run(*, quick: bool = False) -> Report:
    count, rounds = (200, 3) if quick else (10_000, 15)
    texts = [f"text {number} of the recorded ones" for number in range(count)]
    keys = KeyMaker(KeyFields(MODEL)).keys(texts)
    vectors = np.random.default_rng(0).standard_normal((count, DIMENSION), dtype=np.float32)
    header = Header("model", (), None, MODEL, "float32", "float32", ModelMetadata(DIMENSION))
    with tempfile.TemporaryDirectory() as folder:
        recordings, index = Path(folder, "recordings"), Path(folder, "index")
        say(f"recording {count:,} vectors")
        spool = Spool(Path(folder, "spool"))
        wrote = seconds_of(
            lambda: [
                spool.write(header, key, Recording(text, row))
                for text, key, row in zip(texts, keys, vectors, strict=True)
            ]
        )
        merged = seconds_of(lambda: merge(spool.directory, recordings, replace=False))
        sizes = [path.stat().st_size for path in recordings.rglob("*.json")]
        for path in recordings.rglob("*.json"):
            os.utime(path, (1e9, 1e9))  # an hour ago, as in any checkout
        sqlite = SqliteStore(folder)
        sqlite.put_many(MODEL, dict(zip(keys, vectors, strict=True)))
        sqlite.close()

        def from_sqlite() -> None:
            store = SqliteStore(folder)
            assert len(store.get_many(MODEL, keys)) == count
            store.close()

        def from_recordings(index: Path | None) -> Callable[[], None]:
            def read() -> None:
                store = RecordingsStore(recordings, index=index, strict=True)
                assert len(store.get_many(MODEL, keys)) == count
                store.close()

            return read

        first = seconds_of(from_recordings(index))
        cases = {
            "SQLite, warm": from_sqlite,
            "recordings, warm index": from_recordings(index),
            "recordings, no index": from_recordings(None),
        }
        timed = {name: lambda case=case: seconds_of(case) for name, case in cases.items()}
        samples = in_turns(timed, rounds)
    report = Report(
        f"recordings: {count:,} vectors of {DIMENSION}, opened and read", ("seconds (median)",)
    )
    for name, found in samples.items():
        report.row(name, f"{statistics.median(found):.3f}")
    report.row("recordings, making the index", f"{first:.3f}")
    report.row("recording: to the spool, without encoding", f"{wrote:.2f}")
    report.row("recording: merged into the repository", f"{merged:.2f}")
    more = statistics.median(samples["recordings, warm index"]) - statistics.median(
        samples["SQLite, warm"]
    )
    what = f"replay of {count:,} recorded vectors, over a warm SQLite store"
    report.targets.append(Target(what, LIMIT_SECONDS, more, "s"))
    report.notes.append(f"A recording's file has {statistics.median(sizes):,.0f} bytes (median).")
    report.notes += list(_forms(vectors[0] / np.linalg.norm(vectors[0])))
    return report


def _forms(vector: np.ndarray) -> list[str]:
    """Bytes of one vector of unit length in the forms that a text file could give it."""
    forms = {
        "base64 of float32": len(base64.b64encode(vector.tobytes())),
        "hexadecimal bytes": len(vector.tobytes().hex()),
        "shortest decimals": sum(len(str(number)) + 1 for number in vector),
        "hexadecimal floats": sum(len(float(number).hex()) + 1 for number in vector),
    }
    return [f"A vector as {name}: {size:,} bytes." for name, size in forms.items()]
