"""`ResourceProfile`: what the machine has for models, and what follows from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from pytest_embedcache.installed import installed_version
from pytest_embedcache.models.accelerators import Accelerator, accelerators
from pytest_embedcache.models.disks import Disk, disk_of
from pytest_embedcache.models.limits import free_memory
from pytest_embedcache.models.resources import usable_cores

if TYPE_CHECKING:
    from pytest_embedcache.models.metadata import ModelMetadata

__all__ = ["Advice", "ResourceProfile"]

#: Padded tokens of one batch: on a CPU a larger one takes memory and no less time.
MOST_ON_CPU = 2048
MOST_ON_ACCELERATOR = 65536
LEAST = 256
#: Of what is free, for the intermediate results of one batch.
SHARE = 0.25
_FLOAT32 = 4
_GIB = 2**30


@dataclass(frozen=True)
class Advice:
    """A recommendation, and its reasons, one sentence each."""

    value: Any
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.value} ({'; '.join(self.reasons)})"


@dataclass(frozen=True)
class ResourceProfile:
    """What this process may use; asked once, by `here`, without importing torch.

    Attributes:
        cores: Usable ones: affinity and a container's quota are considered.
        memory_free: Bytes, a container's limit considered; None where the system does not say.
        accelerators: Devices that this process sees, the best first.
        disk: That of the cache directory.
        torch: The version that is installed, None without one.
    """

    cores: int
    memory_free: int | None
    accelerators: tuple[Accelerator, ...]
    disk: Disk
    torch: str | None

    @classmethod
    def here(cls, directory: str | os.PathLike[str] | None = None) -> Self:
        """As it is now; `directory` is the cache directory, None the default one."""
        from pytest_embedcache.files import cache_directory

        return cls(
            cores=usable_cores(),
            memory_free=free_memory(),
            accelerators=accelerators(),
            disk=disk_of(cache_directory(directory)),
            torch=installed_version("torch"),
        )

    def recommended_device(self) -> Advice:
        """The device for a `ModelSpec`: an accelerator where there is one that torch can use."""
        if not self.accelerators:
            return Advice("cpu", ("no accelerator is to be seen",))
        best = self.accelerators[0]
        if self.torch is None:
            return Advice("cpu", (f"{best.name} is there, but torch is not installed",))
        if self.torch.endswith("+cpu") and best.device != "mps":
            reason = f"{best.name} is there, but torch {self.torch} is built for the CPU alone"
            return Advice("cpu", (reason,))
        reasons = [f"{best.name} is there"]
        if best.memory_free is not None:
            reasons.append(f"{best.memory_free / _GIB:.1f} GiB of its memory are free")
        return Advice(best.device, tuple(reasons))

    def recommended_batch_size(self, model: Any, device: str | None = None) -> Advice:
        """How many padded tokens one batch should have at most.

        The texts of a batch are padded to the longest: `value // longest` is how many to put
        together. `model` is a name, a `ModelMetadata`, or anything that has it as `metadata`.
        The need of a token is estimated, in float32: what one layer holds at a time is about six
        times the hidden width, twice the inner one, which is four times that, and two rows of
        attention for every head of 64 columns. A quarter of the free memory is given to that.
        """
        facts = _metadata(model)
        width = facts.dimension or 768
        longest = min(facts.max_seq_length or 512, 8192)
        heads = max(1, width // 64)
        per_token = _FLOAT32 * (6 * width + 2 * 4 * width + 2 * heads * longest)
        chosen = device or str(self.recommended_device().value)
        free, most = self.memory_free, MOST_ON_CPU
        if chosen != "cpu":
            found = next((a for a in self.accelerators if a.device == chosen), None)
            free = found.memory_free if found is not None else None
            most = MOST_ON_ACCELERATOR
        reasons = [
            f"a token of {width} columns and up to {longest} tokens takes about "
            f"{per_token / 1024:.0f} KiB"
        ]
        budget = most
        if free is None:
            budget = min(most, MOST_ON_CPU)
            reasons.append(f"how much memory of {chosen} is free is not known")
        elif (fitting := int(free * SHARE / per_token)) < most:
            budget = fitting
            reasons.append(f"a quarter of the free {free / _GIB:.1f} GiB holds {fitting}")
        elif chosen == "cpu":
            reasons.append("more at a time takes memory, and no less time, on a CPU")
        if budget < max(LEAST, longest):
            budget = max(LEAST, longest)
            reasons.append("one text of full length has to fit")
        return Advice(budget, tuple(reasons))

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types."""
        from dataclasses import asdict

        return asdict(self)


def _metadata(model: Any) -> ModelMetadata:
    if isinstance(model, str | os.PathLike):
        from pytest_embedcache.models.registry import default_registry

        return default_registry().metadata(os.fspath(model))
    found: ModelMetadata = getattr(model, "metadata", model)
    return found
