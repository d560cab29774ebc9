"""Standing in for sentence-transformers."""

from __future__ import annotations

import functools
import importlib
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.dropin.asked import read_call, views_are_exact
from pytest_embedcache.dropin.deferred import deferred_class
from pytest_embedcache.dropin.lazy import LazyPackage
from pytest_embedcache.dropin.metaclass import StandInType
from pytest_embedcache.dropin.model import Model
from pytest_embedcache.dropin.shared import SharedModels
from pytest_embedcache.dropin.state import STATE, State, set_class
from pytest_embedcache.dropin.switch import Switch
from pytest_embedcache.errors import (
    FetchError,
    LockTimeoutError,
    ModelNotFoundError,
    ModelSpecError,
    ReplayModelError,
    SnapshotError,
)
from pytest_embedcache.models import defaults
from pytest_embedcache.models.backends.torch import BECOME_REAL
from pytest_embedcache.snapshot import locate
from pytest_embedcache.spec import ModelSpec

__all__ = ["SentenceTransformers"]

NAME = "sentence_transformers"
CLASS = "SentenceTransformer"
#: Where the class is to be had without the rest; the last one in versions before 5.4.
_HOMES = (
    NAME,
    f"{NAME}.sentence_transformer",
    f"{NAME}.sentence_transformer.model",
    f"{NAME}.{CLASS}",
)
#: Of other modules, what libraries import at their top and seldom use (BERTopic the first).
_DEFERRED = {
    f"{NAME}.sentence_transformer.modules": ("StaticEmbedding",),
    f"{NAME}.models": ("StaticEmbedding",),  # before 5.4
}
#: We have no such model: what the real class makes of it is the answer.
_FOR_THE_REAL_ONE = (
    *(FetchError, LockTimeoutError, ModelNotFoundError, ModelSpecError, SnapshotError),
)


