"""Random use of several models by several processes' worth of caches, over stores that fail.

What is right is known without any of the code under test: a pure function of the model, its state,
the prompt, the role and the text (`support.encoders`).
"""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_embedcache.errors import StoreError
from pytest_embedcache.models.roles import prompt_name_of, prompts_as_loaded
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.sqlite import SqliteStore
from pytest_embedcache.vectors.store import StoreStats, VectorStore
from pytest_embedcache.vectors.tiered import TieredStore
from support.encoders import Files, PureBackend, PureModel, World

MODELS = {
    "plain": Files(weights="w"),
    "same size": Files(weights="v"),
    "prompts": Files(weights="w", prompts={"query": "q: ", "document": "d: ", "sts": "q"}),
    "default": Files(weights="u", prompts={"sts": "s: "}, default_prompt_name="sts", size=12),
    "router": Files(weights="w", has_roles=True, size=16),
    "short": Files(weights="w", truncate_dim=5),
}
#: Texts that are easily taken for each other, by somebody who normalises or concatenates.
ALIKE = (
    "",
    " ",
    "q",
    "q: ",
    "q: a",
    ": a",
    "a",
    "A",
    "a ",
    "\u00e9",
    "e\u0301",
    "s: ",
    "\0",
    "1",
    "\ud800",
)
ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: StoreError("flaky", "here", "it failed", "Try again."),
    lambda: OSError(28, "No space left on device"),
    lambda: sqlite3.OperationalError("database is locked"),
    lambda: TypeError("a bug"),
)


class Flaky:
    """A store that fails now and then, before it has done anything or after."""

    def __init__(self, store: VectorStore, dice: random.Random, share: float) -> None:
        self.name = store.name
        self._store = store
        self._dice = dice
        self._share = share

    def _perhaps(self) -> None:
        if self._dice.random() < self._share:
            raise self._dice.choice(ERRORS)()

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        self._perhaps()
        return self._store.get_many(fingerprint, keys)

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        self._perhaps()
        won = self._store.put_many(fingerprint, items)
        self._perhaps()
        return won

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        self._perhaps()
        return self._store.delete_many(fingerprint, keys)

    def clear(self, fingerprint: str | None = None) -> int:
        return self._store.clear(fingerprint)

    def stats(self) -> StoreStats:
        return self._store.stats()

    def close(self) -> None:
        self._store.close()


class Process(World):
    """A `World` over the SQLite file that all share, with a small memory that forgets."""

    def __init__(self, directory: Path, dice: random.Random) -> None:
        super().__init__(PureBackend(**MODELS))
        ticks = itertools.count()
        stores: list[VectorStore] = [
            MemoryStore(max_entries=dice.choice((50, 2000)), max_bytes=None),
            SqliteStore(directory),
        ]
        share = dice.choice((0.01, 0.05, 0.2))
        # A second passes with every look at the clock: what failed is soon tried again.
        self.cache = VectorCache(
            TieredStore(
                [Flaky(store, dice, share) for store in stores], clock=lambda: float(next(ticks))
            )
        )
        #: What the models of this process have to be, as the test changed them.
        self.truth = {name: PureModel(files) for name, files in MODELS.items()}

    def change_something(self, dice: random.Random) -> None:
        """Change the state of a model, put it back, or hand one out and change its weights."""
        name = dice.choice(list(MODELS))
        model, truth = self.model(name), self.truth[name]
        what = dice.randrange(8)
        if what < 3:
            model.max_seq_length = truth.max_seq_length = dice.choice((64, 7, 8))
        elif what < 5:
            model.truncate_dim = truth.truncate_dim = dice.choice(
                (MODELS[name].truncate_dim, 3, None)
            )
        elif what < 7:
            prompt = dice.choice(("x: ", "q: ", ""))
            model.prompts["query"] = truth.prompts["query"] = prompt
        else:
            weights = f"changed {dice.randrange(3)}"
            model.unwrap().weights = truth.weights = weights

    def forget_something(self, dice: random.Random) -> None:
        """Let the stores forget some texts of a model, or all of it, as far as they can."""
        model = self.model(dice.choice(list(MODELS)))
        try:
            if dice.random() < 0.2:
                model.clear()
            else:
                model.invalidate([text_of(dice) for _ in range(dice.randrange(1, 20))])
        except tuple({type(make()) for make in ERRORS}):
            pass  # the store's own: it may have forgotten nothing

    def counts(self) -> Counter[str]:
        """Everything that was counted, over all models."""
        sums: Counter[str] = Counter()
        for tally in self.cache.tallies.as_dict().values():
            for name, value in tally.items():
                sums.update(value if name == "found" else {name: value})
        sums["errors"] = self.cache.store.stats().errors if self.cache.store else 0
        return sums


