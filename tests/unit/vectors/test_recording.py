"""Recording: each text alone, what is there stays, and the same texts give the same files."""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoders import Files
from support.recorded import Recorder, Replayer, contents, entries, record

from pytest_embedcache.errors import RecordingError, StoreError
from pytest_embedcache.vectors import spool as module
from pytest_embedcache.vectors.alone import one_thread

TEXTS = [f"text {number}" for number in range(8)]


@pytest.fixture
def place(tmp_path: Path) -> tuple[Path, Path]:
    """Recordings, and a spool."""
    return tmp_path / "recordings", tmp_path / "spool"


@settings(max_examples=25, deadline=None)
@given(st.permutations(TEXTS), st.lists(st.integers(1, 7), max_size=3))
def test_files_depend_on_the_texts_alone(
    tmp_path_factory: pytest.TempPathFactory, order: list[str], cuts: list[int]
) -> None:
    """Whatever the order, the calls and the processes: byte for byte the same directory."""
    folder = tmp_path_factory.mktemp("made")
    bounds = [0, *sorted(set(cuts)), len(order)]
    runs = []
    for start, end in itertools.pairwise(bounds):
        run = Recorder(folder / "recordings", folder / "spool")
        run.inner()
        # A model whose rows depend on how many are encoded at once, as real ones do.
        run.inner().reshape = lambda rows: rows * np.float32(1 + 1e-7 * len(rows))
        run.model.encode(order[start:end])
        runs.append(run)
    for run in runs:
        run.finish()
    run = Recorder(folder / "expected", folder / "spool")
    run.inner().reshape = lambda rows: rows * np.float32(1 + 1e-7 * len(rows))
    run.model.encode(TEXTS)
    run.finish()
    assert contents(folder / "recordings") == contents(folder / "expected")
    assert len(entries(folder / "expected")) == len(TEXTS)


def test_every_new_text_is_encoded_alone(place: tuple[Path, Path]) -> None:
    """No call of the model has two texts, and each text has one call."""
    run = Recorder(*place)
    run.model.encode([*TEXTS, TEXTS[0]])
    run.model.encode(TEXTS)
    assert sorted(run.inner().batches) == [[text] for text in TEXTS]
    assert run.finish().new == {"m": len(TEXTS)}


def test_what_is_recorded_replays_bit_for_bit(place: tuple[Path, Path]) -> None:
    """The run that records and the one that replays have the same vectors, in order."""
    run = Recorder(*place)
    texts = ["b", "a", "b", "", "ü\ud83d"]
    made = run.model.encode(texts)
    query = run.model.encode_query("b")
    run.finish()
    replayed = Replayer(place[0]).model()
    assert replayed.encode(texts).tobytes() == made.tobytes()
    assert replayed.encode_query("b").tobytes() == query.tobytes()


def test_roles_prompts_and_options_are_recorded_apart(place: tuple[Path, Path]) -> None:
    """One text in five ways is five files, and replays in each of them."""
    files = Files(prompts={"query": "q: ", "document": "d: "}, has_roles=True)
    calls = [
        lambda model: model.encode("a"),
        lambda model: model.encode_query("a"),
        lambda model: model.encode_document("a"),
        lambda model: model.encode("a", normalize_embeddings=True),
        lambda model: model.encode("a", truncate_dim=4),
        lambda model: model.encode("a", prompt="p\n\ud83d\ude00"),
    ]
    run = Recorder(*place, files)
    made = [call(run.model).tobytes() for call in calls]
    assert run.finish().new == {"m": 6}
    replayed = Replayer(place[0]).model()
    assert [call(replayed).tobytes() for call in calls] == made


def test_record_never_touches_what_is_there(place: tuple[Path, Path]) -> None:
    """Another machine's vectors stay, in files and in answers; only the new are computed."""
    record(*place, "a", "b")
    before = contents(place[0])
    run = Recorder(*place)
    run.inner().reshape = lambda rows: rows + np.float32(1)
    made = run.model.encode(["a", "b", "c"])
    assert run.inner().batches == [["c"]]
    assert run.finish().new == {"m": 1}
    after = contents(place[0])
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    assert Replayer(place[0]).model().encode(["a", "b", "c"]).tobytes() == made.tobytes()


