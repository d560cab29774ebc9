"""`EmbeddingManager`: how an application's class asks for its model.

It knows a name and a device, from the application's configuration, and leaves it to the registry
whether that model is loaded already.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache import ModelRegistry, ModelSpec, default_registry

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

#: What a configuration leaves out.
DEFAULTS = {"model": "all-MiniLM-L6-v2", "device": "cpu"}

#: sentence-transformers changes its tokenizer's settings within a call: one call at a time.
_encoding = threading.Lock()


class EmbeddingManager:
    """Embeds texts with the model that its configuration names.

    Args:
        config: `model` and `device`; what is left out is that of `DEFAULTS`.
        registry: Where to ask for the model; None is the process's own registry.

    Raises:
        ValueError: The configuration has a key that is not known.
    """

    def __init__(
        self, config: Mapping[str, str] | None = None, *, registry: ModelRegistry | None = None
    ) -> None:
        if unknown := sorted(set(config or {}) - set(DEFAULTS)):
            known = ", ".join(DEFAULTS)
            raise ValueError(f"unknown in the configuration: {', '.join(unknown)} (known: {known})")
        self.config = {**DEFAULTS, **(config or {})}
        self._registry = registry
        self._model: Any = None

    @property
    def model(self) -> Any:
        """The model: loaded at the first use, unless somebody had it loaded before."""
        # Two threads at once both ask, and get the same object. (functools.cached_property has
        # one lock for all instances before Python 3.12: one manager's load would stop the others.)
        if self._model is None:
            registry = default_registry() if self._registry is None else self._registry
            spec = ModelSpec(self.config["model"], device=self.config["device"])
            self._model = registry.get(spec)
            log.info("EmbeddingManager has '%s' on %s", spec.name, spec.device)
        return self._model

    def vector(self, text: str) -> np.ndarray:
        """The vector of one text: float32 of shape (dimension,)."""
        model = self.model  # loaded by one thread or by ten, but not while others wait to encode
        with _encoding:
            return model.encode(text, show_progress_bar=False)

    def vectors(self, texts: Sequence[str]) -> np.ndarray:
        """The vectors of several texts, in their order: float32 of shape (n, dimension)."""
        model = self.model
        with _encoding:
            return model.encode(list(texts), show_progress_bar=False)