class SentenceTransformers:
    """Gives `SentenceTransformer` a class that asks the vector store first.

    The package is imported when something of it is needed that is not that. Where it had been
    imported before, its class is patched, so that models made by other names are ours too.

    Args:
        shared: Finds the models.
        replaying: Whether there are recorded vectors and nothing else.
        faking: Whether every name is that of a fake.
        without: Whether to stand in also where sentence-transformers is not installed.
    """

    def __init__(
        self,
        shared: SharedModels | None = None,
        *,
        replaying: bool = False,
        faking: bool = False,
        without: bool = False,
    ) -> None:
        self.shared = shared or SharedModels()
        self.replaying = replaying
        self.faking = faking
        self._real: Any = None
        self._without = without
        self._switch: Switch | None = None
        self._package: LazyPackage | None = None
        #: The real constructor, and whether it is the class's own.
        self._original: tuple[Callable[..., None], bool] | None = None
        self._lock = threading.Lock()
        self._face: Any = None
        members = {
            "__module__": NAME,
            "__qualname__": CLASS,
            "__doc__": Model.__doc__,
            "_library": self,
            # A registry, and a test's fake, find the real class by it.
            "__embedcache_real__": staticmethod(self.build),
            # To construct it loads nothing: no guard has to stand before it.
            "embedcache_stand_in": True,
        }
        self.stand_in: Any = StandInType(CLASS, (Model,), members)

    def install(self, switch: Switch) -> None:
        """Take the package's place."""
        self._switch = switch
        if NAME not in sys.modules:
            published: dict[str, dict[str, Any]] = {h: {CLASS: self.stand_in} for h in _HOMES}
            published |= {h: {n: deferred_class(h, n) for n in ns} for h, ns in _DEFERRED.items()}
            self._package = LazyPackage(
                NAME,
                published,
                self._became_real,
                stays=True,
                distribution="sentence-transformers",
                without=self._without,
            )
            self._package.install()
            return
        there: Any = sys.modules[NAME]
        # What somebody put there (a mock, a stub) stays.
        if isinstance(there, ModuleType) and hasattr(vars(there).get(CLASS), "encode"):
            self._became_real(there)
            setattr(there, CLASS, self.stand_in)

    def remove(self) -> None:
        """Leave the package as it would be without us."""
        if self._package is not None:
            self._package.remove()
        there = sys.modules.get(NAME)
        if self._real is not None and self._original is not None:
            if vars(there).get(CLASS) is self.stand_in:
                setattr(there, CLASS, self._real)
            original, own = self._original
            if own:
                self._real.__init__ = original
            else:
                del self._real.__init__
        self._original = self._switch = self._real = None

    def _became_real(self, package: ModuleType) -> None:
        real: Any = vars(package)[CLASS]
        original = real.__init__
        self._original = original, "__init__" in vars(real)

        @functools.wraps(original)
        def init(instance: Any, *args: Any, **kwargs: Any) -> None:
            # A subclass, or one that was prepared otherwise, is none of ours.
            if type(instance) is real and not vars(instance) and self._is_on:
                set_class(instance, self.stand_in)
                self.stand_in.__init__(instance, *args, **kwargs)
            else:
                original(instance, *args, **kwargs)

        real.__init__ = init
        self._real = real

    @property
    def _is_on(self) -> bool:
        return self._switch is not None and self._switch.on

    @property
    def real_class(self) -> Any:
        """The real class, None as long as the package is not imported.

        When we are gone, the class that has its name: a module may have kept ours.
        """
        if self._switch is not None:
            return self._real
        found = getattr(sys.modules.get(NAME), "__dict__", {}).get(CLASS)
        return None if found is self.stand_in else found

    def real(self) -> Any:
        """The real class; imports the package.

        Raises `ImportError` where it is not installed.
        """
        if self.real_class is None:
            module = importlib.import_module(NAME)
            if become_real := vars(module).get(BECOME_REAL):
                become_real()
            if self.real_class is None:  # somebody's mock
                return getattr(module, CLASS)
        return self.real_class

    def build(self, *args: Any, **kwargs: Any) -> Any:
        """Construct the real class all the same."""
        real = self.real()
        made = real.__new__(real)
        self._real_init(made, args, kwargs)
        return made

    def construct(self, instance: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """What the constructor of the stand-in does: it stays one where that can be right."""
        asked: Any = read_call(args, kwargs) if self._is_on else "the drop-in is off"
        if not isinstance(asked, str):
            vars(instance)[STATE] = state = State(self, asked, args, kwargs)
            if self._switch is not None and self._switch.started:
                self.settle(instance, state)
            return
        name = args[0] if args else kwargs.get("model_name_or_path")
        if self.replaying and self._is_on and name:
            raise ReplayModelError(str(name), f"{CLASS}(…) with this {asked}")
        self._become(instance, args, kwargs)

    def settle(self, instance: Any, state: State) -> None:
        """Look up the model of an instance, or make the instance real where there is none."""
        if self._is_for_us(state):
            try:
                state.settle()
            except _FOR_THE_REAL_ONE:
                if self.replaying:
                    raise
            else:
                saved = state.model().metadata.prompts
                if not (saved and "prompts" in state.asked.view) or views_are_exact():
                    return
        vars(instance).pop(STATE, None)
        self._become(instance, state.args, state.kwargs)

    def _is_for_us(self, state: State) -> bool:
        if not state.asked.only_local or self.replaying or self.faking:
            return True
        try:
            return locate(state.spec).path is not None
        except ModelNotFoundError:
            return False

    def _become(self, instance: Any, args: Any, kwargs: dict[str, Any]) -> None:
        name = args[0] if args else kwargs.get("model_name_or_path")
        if defaults.refuse is not None and isinstance(name, str) and name:
            defaults.refuse(ModelSpec(name))
        set_class(instance, self.real())
        self._real_init(instance, args, kwargs)

    def _real_init(self, instance: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if self._original is None:
            instance.__init__(*args, **kwargs)
        else:
            self._original[0](instance, *args, **kwargs)

    def copy_of(self, model: Any, needed: str) -> Any:
        """A private real model, which is needed for something that only that can do."""
        if self.replaying:
            raise ReplayModelError(model.name, needed)
        copied = model.unwrap(copy=True)
        notices.degraded(
            f"a {CLASS} of {model.name} became a real one, whose vectors are not stored: {needed}"
        )
        return copied

    def device(self, name: str) -> Any:
        """The device of that name as torch has it; the name itself where there is no torch."""
        try:
            import torch
        except ImportError:
            return name
        return torch.device(name)

    def seen_as(self, kind: type) -> Any:
        """The class that a stand-in says it has.

        Who has torch may ask whether it is a `torch.nn.Module`, and takes it for a part of a model
        of his own if it is; that answer has to be right without importing the real class.
        """
        if self.real_class is not None:
            return self.real_class
        sequential = getattr(getattr(sys.modules.get("torch"), "nn", None), "Sequential", None)
        if sequential is None:
            return kind
        if self._face is None:
            with self._lock:
                members = {
                    "__module__": NAME,
                    "__new__": lambda cls, *args, **kwargs: self.stand_in(*args, **kwargs),
                }
                self._face = type(CLASS, (sequential,), members)
        return self._face
