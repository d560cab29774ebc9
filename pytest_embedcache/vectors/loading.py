"""`preload`: a model that is ready when it is needed.

It returns in its first milliseconds, so this module imports next to nothing: the thread does.
"""

from __future__ import annotations

import os
import threading

from pytest_embedcache.models import background, defaults
from pytest_embedcache.models.strategies import short, strategy_named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pytest_embedcache.models.metadata import ModelMetadata
    from pytest_embedcache.models.strategies import Strategy
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["Preload", "get_embedding_provider", "preload", "preload_embeddings", "reset"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"


class Preload:
    """A model that is being made ready by a thread.

    Attributes:
        name, strategy: As they were given.
        error: Why there is no model, as text; None while there may be one.
    """

    def __init__(
        self, name: str, strategy: Strategy, options: dict[str, Any], *, pin: bool
    ) -> None:
        self.name = name
        self.strategy = strategy.name
        self.error: str | None = None
        self._row = strategy
        self._options = options
        self._pin = pin
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._known = threading.Event()
        self._done = threading.Event()
        self._metadata: ModelMetadata | None = None
        self._model: CachedModel | None = None
        self._failure: Exception | None = None
        self._stage = "about to begin"

    def __repr__(self) -> str:
        state = "under way" if not self.is_done else "failed" if self.error else "ready"
        return f"<Preload of {self.name!r}: {state}>"

    @property
    def is_done(self) -> bool:
        """Whether the model is ready, or there is none."""
        return self._done.is_set()

    def wait(self, timeout: float | None = 60.0) -> CachedModel:
        """The model, when it is ready.

        Raises:
            LoadTimeoutError: It is not, after `timeout` seconds; None waits as long as it takes.
            EmbedCacheError: It cannot be had.
        """
        self._here()
        if not self._done.wait(timeout):
            from pytest_embedcache.errors import LoadTimeoutError

            raise LoadTimeoutError(self.name, timeout or 0.0, f"a thread is {self._stage}")
        if self._failure is not None:
            raise self._failure
        assert self._model is not None
        return self._model

    @property
    def metadata(self) -> ModelMetadata:
        """What the model's configuration says; with `progressive`, before the load.

        Raises `EmbedCacheError` where there is no such model.
        """
        self._here()
        self._known.wait()
        if self._metadata is None:
            return self.wait(None).metadata
        return self._metadata

    def run(self) -> None:
        """Make the model ready, in this thread."""
        from pytest_embedcache.vectors.api import get_model

        try:
            self._stage = "finding its files"
            model = get_model(self.name, strategy=self.strategy, **self._options)
            if self._row.metadata_first:
                self._metadata = model.metadata
                self._known.set()
            if self.strategy != "lazy":
                self._stage = "loading it"
                model.ensure_loaded(pin=self._pin)
            self._model = model
        except Exception as error:
            self._failure = error
            self.error = f"{type(error).__name__}: {error}"
            background.say_failed(self.name, error)
        finally:
            self._known.set()
            self._done.set()

    def _here(self) -> None:
        """In a forked child the thread does not exist: what it had not done is done here."""
        if self._process != os.getpid() and not self.is_done:
            self._renew()
            self.run()


def preload(
    name: str | os.PathLike[str],
    *,
    strategy: str = "progressive",
    pin: bool = False,
    **options: Any,
) -> Preload:
    """Make the model `name` ready in a thread; returns at once.

    From then on `get_model(name)` is that model: a text that is not stored waits for it, once. With
    the strategy `lazy` its files are prepared and nothing is loaded. What goes wrong is logged, and
    is an error where the model is needed.

    Args:
        name: As in `get_model`.
        strategy: One of the table; `progressive` has the metadata before the model.
        pin: Keep it, however long nobody uses it.
        options: As in `get_model`.

    Raises:
        ModelSpecError: There is no such strategy.
    """
    row = strategy_named(strategy)
    text = os.fspath(name)
    defaults.preloaded[short(text)] = strategy
    found = Preload(text, row, options, pin=pin)
    background.start(found.run, f"preload {text}")
    return found


def preload_embeddings(
    name: str | None = None, *, strategy: str = "progressive", **options: Any
) -> Preload:
    """`preload` of `name`, or of the model that `EMBEDCACHE_MODEL` names, else all-MiniLM-L6-v2."""
    return preload(name or _default_model(), strategy=strategy, **options)


def get_embedding_provider(
    name: str | None = None,
    *,
    strategy: str = "progressive",
    timeout: float | None = 60.0,
    **options: Any,
) -> CachedModel | None:
    """The model, ready to encode, or None where there is none within `timeout` seconds.

    For callers who have another way, such as keywords: why there is none is in the log, and is no
    error. With the strategy `lazy` nothing is loaded, and what goes wrong in a load shows at the
    first text. `name` as in `preload_embeddings`.

    Raises:
        ModelSpecError: There is no such strategy.
    """
    from pytest_embedcache.errors import LoadTimeoutError

    preloaded = preload_embeddings(name, strategy=strategy, **options)
    try:
        return preloaded.wait(timeout)
    except LoadTimeoutError as error:
        import logging

        logging.getLogger(__name__).warning("No embeddings yet: %s", error)
    except Exception:  # whatever a model's own code may raise; it has been said
        pass
    return None


def reset() -> None:
    """Forget all models of the default registry, and what was preloaded how; for tests.

    Loads that are under way end first. Counts and stored vectors stay.
    """
    background.wait()
    defaults.preloaded.clear()
    defaults.environment = None
    from pytest_embedcache.models import registry

    if registry._default is not None:
        registry._default.clear()


def _default_model() -> str:
    return os.environ.get("EMBEDCACHE_MODEL") or DEFAULT_MODEL
