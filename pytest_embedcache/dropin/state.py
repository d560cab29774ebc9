"""What a stand-in has as long as it is no real model, and how it becomes one."""

from __future__ import annotations

import copy
import threading
from typing import TYPE_CHECKING, Any

from pytest_embedcache.dropin.asked import Asked
from pytest_embedcache.dropin.metaclass import StandInType
from pytest_embedcache.dropin.view import View

if TYPE_CHECKING:
    from pytest_embedcache.dropin.sentence_transformers import SentenceTransformers
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["STATE", "State", "become_real", "set_class", "state_of"]

#: Where an instance has it, and a real model has nothing.
STATE = "_embedcache_state"
#: Past the property of that name: an object's class itself.
set_class: Any = vars(object)["__class__"].__set__


class State:
    """The shared model, and one user's look at it.

    Args:
        library: Has the models.
        asked: What the constructor was asked for, by `args` and `kwargs`.
    """

    def __init__(
        self, library: SentenceTransformers, asked: Asked, args: Any, kwargs: dict[str, Any]
    ) -> None:
        self.library = library
        self.spec = asked.spec
        self.asked = asked
        self.args, self.kwargs = args, kwargs
        self.lock = threading.RLock()
        self._view: View | None = None
        self._model: CachedModel | None = None

    @property
    def is_settled(self) -> bool:
        """Whether it has been looked up which model that is."""
        return self._view is not None

    def settle(self) -> None:
        """Look it up, as its files are now. Raises where there is no such model."""
        self._model = self.library.shared.get(self.spec, as_now=True)
        self._view = View(self._model, self.asked.view)

    def model(self) -> CachedModel:
        """The shared model, which nobody has changed."""
        found = self._model
        if found is None or found.is_changed:
            found = self._model = self.library.shared.get(self.spec)
        return found

    def view(self) -> View:
        """The instance's own look at it."""
        assert self._view is not None
        return self._view

    def moved(self, device: str) -> None:
        """The same model, computed on another device."""
        self.spec = self.spec.replace(device=device)
        self.kwargs = {**self.kwargs, "device": device}
        self._model = None

    def copied(self, *, deep: bool) -> State:
        """For another instance."""
        made = copy.copy(self)
        made.lock = threading.RLock()
        made._view = self.view().copied(deep=deep)
        return made


def state_of(instance: Any) -> State | None:
    """The state of a stand-in, settled; None where it is a real model by now."""
    state: State | None = vars(instance).get(STATE)
    if state is not None and not state.is_settled:
        with state.lock:
            if STATE in vars(instance) and not state.is_settled:
                state.library.settle(instance, state)
        state = vars(instance).get(STATE)
    if state is None and isinstance(type(instance), StandInType):
        # Without this, whatever is real about it would be looked for here again.
        raise AttributeError("SentenceTransformer.__init__ was not called")
    return state


def become_real(instance: Any, needed: str) -> Any:
    """Let an instance be a real model of its own from now on; returns it.

    `needed` is what for. The class changes last, when all else is there: other threads have either
    the stand-in, or a whole model.
    """
    if (state := state_of(instance)) is None:
        return instance
    with state.lock:
        if STATE in vars(instance):
            real = state.library.copy_of(state.model(), needed)
            for name, value in state.view().changes.items():
                setattr(real, name, value)
            for value in list(vars(real).values()):  # the model card knows its model
                if getattr(value, "model", None) is real:
                    value.model = instance
            # What was set on the instance itself, as by a test, stays; but for a method of ours,
            # with which a test has undone what it had set.
            own = vars(instance)
            for name, value in list(own.items()):
                if getattr(value, "__self__", None) is instance:
                    del own[name]
            own.update({name: value for name, value in vars(real).items() if name not in own})
            set_class(instance, type(real))
            del own[STATE]
    return instance