def test_record_does_not_write_over_a_damaged_file(place: tuple[Path, Path]) -> None:
    """It is an error that names it: what it held is for a person to say."""
    record(*place, "a")
    (path,) = (place[0] / name for name in entries(place[0]))
    path.write_bytes(b"damaged")
    with pytest.raises(RecordingError, match="version control"):
        Recorder(*place).model.encode("a")
    assert path.read_bytes() == b"damaged"


@pytest.mark.parametrize(("change", "kept"), [(0.0, 2), (1e-7, 2), (1e-3, 0)])
def test_rerecord_keeps_what_agrees(place: tuple[Path, Path], change: float, kept: int) -> None:
    """Everything is computed; within the tolerance the old bytes stay, beyond it they go."""
    record(*place, "a", "b")
    before = contents(place[0])
    run = Recorder(*place, anew=True)
    run.inner().reshape = lambda rows: rows + np.float32(change)
    made = run.model.encode(["a", "b"])
    run.model.encode(["b", "a"])
    assert sorted(run.inner().batches) == [["a"], ["b"]]
    done = run.finish()
    assert (done.kept.get("m", 0), done.replaced.get("m", 0), done.new) == (kept, 2 - kept, {})
    assert (contents(place[0]) == before) == (kept == 2)
    assert Replayer(place[0]).model().encode(["a", "b"]).tobytes() == made.tobytes()


def test_rerecord_replaces_a_damaged_file_and_leaves_the_others(place: tuple[Path, Path]) -> None:
    """What the run does not ask for is not touched."""
    record(*place, "a", "b")
    before = contents(place[0])
    store = Replayer(place[0])
    (key,) = store.model().keys(["a"])
    ((_, folder),) = store.store.folders().items()
    Path(folder.file(key)).write_bytes(b"damaged")
    run = Recorder(*place, anew=True)
    run.model.encode("a")
    assert run.finish().replaced == {"m": 1}
    assert contents(place[0]) == before


def test_another_model_of_the_name_has_its_own_folder(place: tuple[Path, Path]) -> None:
    """Other weights never write into the recordings of the first."""
    record(*place, "a")
    before = contents(place[0])
    record(*place, "a", files=Files(weights="others"))
    after = contents(place[0])
    assert {name: after[name] for name in before} == before
    assert len(list(place[0].iterdir())) == 2


def test_a_second_process_finds_what_the_first_has_just_made(place: tuple[Path, Path]) -> None:
    """Workers share the spool: a text is computed once, whoever comes second."""
    first, second = Recorder(*place), Recorder(*place)
    first.model.encode("a")
    made = second.model.encode(["a", "b"])
    assert second.inner().batches == [["b"]]
    second.finish()
    assert Replayer(place[0]).model().encode(["a", "b"]).tobytes() == made.tobytes()


def test_what_a_killed_run_left_is_not_computed_again(place: tuple[Path, Path]) -> None:
    """Its spool is whole, but for a file that it was writing, and the next run merges it."""
    killed = Recorder(*place)
    killed.model.encode(TEXTS)
    torn = next(iter(entries(place[1])))
    (place[1] / torn).write_bytes(b'{"text": "text 0"')
    assert contents(place[0]) == {}
    run = Recorder(*place)
    run.model.encode(TEXTS)
    assert len(run.inner().batches) == 1
    assert run.finish().new == {"m": len(TEXTS)}
    assert contents(place[1]) == {}


