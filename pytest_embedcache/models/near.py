"""Who computes a model's vectors: this process, unless its handle knows another one that does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

__all__ = ["Near"]

T = TypeVar("T")


class Near(ABC):
    """The part of a handle that `models.backends.remote` does otherwise."""

    @abstractmethod
    def get(self, timeout: float | None = 60.0) -> Any:
        """The model, loaded in this process."""

    @abstractmethod
    def using(self, *, here: bool = True) -> AbstractContextManager[Any]:
        """It, for one thread at a time; where it need not be `here`, another process's will do."""

    def nearest(self) -> Any:
        """What computes its vectors, loaded: this process's model, or another one's."""
        return self.get(timeout=None)

    def is_elsewhere(self, model: Any) -> bool:
        """Whether what `nearest` gave is another process's."""
        return False

    def call(self, use: Callable[[Any], T]) -> T:
        """What `use` makes of the model, which need not be here as long as another's will do."""
        with self.using() as model:
            return use(model)
