"""The models of a host: loaded on demand, each behind what makes batches of its callers' texts."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from pytest_embedcache.errors import HostError
from pytest_embedcache.models.batching import Batcher
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.limits import free_memory
from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.spec import ModelSpec

__all__ = ["Held", "Holding", "peak_memory"]

#: Bytes of memory for each byte of weights, while a model is being built.
_PER_BYTE = 2.0
#: Seconds after the last step in which it counts that the processor is used.
_LONGEST_STEP = 3600.0


class Held:
    """One model, as its files were when it was asked for.

    Its vectors are those of these files and of nothing else: that is looked at around every call.

    Args:
        handle: The model.
        signature: Of the files.
        step: Called after every call of the model.
    """

    def __init__(
        self, handle: ModelHandle, signature: str, step: Callable[[], object] = lambda: None
    ) -> None:
        self.handle = handle
        self.signature = signature
        self.used = time.monotonic()
        self._step = step
        self.batcher = Batcher(self._encode, handle.asked_as)

    def check(self) -> None:
        """Raise `HostError` where the loaded model is not, or no longer, the one that is meant."""
        handle = self.handle
        if handle.signature != self.signature or handle.may_be_changed or handle.state():
            raise HostError("the model's files have changed")

    def _encode(self, texts: list[str], options: Mapping[str, Any]) -> Any:
        with self.handle.using() as model:
            self.check()
            plain = {"convert_to_numpy": True, "show_progress_bar": False}
            rows = model.encode(texts, **plain, **options)
            self._step()
            return rows


class Holding:
    """All models of a host.

    Args:
        registry: Loads them.
        memory: Bytes that are free; None where nobody knows.

    Attributes:
        asked: How many texts each worker has asked for, by its name.
    """

    def __init__(self, registry: ModelRegistry, memory: Any = free_memory) -> None:
        self.registry = registry
        self.asked: Counter[str] = Counter()
        self._memory = memory
        self._lock = threading.Lock()
        self._held: dict[str, Held] = {}
        self._steps = 0
        self._last_step = time.monotonic()
        self._worked = 0

    @property
    def progress(self) -> list[int]:
        """Another one whenever something was done: who waits sees that it goes on.

        What takes long in itself, as an export does, is seen by the processor's time; for an hour,
        since a loop that does not end needs it as well.
        """
        if time.monotonic() - self._last_step < _LONGEST_STEP:
            self._worked = int(time.process_time())
        return [self._steps, self._worked]

    def _step(self) -> None:
        self._steps += 1
        self._last_step = time.monotonic()

    def open(self, spec: ModelSpec, fingerprint: str, signature: str) -> tuple[str, Held]:
        """The model of a resolved spec, loaded, and the ticket with which it is asked.

        Raises:
            HostError: It is another model than the worker means.
            EmbedCacheError: It cannot be loaded.
        """
        ticket = f"{fingerprint}.{signature}.{spec.backend}.{spec.form}.{spec.device}.{spec.dtype}"
        # What one worker has seen in these files, another one need not have looked up again.
        held = self._held.get(ticket) or self._found(spec, fingerprint, signature, ticket)
        if not held.handle.is_loaded:
            self._make_room(held.handle.metadata.size)
        with held.handle.held():
            held.check()
        self._step()
        return ticket, held

    def _found(self, spec: ModelSpec, fingerprint: str, signature: str, ticket: str) -> Held:
        identity = self.registry.identify(spec)
        if (identity.fingerprint, identity.signature) != (fingerprint, signature):
            raise HostError("the model's files are not those that the worker sees")
        self._step()
        handle = self.registry.handle(spec)
        with self._lock:
            return self._held.setdefault(ticket, Held(handle, signature, self._step))

    def rows(
        self, ticket: str, texts: list[str], options: dict[str, Any], worker: str
    ) -> list[Any]:
        """The vectors of `texts`. Raises what the model does, and `HostError`."""
        held = self._held.get(ticket)
        if held is None:
            raise HostError("the model was not opened")
        with self._lock:
            self.asked[worker] += len(texts)
        held.used = time.monotonic()
        return held.batcher.rows(texts, options)

    def stats(self) -> dict[str, Any]:
        """What was loaded, who asked how much, and in which batches; in built-in types."""
        with self._lock:
            held = list(self._held.values())
        batches = [
            {"name": one.handle.spec.name, **one.batcher.batches.as_dict()}
            for one in held
            if one.batcher.batches.asked
        ]
        models = [
            row | {"loaded": self._is_loaded(row)}
            for row in self.registry.stats().as_dict()["models"]
        ]
        return {"models": models, "batches": batches, "asked": dict(self.asked)}

    def _is_loaded(self, row: Mapping[str, Any]) -> bool:
        asked = (row["name"], row["device"], row["backend"])
        specs = ((held.handle.spec, held.handle.is_loaded) for held in self._held.values())
        return any((s.name, s.device or "", s.backend) == asked and on for s, on in specs)

    def _make_room(self, size: int | None) -> None:
        """Unload what was not used for longest, while the memory would not do for one more."""
        with self._lock:
            others = sorted(self._held.values(), key=lambda held: held.used)
        for held in others:
            free = self._memory()
            if size is None or free is None or free >= size * _PER_BYTE:
                return
            held.handle.unload()


def peak_memory() -> int | None:
    """Bytes that this process had in memory at most; None where the system does not say."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
