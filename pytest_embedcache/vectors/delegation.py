"""What of a model is handed through, and what that means for its stored vectors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.convert import Truncating
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.roles import prompts_as_loaded
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.source import ModelSource

__all__ = ["Delegating"]

#: Of the model: can be set without touching its weights, and is read again at every call.
_STATE = frozenset(
    ("default_prompt_name", "max_seq_length", "prompts", "similarity_fn_name", "truncate_dim")
)
#: Of the model: hands out nothing that can be changed, and changes nothing.
_HARMLESS = frozenset(
    (
        *("device", "dtype", "get_backend", "get_max_seq_length", "get_model_kwargs"),
        *("modalities", "save", "save_pretrained", "supports", "training"),
        *("start_multi_process_pool", "stop_multi_process_pool"),
    )
)
#: The same, but they use the tokenizer, which is not safe beside an `encode` in another thread.
_ALONE = frozenset(("preprocess", "tokenize"))
#: Interactive shells ask every object for the first two; that is no reason to load a model.
_NOT_THE_MODELS = ("_repr_", "_ipython_", "_source")


class Delegating(Truncating):
    """Everything of the model that the class before it does not have itself.

    State (`max_seq_length`, `prompts`, …) is answered from the model's files while it is not
    loaded, and set on the loaded model. Anything else loads the model and hands it out: from then
    on its vectors are neither read from the store nor written to it.
    """

    if TYPE_CHECKING:
        _source: ModelSource

    @property
    def is_changed(self) -> bool:
        """Whether the loaded model is another than that of its files, or may be."""
        handle = self._source.loaded()
        return handle is not None and (handle.handed_out or bool(handle.state()))

    def is_outdated(self) -> bool:
        """Whether its name means another model by now; looks at the files' sizes and times."""
        return self._source.is_outdated()

    def unwrap(self, *, copy: bool = False) -> Any:
        """The model behind, loaded.

        Whoever gets it may change it, so its vectors are neither read from the store nor written
        to it any more. With `copy`, a private copy, and the store stays in use.
        """
        handle = self._source.handle("unwrap()")
        if copy:
            with handle.using() as model:
                return _deep_copy(model)
        return handle.hand_out()

    @property
    def handle(self) -> ModelHandle:
        """The model's life in this process: `is_loaded`, `error`, `start_loading()`, `unload()`, …

        Asking for it loads nothing.
        """
        return self._source.handle("its handle")

    def ensure_loaded(self, *, pin: bool = False) -> None:
        """Have the model in memory when this returns; in replay there is none, and need be none.

        With `pin` it stays there, however long nobody uses it. Raises `EmbedCacheError` where it
        cannot be had.
        """
        self._source.preload(pin=pin)

    def serve_instead(self, spec: ModelSpec) -> None:
        """Let the same model of another backend serve where this one cannot be prepared."""
        self._source.instead = spec

    def start_loading(self) -> None:
        """`ensure_loaded` in a thread beside this one. What goes wrong is logged."""
        self._source.start_loading()

    @property
    def metadata(self) -> ModelMetadata:
        """What the model's configuration says: dimension, lengths, prompts, size; no load."""
        return self._source.identity.metadata

    def eval(self) -> Any:
        """Itself: `encode` always computes in this mode."""
        return self

    def __getattr__(self, name: str) -> Any:
        if (name.startswith("__") and name.endswith("__")) or name.startswith(_NOT_THE_MODELS):
            # Copying and pickling ask for many of these, and must not load a model either.
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if name in _STATE:
            return self._state_of(name)
        handle = self._source.handle(name)
        with handle.held() as model:
            found = getattr(model, name)  # what is not there is not handed out either
            if name in _HARMLESS:
                return found
            if name in _ALONE:
                return _alone(handle, name)
            handle.hand_out()
            return found

    def _state_of(self, name: str) -> Any:
        handle = self._source.loaded()
        model = handle.model if handle is not None else None
        metadata = self._source.identity.metadata
        if name == "prompts":
            known = prompts_as_loaded(metadata.prompts) if model is None else model.prompts
            return _Prompts(known, self._change_prompts)
        if model is None and name == "similarity_fn_name":
            return metadata.similarity
        if model is None and (name != "max_seq_length" or metadata.max_seq_length is not None):
            return getattr(metadata, name)
        if model is not None:
            return getattr(model, name)
        with self._source.handle(name).held() as model:
            return getattr(model, name)

    def _change_prompts(self, method: str, *args: Any, **kwargs: Any) -> None:
        with self._source.handle("changing its prompts").using() as model:
            getattr(model.prompts, method)(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _STATE:
            value = dict(value) if isinstance(value, _Prompts) else value
            with self._source.handle(f"setting {name}").using() as model:  # not amid an `encode`
                setattr(model, name, value)
        elif hasattr(type(self), name):
            object.__setattr__(self, name, value)  # a test's stand-in for a method of ours
        else:
            setattr(self.unwrap(), name, value)

    def __delattr__(self, name: str) -> None:
        if name in vars(self):
            object.__delattr__(self, name)
        else:
            delattr(self.unwrap(), name)

    def __getitem__(self, index: Any) -> Any:
        return self.unwrap()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unwrap())

    def __len__(self) -> int:
        with self._source.handle("len()").held() as model:
            return len(model)

    def __bool__(self) -> bool:
        return True  # without a load, which len() would need

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with self._source.handle("calling it").held() as model:
            return model(*args, **kwargs)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # A copy of a model is a model of its own: what is done to it concerns nobody else.
        return self.unwrap(copy=True)


def _deep_copy(model: Any) -> Any:
    return copy.deepcopy(model)


def _alone(handle: ModelHandle, method: str) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with handle.using() as model:
            return getattr(model, method)(*args, **kwargs)

    return call


class _Prompts(dict[str, str]):
    """A model's prompts. To change them is to change the model's, which is loaded for that."""

    def __init__(self, known: Mapping[str, str], change: Callable[..., None]) -> None:
        super().__init__(known)
        self._change = change

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _through(method: str) -> Callable[..., Any]:
    def call(self: _Prompts, *args: Any, **kwargs: Any) -> Any:
        self._change(method, *args, **kwargs)
        return getattr(dict, method)(self, *args, **kwargs)

    return call


for _name in (
    *("__setitem__", "__delitem__", "__ior__", "clear", "pop", "popitem", "setdefault", "update"),
):
    setattr(_Prompts, _name, _through(_name))
