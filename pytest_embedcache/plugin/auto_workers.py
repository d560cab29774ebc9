"""How many workers `-n auto` may be, where each of them loads a model of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_embedcache.models.accelerators import accelerators
from pytest_embedcache.models.backends import BACKENDS, Describing
from pytest_embedcache.models.limits import free_memory
from pytest_embedcache.models.strategies import STRATEGIES
from pytest_embedcache.plugin.table import Mode
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.plugin.settings import Settings

__all__ = ["fitting"]

_MB = 10**6
#: Of a worker that has imported what it needs, by backend, without the weights; and of a context on
#: an accelerator. As measured with all-MiniLM-L6-v2: 565 and 185 MB, of which 90 are weights.
_LIBRARIES = {"torch": 475 * _MB, "onnx": 95 * _MB}
_CONTEXT = 500 * _MB
#: Bytes for each byte of weights: the weights, and what a batch makes of them.
_PER_BYTE = 1.5


def fitting(
    settings: Settings,
    workers: int,
    memory: int | None = None,
    on_device: int | None = None,
) -> int:
    """`workers`, or as many as have room for the run's model each; at least one.

    `memory` and `on_device` are bytes that are free, in the machine and on the accelerator; None
    asks. Where a host has the models, where none is needed, or where nobody knows, there is no cap.
    """
    if settings.host != "off" or settings.mode in (Mode.FAKE, Mode.REPLAY) or settings.no_models:
        return workers
    backend = STRATEGIES[settings.strategy].kind(None, None, chosen=True)[0]
    weights = _weights(ModelSpec(settings.model, backend="torch", device=settings.device))
    needed = _LIBRARIES.get(backend, 0) + _PER_BYTE * weights
    if (free := free_memory() if memory is None else memory) is not None:
        workers = min(workers, int(free // max(1, needed)))
    if backend == "torch" and settings.device not in ("cpu", "mps"):
        free = _free_on_device(settings.device) if on_device is None else on_device
        if free is not None:
            workers = min(workers, int(free // (_CONTEXT + _PER_BYTE * weights)))
    return max(1, workers)


def _weights(spec: ModelSpec) -> int:
    """Bytes of a model's weights; 0 where its files are not here, and it is to be fetched."""
    backend = BACKENDS[spec.backend]
    found = backend.metadata(spec) if isinstance(backend, Describing) else None
    return (found.size or 0) if found is not None else 0


def _free_on_device(device: str | None) -> int | None:
    """Bytes of the accelerator that is meant; None where nobody tells, or there is none."""
    named = [a for a in accelerators() if device is None or a.device.startswith(device)]
    return named[0].memory_free if named else None
