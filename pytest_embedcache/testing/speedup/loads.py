"""The promise about loads: a model that is warm gives its vector sooner than one that is cold."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import SpeedupError
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.speedup.child import TEXT, run_child
from pytest_embedcache.testing.speedup.gate import MAX_SECONDS, measure
from pytest_embedcache.testing.speedup.result import Speedup

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.cache import VectorCache

__all__ = ["measure_warm_load", "memory_cache", "warm_load_speedup"]

#: For ten rounds with a fresh interpreter each, which imports torch.
FRESH_SECONDS = 120.0


def memory_cache() -> VectorCache:
    """A vector store of its own, in memory, that is in nobody's history."""
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.memory import MemoryStore
    from pytest_embedcache.vectors.tiered import TieredStore

    cache = VectorCache(TieredStore([MemoryStore()]))
    cache.in_history = False
    return cache


def warm_load_speedup(model: str | ModelSpec, *, at_least: float = 10.0, **options: Any) -> Speedup:
    """`measure_warm_load`, and fail unless the speed-up was reached.

    Raises:
        SpeedupError: It was not, or not surely; or a model was loaded more or less often than once.
    """
    found = measure_warm_load(model, at_least=at_least, **options)
    if not found.passed:
        raise SpeedupError(found.outcome, "\n".join(found.lines()))
    return found


def measure_warm_load(
    model: str | ModelSpec,
    *,
    at_least: float = 10.0,
    fresh_process: bool = False,
    make_registry: Callable[[], ModelRegistry] | None = None,
    cache_dir: str | None = None,
    **options: Any,
) -> Speedup:
    """How much sooner a vector is there from a warm model: from first vector to first vector.

    Cold is a fresh registry and an empty store, in which the model is loaded and the vector
    computed; with `fresh_process=True` a fresh interpreter, start and imports included. Warm is the
    same call to the same model once more. Neither touches the machine's vector store. Files that
    the operating system has in memory stay there. `options` are those of `measure`.

    Raises:
        SpeedupError: A cold round did not load the model exactly once, or a warm one loaded it.
        ModelLoadError: A fresh interpreter could not.
    """
    spec = ModelSpec(model) if isinstance(model, str) else model
    sides = _Loads(spec, make_registry, cache_dir)
    options.setdefault("max_seconds", FRESH_SECONDS if fresh_process else MAX_SECONDS)
    sides.warm()  # loads the model, if the first round does not find it loaded
    found = measure(
        sides.fresh if fresh_process else sides.cold,
        sides.warm,
        at_least=at_least,
        baseline_setup=None if fresh_process else sides.reset,
        **options,
    )
    sides.check()
    return found


class _Loads:
    """The two sides, and the loads that each made."""

    def __init__(
        self,
        spec: ModelSpec,
        make_registry: Callable[[], ModelRegistry] | None,
        cache_dir: str | None,
    ) -> None:
        from pytest_embedcache.models.registry import ModelRegistry
        from pytest_embedcache.vectors.api import cached_model

        self._spec, self._directory = spec, cache_dir
        self._make = make_registry or (lambda: ModelRegistry(cache_dir=cache_dir))
        self._model_of = cached_model
        self._loads: list[int] = []
        self._cold: ModelRegistry | None = None
        self._warm = self._make()
        self._warm_model = cached_model(self._warm, memory_cache(), spec)

    def reset(self) -> None:
        """Drop the last cold model; the next registry knows nothing."""
        if self._cold is not None:
            self._loads.append(self._cold.stats().loads)
            self._cold.clear()
        self._cold = self._make()
        self._cold_cache = memory_cache()

    def cold(self) -> None:
        assert self._cold is not None
        self._model_of(self._cold, self._cold_cache, self._spec).encode([TEXT])

    def fresh(self) -> None:
        self._loads.append(run_child(self._spec, self._directory)["loads"])

    def warm(self) -> None:
        self._warm_model.encode([TEXT])

    def check(self) -> None:
        if self._cold is not None:
            self.reset()
        if wrong := [count for count in self._loads if count != 1]:
            raise SpeedupError(
                "loads",
                f"{len(wrong)} of {len(self._loads)} cold rounds loaded {self._spec.name!r} "
                f"{wrong[0]} times and not once",
            )
        loads = self._warm.stats().loads
        self._warm.clear()
        if loads > 1:
            raise SpeedupError(
                "loads", f"the warm model {self._spec.name!r} was loaded {loads} times and not once"
            )
