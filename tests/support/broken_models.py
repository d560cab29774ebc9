"""For each check of `EmbeddingModelContract` a model on which it fails, and no other check."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pytest_embedcache.errors import EncodeError
from pytest_embedcache.testing.fake_model import FakeEmbeddingModel

BROKEN: dict[str, Callable[[], Sound]] = {}


class Sound:
    """Keeps every promise; its parts are for others to break."""

    def __init__(self) -> None:
        self.engine = FakeEmbeddingModel(kind="hash", dimension=16)
        self.loads = 0
        self.lock = threading.Lock()

    @property
    def faults(self) -> Any:
        return self.engine.faults

    def load(self) -> None:
        with self.lock:
            self.loads = self.loads or 1

    def read(self, inputs: Any) -> tuple[list[str], bool]:
        if isinstance(inputs, str):
            return [inputs], True
        if not isinstance(inputs, list | tuple | np.ndarray):
            raise ValueError(f"texts, not {type(inputs).__name__}")
        return list(inputs), False

    def encode(self, inputs: Any, task: str | None = None, **options: Any) -> Any:
        self.load()
        texts, single = self.read(inputs)
        if not texts:
            return self.nothing()
        rows = self.rows(texts, task, options)
        return rows[0] if single else rows

    def nothing(self) -> np.ndarray:
        return np.empty(0, np.float32)

    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        rows: np.ndarray = self.engine.encode(texts, task=task, **options)
        if len(rows) != len(texts):
            raise EncodeError("sound", len(texts), rows.shape)
        return rows

    def encode_query(self, inputs: Any) -> Any:
        return self.encode(inputs, "query")

    def encode_document(self, inputs: Any) -> Any:
        return self.encode(inputs, "document")

    async def aencode(self, inputs: Any) -> Any:
        return await asyncio.to_thread(self.encode, inputs)

    def get_embedding_dimension(self) -> int:
        return 16


def on(check: str) -> Callable[[type[Sound]], type[Sound]]:
    def add(cls: type[Sound]) -> type[Sound]:
        BROKEN[check] = cls
        return cls

    return add


def wrong(
    check: str, where: Callable[[Sequence[str]], bool], how: Callable[[np.ndarray], np.ndarray]
) -> None:
    """A model whose rows come out wrong for some texts."""

    class Wrong(Sound):
        def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
            rows = super().rows(texts, task, options)
            return how(rows) if where(texts) else rows

    BROKEN[check] = Wrong


def raising(check: str, where: Callable[[Sequence[str]], bool]) -> None:
    """A model that cannot read some texts."""

    class Raising(Sound):
        def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
            if where(texts):
                raise RuntimeError("such a text cannot be read")
            return super().rows(texts, task, options)

    BROKEN[check] = Raising


def about(word: str) -> Callable[[Sequence[str]], bool]:
    return lambda texts: word in texts[0]


def _with_nan(rows: np.ndarray) -> np.ndarray:
    rows[0, 0] = np.nan
    return rows


wrong("test_a_list_of_texts_gives_one_row_for_each", about("shape"), lambda rows: rows[:-1])
wrong("test_vectors_are_arrays_of_float32", about("float32"), lambda rows: rows.astype(np.float64))
wrong("test_all_components_are_finite", about("finite"), _with_nan)
wrong("test_vectors_are_of_unit_length", about("unit"), lambda rows: 2 * rows)
wrong(
    "test_different_texts_have_different_vectors",
    about("mice"),
    lambda rows: np.repeat(rows[:1], len(rows), axis=0),
)
wrong(
    "test_a_vector_does_not_depend_on_its_batch",
    lambda texts: len(texts) > 40,
    lambda rows: np.asarray(rows - rows.mean(axis=0)),
)
raising("test_the_empty_text_has_a_vector", lambda texts: "" in texts)
raising("test_a_long_text_has_a_vector", lambda texts: max(map(len, texts)) > 10_000)
raising(
    "test_every_kind_of_unicode_has_a_vector",
    lambda texts: any(ord(c) > 0xFFFF for text in texts for c in text),
)
wrong(
    "test_threads_get_the_vectors_of_their_own_texts",
    lambda texts: threading.current_thread() is not threading.main_thread() and len(texts) > 5,
    lambda rows: np.roll(rows, 1, axis=0),
)


@on("test_a_single_text_gives_one_vector")
class KeepsTheAxis(Sound):
    def encode(self, inputs: Any, task: str | None = None, **options: Any) -> Any:
        kept = [inputs] if isinstance(inputs, str) and inputs == "a single text" else inputs
        return super().encode(kept, task, **options)


@on("test_the_dimension_is_what_it_says")
class SaysAnotherDimension(Sound):
    def get_embedding_dimension(self) -> int:
        return 17


@on("test_tuples_and_arrays_are_batches_too")
class TakesATupleForOne(Sound):
    def read(self, inputs: Any) -> tuple[list[str], bool]:
        return super().read(list(inputs)[:1] if isinstance(inputs, tuple) else inputs)


@on("test_the_same_call_gives_the_same_vectors")
class IsNotDeterministic(Sound):
    calls = 0

    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        self.calls += 1
        rows = super().rows(texts, task, options)
        return rows * self.calls if "determinism" in texts[0] else rows


@on("test_row_i_is_the_vector_of_text_i")
class ReturnsTheLongestFirst(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        rows = super().rows(texts, task, options)
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        return rows[order] if texts[0] == "short" else rows


@on("test_a_text_given_twice_has_its_vector_twice")
class DropsDuplicates(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        distinct = list(dict.fromkeys(texts))
        if len(distinct) == 1:
            return super().rows(texts, task, options)
        return super().rows(distinct, task, options)


@on("test_a_vector_does_not_depend_on_the_batch_size")
class DependsOnTheBatchSize(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        rows = super().rows(texts, task, options)
        return rows * 1.1 if options.get("batch_size") == 1 else rows


@on("test_no_texts_give_no_rows")
class CannotEncodeNothing(Sound):
    def nothing(self) -> np.ndarray:
        raise IndexError("list index out of range")


@on("test_texts_are_taken_exactly")
class Strips(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        return super().rows([t.strip() if isinstance(t, str) else t for t in texts], task, options)


@on("test_roles_take_what_encode_takes")
class ReversesInARole(Sound):
    def encode_query(self, inputs: Any) -> Any:
        found = super().encode_query(inputs)
        return found if isinstance(inputs, str) else found[::-1]


@on("test_a_query_is_not_a_document")
class ForgetsTheRole(Sound):
    def encode_query(self, inputs: Any) -> Any:
        return self.encode_document(inputs)


@on("test_truncation_keeps_the_first_components")
class KeepsTheLastComponents(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        cut = options.get("truncate_dim")
        if cut is None or options.get("normalize_embeddings"):
            return super().rows(texts, task, options)
        return super().rows(texts, task, {**options, "truncate_dim": None})[:, -cut:]


@on("test_normalising_gives_unit_length")
class NormalisesBeforeItCuts(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        return super().rows(texts, task, {**options, "normalize_embeddings": False})


@on("test_a_returned_array_is_the_callers")
class HandsOutItsCache(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.cache: dict[Any, np.ndarray] = {}

    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        key = (tuple(texts), task, str(options))
        if key not in self.cache:
            self.cache[key] = super().rows(texts, task, options)
        return self.cache[key]


@on("test_rows_of_one_text_are_apart")
class SharesRows(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        rows = super().rows(texts, task, options)
        if len(set(texts)) > 1 or len(texts) == 1:
            return rows
        return np.lib.stride_tricks.as_strided(rows, rows.shape, (0, rows.strides[1]))


@on("test_the_callers_list_is_left_alone")
class SortsTheCallersList(Sound):
    def encode(self, inputs: Any, task: str | None = None, **options: Any) -> Any:
        found = super().encode(inputs, task, **options)
        if isinstance(inputs, list) and "z" in inputs:
            inputs.sort(key=len)
        return found


@on("test_sync_and_async_agree")
class ReversesWhenAwaited(Sound):
    async def aencode(self, inputs: Any) -> Any:
        return (await super().aencode(inputs))[::-1]


@on("test_it_is_loaded_once_for_everybody")
class LoadsOnceAThread(Sound):
    def __init__(self) -> None:
        super().__init__()
        self.local = threading.local()

    def load(self) -> None:
        with self.lock:
            self.loads += not hasattr(self.local, "loaded")
            self.local.loaded = True


@on("test_what_is_no_text_is_refused")
class EncodesTheNameOfNone(Sound):
    def read(self, inputs: Any) -> tuple[list[str], bool]:
        texts, single = super().read(str(inputs) if inputs is None else inputs)
        return [text if isinstance(text, str) else str(text) for text in texts], single


@on("test_an_error_behind_it_is_the_callers")
class HidesTheError(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        try:
            return super().rows(texts, task, options)
        except ConnectionError:
            raise RuntimeError("something went wrong") from None


@on("test_an_error_passes")
class StaysBroken(Sound):
    error: Exception | None = None

    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        if self.error is not None:
            raise self.error
        try:
            return super().rows(texts, task, options)
        except ConnectionError as error:
            self.error = error
            raise


@on("test_a_short_answer_is_an_error")
class TakesWhatItGets(Sound):
    def rows(self, texts: list[str], task: str | None, options: dict[str, Any]) -> np.ndarray:
        rows: np.ndarray = self.engine.encode(texts, task=task, **options)
        return rows
