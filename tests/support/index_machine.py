"""All backends at once, driven through random changes and compared with brute force."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pytest_embedcache.search import VectorIndex
from pytest_embedcache.search.backend import BACKENDS
from support.brute_force import nearest

DIMENSION = 4
#: So few values that there are zero vectors, duplicates, multiples and ties in every run.
VECTOR = st.lists(st.integers(-2, 2).map(float), min_size=DIMENSION, max_size=DIMENSION)
IDS = st.sets(st.integers(-5, 60), max_size=6)
Pairs = list[tuple[int, float]]
#: Enough for a structure to be asked, and not all rows scanned.
MANY = 90


class IndexMachine(RuleBasedStateMachine):
    """An index of each backend, which holds what `expected` holds."""

    metric = "cosine"
    backends = BACKENDS

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.expected: dict[int, list[float]] = {}
        self.indexes = {
            name: VectorIndex.open(
                self.folder / name, dimension=DIMENSION, metric=self.metric, vector_backend=name
            )
            for name in self.backends
        }

    def teardown(self) -> None:
        for index in self.indexes.values():
            index.close()
        shutil.rmtree(self.folder)

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        rows = np.random.default_rng(seed).integers(-2, 3, (MANY, DIMENSION)).astype(float)
        self.expected = {100 + n: row for n, row in enumerate(rows.tolist())}
        for index in self.indexes.values():
            index.add(list(self.expected), rows)
            index.rebuild()

    def change(self, how: str, ids: list[int], vectors: list[list[float]]) -> None:
        for index in self.indexes.values():
            getattr(index, how)(ids, vectors)
        self.expected |= dict(zip(ids, vectors, strict=True))

    @rule(data=st.data(), ids=IDS)
    def add(self, data: st.DataObject, ids: set[int]) -> None:
        new = [id for id in ids if id not in self.expected]
        self.change("add", new, [data.draw(VECTOR) for _ in new])

    @rule(data=st.data(), count=st.integers(1, 5))
    def update(self, data: st.DataObject, count: int) -> None:
        known = st.sampled_from(sorted(self.expected)) if self.expected else st.nothing()
        ids = data.draw(st.lists(known, unique=True, max_size=count)) if self.expected else []
        self.change("update", ids, [data.draw(VECTOR) for _ in ids])

    @rule(data=st.data(), ids=IDS)
    def put(self, data: st.DataObject, ids: set[int]) -> None:
        self.change("put", list(ids), [data.draw(VECTOR) for _ in ids])

    @rule(ids=st.sets(st.integers(-5, 100 + MANY), max_size=30))
    def remove(self, ids: set[int]) -> None:
        here = ids & set(self.expected)
        for index in self.indexes.values():
            assert index.remove(ids) == len(here)
        for id in here:
            del self.expected[id]

    @rule()
    def rebuild(self) -> None:
        for index in self.indexes.values():
            index.rebuild()
            assert index.stats().removed == 0

    @rule()
    def open_again(self) -> None:
        for name, index in list(self.indexes.items()):
            index.close()
            self.indexes[name] = VectorIndex.open(self.folder / name, vector_backend=name)

    @rule(query=VECTOR, k=st.integers(0, 12), modulus=st.integers(1, 4))
    def search(self, query: list[float], k: int, modulus: int) -> None:
        self.compare(query, k)
        for only in (lambda id: id % modulus == 0, {i for i in self.expected if i % modulus == 0}):
            self.compare(query, k, only)

    @rule(query=VECTOR)
    def search_everything(self, query: list[float]) -> None:
        self.compare(query, 1000)

    @rule(data=st.data())
    def find_similar(self, data: st.DataObject) -> None:
        if not self.expected:
            return
        id = data.draw(st.sampled_from(sorted(self.expected)))
        wanted = nearest(
            self.expected, self.expected[id], 5, self.metric, lambda other: other != id
        )
        for name, index in self.indexes.items():
            found = [(hit.id, round(hit.distance, 6)) for hit in index.find_similar(id, 5)]
            self.check(name, found, wanted, self.expected[id])

    def check(self, name: str, found: Pairs, wanted: Pairs, query: list[float]) -> None:
        if name != "approximate":
            assert found == wanted, name
            return
        # Others may be among them; but as many, their distances right, and in order.
        everything = dict(nearest(self.expected, query, 1000, self.metric))
        assert found == sorted(found, key=lambda pair: (pair[1], pair[0]))
        assert found == [(id, everything[id]) for id in dict(found)]
        assert len(found) == len(wanted)

    def compare(self, query: list[float], k: int, only: object = None) -> None:
        accepts = only if callable(only) else (lambda id: only is None or id in only)
        wanted = nearest(self.expected, query, k, self.metric, accepts)
        for name, index in self.indexes.items():
            hits = index.search(query, k, filter=only)
            self.check(name, [(hit.id, round(hit.distance, 6)) for hit in hits], wanted, query)

    @invariant()
    def holds_what_it_should(self) -> None:
        for name, index in self.indexes.items():
            assert index.ids().tolist() == sorted(self.expected), name
            kept = index.get(sorted(self.expected)).tolist()
            assert kept == [self.expected[id] for id in sorted(self.expected)], name