def text_of(dice: random.Random) -> str:
    """One of some four hundred texts; a few are asked for often."""
    if dice.random() < 0.2:
        return dice.choice(ALIKE)
    return f"text {int(dice.paretovariate(0.4)) % 400}"


def check_a_call(process: Process, dice: random.Random) -> int:
    """Make one random call, compare every byte of its result, and return how many vectors it had.

    Raises AssertionError for a wrong one.
    """
    name = dice.choice(list(MODELS))
    truth = process.truth[name]
    single = dice.random() < 0.1
    texts = [text_of(dice) for _ in range(1 if single else dice.randrange(1, 80))]
    options: dict[str, Any] = {}
    if dice.random() < 0.2:
        options["normalize_embeddings"] = True
    if dice.random() < 0.2:
        options["truncate_dim"] = dice.choice((1, 3, 4, 1000))
    if dice.random() < 0.2:
        options["prompt"] = dice.choice(("", "q", "q: ", "x: "))
    elif truth.prompts and dice.random() < 0.2:
        options["prompt_name"] = dice.choice(list(truth.prompts))
    if dice.random() < 0.2:
        options["batch_size"] = dice.randrange(1, 50)
    role = dice.choice((None, None, "query", "document"))
    method = "encode" if role is None else f"encode_{role}"
    inputs: Any = texts[0] if single else dice.choice((list, tuple, np.array))(texts)
    if isinstance(inputs, np.ndarray):
        texts = inputs.tolist()  # numpy strips NULs at the end
    found = getattr(process.model(name), method)(inputs, **options)
    expected = np.stack([_row(truth, text, role, options) for text in texts])
    if single:
        expected = expected[0]
    asked = (name, method, options, texts)
    assert found.shape == expected.shape, asked
    assert found.dtype == np.float32, asked
    assert found.tobytes() == expected.tobytes(), asked
    found[...] = -1  # the caller's to write into
    return len(texts)


def _row(truth: PureModel, text: str, role: str | None, options: Mapping[str, Any]) -> np.ndarray:
    prompt = options.get("prompt")
    name = options.get("prompt_name")
    if prompt is None:
        if name is None and role is not None:
            name = prompt_name_of(role, truth.prompts)
            prompt = "" if name is None else None
        elif name is None:
            name = truth.default_prompt_name
        prompt = truth.prompts[name] if prompt is None and name is not None else prompt or ""
    cut = options.get("truncate_dim", truth.truncate_dim)
    task = role if truth.has_roles else None
    return truth.row(text, prompt, task, cut, bool(options.get("normalize_embeddings")))


def fuzz(directory: Path, seed: int, vectors: int, *, threads: int = 4) -> Counter[str]:
    """Compare at least `vectors` vectors, and return what was counted on the way.

    In rounds: processes are opened anew, models are changed, stores forget; then threads make
    calls, in which nothing is changed that decides a vector.
    """
    assert prompts_as_loaded({}) == PureModel(Files()).prompts
    dice = random.Random(seed)
    sums: Counter[str] = Counter()
    processes = [Process(directory, random.Random(dice.random())) for _ in range(3)]
    failures: list[BaseException] = []
    compared = [0] * threads

    def work(number: int, own: random.Random) -> None:
        try:
            for _ in range(10):
                compared[number] += check_a_call(own.choice(processes), own)
                if own.random() < 0.05:
                    own.choice(processes).forget_something(own)
        except BaseException as error:
            failures.append(error)

    while sum(compared) < vectors and not failures:
        for number, process in enumerate(processes):
            if dice.random() < 0.15:
                sums += process.counts()
                process.cache.close()
                processes[number] = Process(directory, random.Random(dice.random()))
            elif dice.random() < 0.3:
                process.change_something(dice)
        workers = [
            threading.Thread(target=work, args=(number, random.Random(dice.random())))
            for number in range(threads)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for process in processes:
        sums += process.counts()
        process.cache.close()
    if failures:
        raise failures[0]
    sums["compared"] = sum(compared)
    return sums
