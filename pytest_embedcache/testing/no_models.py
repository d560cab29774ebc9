"""No real model is loaded: neither through a registry, nor by constructing the class itself."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from pytest_embedcache.errors import RealModelError
from pytest_embedcache.models import defaults
from pytest_embedcache.spec import ModelSpec

__all__ = ["NoModels"]

_PACKAGE = "sentence_transformers"
_CLASS = "SentenceTransformer"
#: Of the class as a whole: what constructs it has to be given another.
_CONSTRUCTED = (
    "Take the fixture fake_sentence_transformer, which puts a fake in the place of the class"
)
_ASKED = (
    "Take the fixture fake_embedding_model, or --embedcache-mode=fake for code that calls "
    "get_model, or fake_sentence_transformer"
)
#: They hold no weights: a service does.
_ELSEWHERE = frozenset(("fake", "openai", "remote"))


class NoModels:
    """Inside `forbidden()` loading a real model is a `RealModelError`.

    What is stored is found all the same, and a fake is no real model. Also a model that is loaded
    already may not be used through a registry or `get_model`: whether a test passes does not depend
    on which test ran before.

    Args:
        test: Names what runs now.
        exempt: How a test is let through; the end of the error.
    """

    def __init__(self, test: Callable[[], str], exempt: str = "") -> None:
        self._test = test
        self._exempt = exempt

    @contextmanager
    def forbidden(self) -> Iterator[None]:
        """Forbid inside."""
        previous, defaults.refuse = defaults.refuse, self._refuse_spec
        try:
            with _when_imported(self._watch):
                yield
        finally:
            defaults.refuse = previous

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Allow inside, what is forbidden outside."""
        previous, defaults.refuse = defaults.refuse, None
        try:
            yield
        finally:
            defaults.refuse = previous

    def _refuse_spec(self, spec: ModelSpec) -> None:
        if spec.backend not in _ELSEWHERE:
            self._refuse(spec.name, "through a registry or get_model", _ASKED)

    def _refuse(self, name: str, how: str, instead: str) -> None:
        raise RealModelError(name, self._test(), how, f"{instead}{self._exempt}.")

    def _watch(self, module: ModuleType) -> Callable[[], None]:
        """Guard the class of a module that is imported; returns what lifts it."""
        real = getattr(module, _CLASS, None)
        if not isinstance(real, type) or getattr(real, "embedcache_fake", False):
            return lambda: None  # a mock, or a fake
        if getattr(real, "embedcache_stand_in", False):
            return lambda: None  # to construct one loads nothing, and its load asks us
        original = real.__init__  # type: ignore[misc]
        inherited = "__init__" not in vars(real)

        def construct(instance: Any, *args: Any, **options: Any) -> None:
            # In a registry's load it is the registry that is asked.
            if defaults.refuse is not None and not getattr(instance, "embedcache_fake", False):
                name = args[0] if args else options.get("model_name_or_path", "…")
                self._refuse(str(name), f"{_CLASS}(…)", _CONSTRUCTED)
            original(instance, *args, **options)

        real.__init__ = construct  # type: ignore[misc]

        def lift() -> None:
            if real.__init__ is not construct:  # type: ignore[misc]
                return  # somebody came later, and puts back what he found
            if inherited:
                del real.__init__  # type: ignore[misc]
            else:
                real.__init__ = original  # type: ignore[misc]

        return lift


@contextmanager
def _when_imported(watch: Callable[[ModuleType], Callable[[], None]]) -> Iterator[None]:
    """Call `watch` with the package now, if it is imported, or else as soon as it is."""
    with ExitStack() as stack:
        module = sys.modules.get(_PACKAGE)
        if module is not None:
            stack.callback(watch(module))
        else:
            finder = _Finder(lambda found: stack.callback(watch(found)))
            sys.meta_path.insert(0, finder)
            stack.callback(finder.remove)
        yield


class _Finder:
    """Lets the package be found by those behind it, and is told when it has been executed."""

    def __init__(self, done: Callable[[ModuleType], object]) -> None:
        self._done = done
        self._looking = threading.local()

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _PACKAGE or getattr(self._looking, "now", False):
            return None
        self._looking.now = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._looking.now = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            self._done(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec

    def remove(self) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