def test_who_is_killed_while_merging_has_lost_nothing(
    place: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each step of a merge the old recordings are whole, and a second merge finishes it."""
    record(*place, "old")
    before = contents(place[0])
    real = module._publish
    for allowed in range(len(TEXTS)):
        shutil.rmtree(place[0])
        record(*place, "old")
        run = Recorder(*place)
        run.model.encode(TEXTS)
        left = [allowed]

        def publish(*arguments: Any, left: list[int] = left, **options: Any) -> None:
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            real(*arguments, **options)

        with monkeypatch.context() as patched:
            patched.setattr(module, "_publish", publish)
            with pytest.raises(KeyboardInterrupt):
                run.finish()
        now = contents(place[0])
        assert {name: now[name] for name in before} == before
        assert len(entries(place[0])) == 1 + allowed
        Replayer(place[0]).model().encode("old")
        run.finish()
        assert len(entries(place[0])) == 1 + len(TEXTS)


def test_spools_of_killed_reruns_do_not_pile_up(tmp_path: Path) -> None:
    """Those in which nothing was written for a day go, whosoever; what may be in use stays."""
    cache = tmp_path / "cache"
    spools = {
        name: module.spool_directory(cache, tmp_path / where, run)
        for name, where, run in (
            ("old", "r", "1"),
            ("old elsewhere", "s", "2"),
            ("at work", "r", "3"),
            ("record", "r", None),
        )
    }
    for name, spool in spools.items():
        Recorder(tmp_path / "r", spool).model.encode(TEXTS)
        if name != "at work":
            os.utime(spool, (time.time() - 90_000,) * 2)
    assert module.forget_killed(cache) == 2
    assert [name for name, spool in spools.items() if spool.exists()] == ["at work", "record"]
    Recorder(tmp_path / "r", spools["record"]).model.encode("new")  # each write is a sign of life
    assert time.time() - spools["record"].stat().st_mtime < 60_000


def test_recordings_that_cannot_be_written_leave_the_spool(place: tuple[Path, Path]) -> None:
    """Where a file stands in the way, nothing is lost: the next run merges it."""
    run = Recorder(*place)
    run.model.encode("a")
    place[0].write_text("in the way")
    with pytest.raises(OSError, match=r"."):
        run.finish()
    place[0].unlink()
    assert run.finish().new == {"m": 1}


def test_a_spool_that_cannot_be_written_is_an_error(place: tuple[Path, Path]) -> None:
    """A run that records does not go on without recording."""
    place[1].write_text("in the way")
    with pytest.raises(StoreError, match="--embedcache-dir"):
        Recorder(*place).model.encode("a")


def test_files_have_the_users_mode(place: tuple[Path, Path]) -> None:
    """They are for a repository, not for a private cache."""
    record(*place, "a")
    plain = place[0] / "plain"
    plain.touch()
    for name in contents(place[0]):
        assert (place[0] / name).stat().st_mode == plain.stat().st_mode


def test_an_interrupted_call_keeps_what_it_has_computed(place: tuple[Path, Path]) -> None:
    """Each text is in the spool before the next is computed."""
    run = Recorder(*place)

    def interrupt(texts: object) -> None:
        if len(run.inner().batches) == 4:
            raise KeyboardInterrupt

    run.inner().before = interrupt
    with pytest.raises(KeyboardInterrupt):
        run.model.encode(TEXTS)
    assert run.finish().new == {"m": 3}


def test_threads_record_each_text_once(place: tuple[Path, Path]) -> None:
    """Eight threads that ask for the same texts leave one file for each."""
    run = Recorder(*place)
    gate = threading.Barrier(8)

    def work() -> None:
        gate.wait()
        run.model.encode(TEXTS)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.inner().batches) == [[text] for text in TEXTS]
    assert run.finish().new == {"m": len(TEXTS)}


def test_the_number_of_threads_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the last who leaves, with several inside, and also after an error."""

    class Torch:
        def __init__(self) -> None:
            self.threads = 7
            self.seen: list[int] = []

        def get_num_threads(self) -> int:
            return self.threads

        def set_num_threads(self, number: int) -> None:
            self.threads = number
            self.seen.append(number)

    torch = Torch()
    monkeypatch.setitem(sys.modules, "torch", torch)
    with one_thread():
        assert torch.threads == 1
        with one_thread():
            assert torch.threads == 1
        assert torch.threads == 1
    assert torch.threads == 7
    with pytest.raises(KeyError), one_thread():
        raise KeyError
    assert torch.seen == [1, 7, 1, 7]
