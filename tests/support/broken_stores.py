"""For each check of `VectorStoreContract` a store on which it fails, and no other check."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.store import StoreStats

Found = dict[bytes, np.ndarray]

BROKEN: dict[str, Callable[[], MemoryStore]] = {}


def on(check: str) -> Callable[[type[MemoryStore]], type[MemoryStore]]:
    def add(cls: type[MemoryStore]) -> type[MemoryStore]:
        BROKEN[check] = cls
        return cls

    return add


def in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def frozen(vector: np.ndarray) -> np.ndarray:
    vector = vector.copy()
    vector.flags.writeable = False
    return vector


@on("test_it_has_the_methods_of_the_protocol")
class Nameless(MemoryStore):
    name = ""


@on("test_an_empty_store_finds_nothing")
class FindsInAnEmptyStore(MemoryStore):
    touched = False

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        self.touched = True
        return super().put_many(fingerprint, items)

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        return found if self.touched else {key: np.zeros(1, np.float32) for key in keys}


@on("test_what_was_put_is_found_bit_for_bit")
class FlushesSubnormals(MemoryStore):
    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        return {k: frozen(np.where(abs(v) < 1e-40, np.float32(0), v)) for k, v in found.items()}


@on("test_only_what_is_there_is_found")
class FillsMissesWithZeros(MemoryStore):
    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        return found if len(keys) <= 10 else {k: found.get(k, np.zeros(1, "f4")) for k in keys}


@on("test_the_order_of_keys_does_not_matter")
class AnswersInItsOwnOrder(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.order: list[bytes] = []

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        self.order += items
        return super().put_many(fingerprint, items)

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        if len(keys) <= 20:
            return found
        rows = [found[key] for key in self.order if key in found]
        return dict(zip(keys, rows, strict=False))


@on("test_a_key_given_twice_is_found_once")
class LosesDuplicates(MemoryStore):
    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        return {k: v for k, v in found.items() if list(keys).count(k) == 1 or len(keys) > 100}


@on("test_an_empty_batch_is_nothing")
class RefusesAnEmptyBatch(MemoryStore):
    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        if not keys:
            raise ValueError("no keys")
        return super().delete_many(fingerprint, keys)


@on("test_a_large_batch_is_found_whole")
class ReadsAThousandAtMost(MemoryStore):
    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        return super().get_many(fingerprint, list(keys)[:999])


@on("test_dimensions_may_differ")
class CutsLongVectors(MemoryStore):
    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        cut = {k: v[:1024] if getattr(v, "ndim", 0) == 1 else v for k, v in items.items()}
        return super().put_many(fingerprint, cut)


@on("test_namespaces_are_apart")
class ForgetsTheNamespace(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.first = ""

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        self.first = self.first or fingerprint
        return super().put_many(fingerprint, items)

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        if fingerprint == self.first or not found:
            return found
        return {**found, **super().get_many(self.first, list(found))}


@on("test_found_vectors_cannot_be_changed")
class HandsOutWritableVectors(MemoryStore):
    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        return {k: v.copy() for k, v in super().get_many(fingerprint, keys).items()}


@on("test_later_changes_by_the_caller_change_nothing")
class KeepsTheCallersArrays(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.given: dict[tuple[str, bytes], np.ndarray] = {}

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        if len(items) == 4:
            self.given.update({(fingerprint, key): vector for key, vector in items.items()})
        return super().put_many(fingerprint, items)

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        return {key: self.given.get((fingerprint, key), row) for key, row in found.items()}


@on("test_the_first_writer_wins")
class LetsTheLastWriterWin(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        with self.lock:
            if len(items) == 2:
                super().delete_many(fingerprint, list(items))
            return super().put_many(fingerprint, items)


@on("test_putting_the_same_again_returns_nothing")
class ReturnsWhatWasThere(MemoryStore):
    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        there = super().get_many(fingerprint, list(items)) if len(items) == 3 else {}
        return {**super().put_many(fingerprint, items), **there}


@on("test_a_vector_that_is_not_finite_is_refused")
class DropsWhatIsNotFinite(MemoryStore):
    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        return super().put_many(
            fingerprint, {k: v for k, v in items.items() if np.isfinite(v).all()}
        )


@on("test_what_is_no_vector_is_refused")
class ConvertsWhatIsNoVector(MemoryStore):
    def put_many(self, fingerprint: str, items: Mapping[bytes, Any]) -> Found:
        made = {key: np.asarray(vector, np.float32).reshape(-1) for key, vector in items.items()}
        return super().put_many(fingerprint, {k: v for k, v in made.items() if v.size})


@on("test_a_strided_vector_is_stored_as_what_it_shows")
class ReadsTheBufferBehind(MemoryStore):
    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        made = {key: _sorted(vector) for key, vector in items.items()}
        return super().put_many(fingerprint, made)


def _sorted(vector: Any) -> Any:
    strided = isinstance(vector, np.ndarray) and vector.size and not vector.flags.c_contiguous
    return np.sort(vector) if strided else vector


@on("test_what_is_deleted_is_gone")
class CountsWhatWasAskedFor(MemoryStore):
    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        super().delete_many(fingerprint, keys)
        return len(keys)


@on("test_what_was_deleted_can_be_put_again")
class LeavesATombstone(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.dead: set[bytes] = set()

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        self.dead.update(keys)
        return super().delete_many(fingerprint, keys)

    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        return super().put_many(fingerprint, {k: v for k, v in items.items() if k not in self.dead})


@on("test_clear_empties_one_namespace")
class ClearsTheOthersToo(MemoryStore):
    def clear(self, fingerprint: str | None = None) -> int:
        count = super().clear(fingerprint)
        super().clear()
        return count


@on("test_clear_empties_everything")
class ClearsAndDoesNotCount(MemoryStore):
    def clear(self, fingerprint: str | None = None) -> int:
        count = super().clear(fingerprint)
        return count if fingerprint else 0


@on("test_stats_count_what_happened")
class CountsCallsNotKeys(MemoryStore):
    def stats(self) -> StoreStats:
        found = super().stats()
        return replace(found, misses=min(1, found.misses))


@on("test_stats_are_plain_values")
class HasAPathInItsStats(MemoryStore):
    def stats(self) -> StoreStats:
        found = super().stats()
        return replace(found, details={"path": Path("x")})


@on("test_closing_twice_is_fine")
class ClosesOnce(MemoryStore):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


@on("test_threads_may_read_and_write_at_once")
class MixesUpRowsInThreads(MemoryStore):
    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> Found:
        found = super().get_many(fingerprint, keys)
        if in_main_thread():
            return found
        return dict(zip(found, reversed(list(found.values())), strict=True))


@on("test_of_racing_writers_one_wins_for_all")
class TellsNoLoser(MemoryStore):
    def put_many(self, fingerprint: str, items: Mapping[bytes, np.ndarray]) -> Found:
        won = super().put_many(fingerprint, items)
        return won if in_main_thread() or len(items) > 1 else {}
