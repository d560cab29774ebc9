"""`CachedModel`: a model in front of a model, that asks the store first."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.calls import PRECISIONS, Call, read_inputs
from pytest_embedcache.vectors.convert import converted, empty, quantized
from pytest_embedcache.vectors.encoder import TextEncoder
from pytest_embedcache.vectors.keys import KeyFields
from pytest_embedcache.vectors.similarity import pairwise, similarity

__all__ = ["CachedModel"]

#: Role -> the names under which a model may have its prompt, in sentence-transformers' order.
_ROLES = {"query": ("query",), "document": ("document", "passage", "corpus")}
#: Of the model: can be set without touching its weights, and are read again at every call.
_STATE = frozenset(
    (
        "default_prompt_name",
        "max_seq_length",
        "prompts",
        "similarity_fn_name",
        "truncate_dim",
    )
)
#: Of the model: do not hand out anything that can be changed, and change nothing.
_HARMLESS = frozenset(
    (
        "device",
        "dtype",
        "eval",
        "get_backend",
        "get_max_seq_length",
        "get_model_kwargs",
        "modalities",
        "model_card_data",
        "preprocess",
        "save",
        "save_pretrained",
        "supports",
        "tokenize",
        "training",
    )
)


class CachedModel:
    """Stands where a `SentenceTransformer` stands: accepts and returns what that does.

    A vector that is in the store is returned bit for bit as it was stored; one that is not is
    computed by the model, which is loaded then and not before. Dimension, prompts and similarity
    need no load. Safe to use from any number of threads.

    What is not on this page is the model's own: asking for it (`model[0]`, `tokenizer`, `half()`)
    loads the model and hands it out, and from then on its vectors are neither read from the store
    nor written to it, because they may no longer be those of its files. `unwrap(copy=True)` gives a
    private copy to change instead.
    """

    def __init__(self, registry: ModelRegistry, spec: ModelSpec, cache: VectorCache) -> None:
        change = object.__setattr__
        change(self, "_cache", cache)
        change(self, "_encoder", TextEncoder(registry, spec, cache))

    if TYPE_CHECKING:
        _cache: VectorCache
        _encoder: TextEncoder

    def __repr__(self) -> str:
        where = "no store" if self._cache.store is None else "stored vectors"
        return f"<CachedModel {self._encoder.identity.name!r} with {where}>"

    def encode(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The vectors of `inputs`, row i for text i.

        Arguments and result are those of `SentenceTransformer.encode`: by default float32 of shape
        (n, dimension) for a list, tuple or array of strings, and (dimension,) for one string.
        `sentences=` is taken for `inputs=`. The array is the caller's: writing into it changes
        nothing elsewhere. What cannot be stored goes straight to the model: token embeddings,
        images, pairs, keyword arguments that are not known, several devices.

        Raises:
            ValueError: As the model itself does, for a batch size, precision or prompt name.
            EncodeError: The model returned another number of vectors than it got texts.
            EmbedCacheError: The model was needed, and could not be had.
        """
        inputs = kwargs.pop("sentences", inputs)
        options = {
            "batch_size": batch_size,
            "show_progress_bar": show_progress_bar,
            "output_value": output_value,
            "device": device,
            "pool": pool,
            "chunk_size": chunk_size,
        }
        call = Call(
            prompt_name,
            prompt,
            kwargs.pop("task", None),
            normalize_embeddings,
            truncate_dim,
            kwargs,
        )
        texts, single = read_inputs(inputs)
        if (
            texts is None
            or output_value != "sentence_embedding"
            or pool is not None
            or isinstance(device, list)
        ):
            given = {"precision": precision, "convert_to_numpy": convert_to_numpy}
            given["convert_to_tensor"] = convert_to_tensor
            return self._straight(inputs, call, options | given)
        if batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        if precision is not None and precision not in PRECISIONS:
            raise ValueError(
                f"Precision {precision!r} is not supported, must be one of {PRECISIONS}"
            )
        if not texts:
            return empty(tensor=convert_to_tensor, numpy=convert_to_numpy)

        def compute(model: Any, missing: list[str]) -> Any:
            inner = call.inner(with_task=self._encoder.identity.metadata.has_roles)
            return model.encode(missing, **inner, **_set(options), convert_to_numpy=True)

        matrix = self._encoder.matrix(texts, call, compute)
        if precision not in (None, "float32"):
            matrix = quantized(matrix, str(precision))
        return converted(
            matrix,
            single=single,
            tensor=convert_to_tensor,
            numpy=convert_to_numpy,
            dtype=self._encoder.identity.dtype,
            device=self._encoder.spec.device,
        )

    def encode_query(self, inputs: Any = None, **kwargs: Any) -> Any:
        """As `encode`, in the role of a query: its own prompt, where the model has one."""
        return self.encode(inputs, **self._in_role("query", kwargs))

    def encode_document(self, inputs: Any = None, **kwargs: Any) -> Any:
        """As `encode`, in the role of a document: its own prompt, where the model has one."""
        return self.encode(inputs, **self._in_role("document", kwargs))

    async def aencode(self, inputs: Any = None, **kwargs: Any) -> Any:
        """`encode` beside the event loop. Cancelling it cancels nothing that others wait for."""
        return await _beside(self.encode, inputs, **kwargs)

    async def aencode_query(self, inputs: Any = None, **kwargs: Any) -> Any:
        """`encode_query` beside the event loop."""
        return await _beside(self.encode_query, inputs, **kwargs)

    async def aencode_document(self, inputs: Any = None, **kwargs: Any) -> Any:
        """`encode_document` beside the event loop."""
        return await _beside(self.encode_document, inputs, **kwargs)

    def get_embedding_dimension(self) -> int | None:
        """Columns of what `encode` returns, `truncate_dim` considered; needs no load."""
        dimension = self._encoder.identity.metadata.dimension
        cut = self.truncate_dim
        if dimension is None:
            model = self._encoder.load().model
            ask = getattr(model, "get_embedding_dimension", None)
            found: int | None = ask() if ask else model.get_sentence_embedding_dimension()
            return found
        return min(dimension, cut) if cut is not None else dimension

    def get_sentence_embedding_dimension(self) -> int | None:
        """The older name of `get_embedding_dimension`."""
        return self.get_embedding_dimension()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Each of the first with each of the second: a tensor of shape (n, m); needs no load.

        By the model's `similarity_fn_name`. Where torch is not installed, an array.
        """
        return similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The i-th of the first with the i-th of the second: shape (n,)."""
        return pairwise(self.similarity_fn_name, embeddings1, embeddings2)

    @property
    def name(self) -> str:
        """The model's one name: the repository's, or the real path of its directory."""
        return self._encoder.identity.name

    @property
    def spec(self) -> ModelSpec:
        """Which model this is; resolved, unless its files are gone or its device was left open."""
        return self._encoder.spec

    @property
    def fingerprint(self) -> str:
        """The identity under which its vectors are stored (64 hexadecimal digits)."""
        return self._encoder.identity.fingerprint

    @property
    def is_loaded(self) -> bool:
        """Whether the model behind is in memory."""
        return self._encoder.loaded() is not None

    def unwrap(self, *, copy: bool = False) -> Any:
        """The model behind, loaded.

        Whoever gets it may change it, so its vectors are neither read from the store nor written
        to it any more. With `copy`, a private copy, and the store stays in use.
        """
        handle = self._encoder.load()
        if copy:
            return _deep_copy(handle.model)
        handle.handed_out = True
        return handle.model

    def key_fields(self, role: str | None = None, **kwargs: Any) -> KeyFields:
        """What goes into the key of a text, but for the text; `explain_key` shows it to people.

        `role` is `query`, `document` or None; the keyword arguments are those of `encode`.

        Raises:
            ValueError: Such a call cannot be stored.
        """
        options = self._in_role(role, kwargs) if role is not None else kwargs
        maker = self._encoder.maker(_call(options))
        if maker is None:
            raise ValueError(f"vectors of a call with {sorted(options)} are never stored")
        return maker.fields

    def keys(self, texts: list[str], **kwargs: Any) -> list[bytes]:
        """The keys (32 bytes each) under which `encode(texts, **kwargs)` looks into the store.

        Empty where such a call cannot be stored.
        """
        maker = self._encoder.maker(_call(kwargs))
        return [] if maker is None else maker.keys(texts)

    def invalidate(self, texts: Any, **kwargs: Any) -> int:
        """Forget the stored vectors of `texts`, in every role; returns how many there were.

        The keyword arguments are those of the `encode` that stored them.
        """
        listed, _ = read_inputs(texts)
        if listed is None or self._cache.store is None:
            return 0
        keys: set[bytes] = set()
        for options in (kwargs, *(self._in_role(role, kwargs) for role in _ROLES)):
            keys.update(self.keys(listed, **options))
        return self._cache.store.delete_many(self.fingerprint, sorted(keys))

    def clear(self) -> int:
        """Forget all stored vectors of this model; returns how many there were."""
        return self._cache.store.clear(self.fingerprint) if self._cache.store else 0

    def _in_role(self, role: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `encode` that `encode_query` or `encode_document` stands for."""
        found: dict[str, Any] = {"task": role, **kwargs}
        if found.get("prompt_name") is None and found.get("prompt") is None:
            prompts = self.prompts
            name = next((name for name in _ROLES[role] if prompts.get(name)), None)
            if name is not None:
                found["prompt_name"] = name
            elif self.default_prompt_name is not None:
                found["prompt"] = ""  # a role without a prompt does not take the default one
        return found

    def _straight(self, inputs: Any, call: Call, options: Mapping[str, Any]) -> Any:
        """The whole call to the model, its errors and all."""
        handle = self._encoder.load()
        count = len(inputs) if isinstance(inputs, list | tuple) else 1
        self._cache.tallies.add(self._encoder.identity.name, asked=count, bypassed=count)
        with handle.encoding:
            return handle.model.encode(inputs, **call.inner(), **_set(options))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)  # copy and pickle ask for many, and must not load a model
        if name in _STATE and not self.is_loaded:
            metadata = self._encoder.identity.metadata
            if name == "similarity_fn_name":
                return metadata.similarity
            if name != "max_seq_length" or metadata.max_seq_length is not None:
                found = getattr(metadata, name)
                return dict(found) if name == "prompts" else found
        if name in _STATE or name in _HARMLESS:
            return getattr(self._encoder.load().model, name)
        return getattr(self.unwrap(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        model = self._encoder.load().model if name in _STATE else self.unwrap()
        setattr(model, name, value)

    def __getitem__(self, index: Any) -> Any:
        return self.unwrap()[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unwrap())

    def __len__(self) -> int:
        return len(self._encoder.load().model)

    def __bool__(self) -> bool:
        return True  # without a load, which len() would need

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._encoder.load().model(*args, **kwargs)

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # A copy of a model is a model of its own: what is done to it concerns nobody else.
        return self.unwrap(copy=True)


def _call(options: Mapping[str, Any]) -> Call:
    return Call(
        options.get("prompt_name"),
        options.get("prompt"),
        options.get("task"),
        bool(options.get("normalize_embeddings")),
        options.get("truncate_dim"),
    )


def _set(options: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is not set: older versions do not know every argument."""
    return {name: value for name, value in options.items() if value is not None}


def _deep_copy(model: Any) -> Any:
    return copy.deepcopy(model)


async def _beside(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    import asyncio  # 11 ms, for those who have a loop and so have imported it

    return await asyncio.to_thread(function, *args, **kwargs)
