"""The stand-in for `SentenceTransformer`.

Instances answer from a `CachedModel`, seen through prompts, truncation and similarity of their own.
Whatever else is asked of one, it becomes a real `SentenceTransformer` first: a private copy, which
no other instance sees, and whose vectors are neither read from the store nor written.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pytest_embedcache.dropin.metaclass import StandInType
from pytest_embedcache.dropin.pickled import again, pickled
from pytest_embedcache.dropin.probes import is_probe
from pytest_embedcache.dropin.state import STATE, State, become_real, state_of
from pytest_embedcache.dropin.view import NAMES
from pytest_embedcache.models.convert import Truncating

if TYPE_CHECKING:
    from pytest_embedcache.dropin.sentence_transformers import SentenceTransformers

__all__ = ["Model"]

#: Of the shared model: read, and nothing is handed out by it that can change the model.
_READ = ("dtype", "get_backend", "get_model_kwargs", "modalities", "supports", "tokenize")
#: The arguments of `encode` after the prompts, in the real one's order.
_POSITIONAL = (
    *("batch_size", "show_progress_bar", "output_value", "precision", "convert_to_numpy"),
    *("convert_to_tensor", "device", "normalize_embeddings", "truncate_dim", "pool", "chunk_size"),
)


class Model(Truncating, metaclass=StandInType):
    """Accepts and returns what a `SentenceTransformer` does; see `docs/drop-in.md`."""

    if TYPE_CHECKING:
        _library: SentenceTransformers

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._library.construct(self, args, kwargs)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What `isinstance` asks for after the type: the real class, or something torch knows."""
        kind = type(self)
        return kind._library.seen_as(kind)

    def __repr__(self) -> str:
        state = vars(self).get(STATE)
        name = "?" if state is None else state.spec.name
        return f"SentenceTransformer({name!r}, stored vectors)"

    def encode(
        self,
        inputs: Any = ...,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `CachedModel.encode`."""
        return self._encode("encode", inputs, prompt_name, prompt, args, kwargs)

    def encode_query(
        self,
        inputs: Any = ...,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `CachedModel.encode_query`."""
        return self._encode("encode_query", inputs, prompt_name, prompt, args, kwargs)

    def encode_document(
        self,
        inputs: Any = ...,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `CachedModel.encode_document`."""
        return self._encode("encode_document", inputs, prompt_name, prompt, args, kwargs)

    def _encode(
        self,
        method: str,
        inputs: Any,
        prompt_name: str | None,
        prompt: str | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        if inputs is not ...:
            kwargs = {"inputs": inputs, **kwargs}
        state = state_of(self)
        if state is None:
            if "inputs" in kwargs:
                args = (kwargs.pop("inputs"), prompt_name, prompt, *args)
            return getattr(self, method)(*args, **kwargs)
        names = dict(zip(_POSITIONAL, args, strict=False))
        if len(args) > len(_POSITIONAL) or names.keys() & kwargs.keys():
            raise TypeError(f"{method}() got too many arguments, or one of them twice")
        role = method.removeprefix("encode").removeprefix("_") or None
        prompt_name, prompt, options = state.view().call(
            role, prompt_name, prompt, {**names, **kwargs}
        )
        return getattr(state.model(), method)(prompt_name=prompt_name, prompt=prompt, **options)

    def get_embedding_dimension(self) -> int | None:
        """Columns of what `encode` returns."""
        state = state_of(self)
        if state is None:
            found: int | None = self.get_embedding_dimension()
            return found
        return state.view().dimension(state.model())

    def get_sentence_embedding_dimension(self) -> int | None:
        """The older name."""
        return self.get_embedding_dimension()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Each with each: a tensor."""
        from pytest_embedcache.vectors.similarity import similarity

        return similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The i-th with the i-th: a tensor."""
        from pytest_embedcache.vectors.similarity import pairwise

        return pairwise(self.similarity_fn_name, embeddings1, embeddings2)

    def get_max_seq_length(self) -> int | None:
        """Tokens that are read of a text."""
        found: int | None = self.max_seq_length
        return found

    def eval(self) -> Any:
        """Itself."""
        return self

    def train(self, mode: bool = True) -> Any:
        """Itself with mode=False; else it becomes a real model."""
        return become_real(self, "train()").train(mode) if mode else self

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Itself, where that is the device it has, or the CPU; else it becomes a real model."""
        state = state_of(self)
        device = str(args[0]) if len(args) == 1 and not kwargs else None
        device = str(kwargs["device"]) if not args and kwargs.keys() == {"device"} else device
        if state is None or device is None or device not in ("cpu", state.spec.device):
            return become_real(self, "to()").to(*args, **kwargs)
        if device != state.spec.device:
            state.moved(device)
        return self

    def cpu(self) -> Any:
        """As `to("cpu")`."""
        return self.to("cpu")

    def __getattr__(self, name: str) -> Any:
        if is_probe(name):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        if (state := state_of(self)) is None:  # it became real, perhaps just now
            return getattr(self, name)
        if name in NAMES:
            return state.view().values[name]
        if name == "max_seq_length" or (name in _READ and not state.library.replaying):
            return getattr(state.model(), name)
        if name == "device" and state.spec.device is not None:
            return state.library.device(state.spec.device)
        if name == "device" and not state.library.replaying:
            return state.model().device
        return getattr(become_real(self, f".{name}"), name)

    def __setattr__(self, name: str, value: Any) -> None:
        # A test's stand-in for a method; and whatever is set before there is anything.
        own = any(name in vars(kind) for kind in type(self).__mro__)
        if own or (STATE not in vars(self) and isinstance(type(self), StandInType)):
            object.__setattr__(self, name, value)
        elif (state := state_of(self)) is None:
            setattr(self, name, value)
        elif name in NAMES and state.view().fits(name, value):
            state.view().values[name] = value
        elif name != "max_seq_length" or value != self.max_seq_length:
            setattr(become_real(self, f"setting {name}"), name, value)

    def __delattr__(self, name: str) -> None:
        if name in vars(self):
            object.__delattr__(self, name)
        else:
            delattr(become_real(self, f"del {name}"), name)

    def __bool__(self) -> bool:
        return True

    def __copy__(self) -> Any:
        if (state := state_of(self)) is None:
            return copy.copy(self)
        return self._copied(state.copied(deep=False), copy.copy)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if (state := state_of(self)) is None:
            return copy.deepcopy(self, memo)
        return self._copied(state.copied(deep=True), lambda own: copy.deepcopy(own, memo))

    def _copied(self, state: State, copied: Any) -> Any:
        made = object.__new__(type(self))
        own = {name: value for name, value in vars(self).items() if name != STATE}
        vars(made).update(copied(own))
        vars(made)[STATE] = state
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        if (state := state_of(self)) is None:
            return self.__reduce_ex__(protocol)
        return again, pickled(state)


def _through(method: str) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(type(become_real(self, f"{method}()")), method)(self, *args, **kwargs)

    return call


for _name in ("call", "getitem", "setitem", "delitem", "len", "iter", "contains", "add", "iadd"):
    setattr(Model, f"__{_name}__", _through(f"__{_name}__"))
