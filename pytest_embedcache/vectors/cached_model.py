"""`CachedModel`: a model in front of a model, that asks the store first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EncodeError
from pytest_embedcache.models.convert import converted, empty
from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.models.roles import ROLES, prompt_name_of
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.calls import PRECISIONS, Call, beside_loop, read_inputs
from pytest_embedcache.vectors.delegation import Delegating
from pytest_embedcache.vectors.encoder import TextEncoder
from pytest_embedcache.vectors.keys import KeyFields
from pytest_embedcache.vectors.source import Keyed

__all__ = ["CachedModel"]

_MISSING: Any = object()


class CachedModel(Delegating):
    """Stands where a `SentenceTransformer` stands: accepts and returns what that does.

    A vector that is in the store is returned bit for bit as it was stored; one that is not is
    computed by the model, which is loaded then and not before. Dimension, prompts and similarity
    need no load. Safe to use from any number of threads.

    What is not on this page is the model's own: asking for it (`model[0]`, `tokenizer`, `half()`)
    loads the model and hands it out, and from then on its vectors are neither read from the store
    nor written to it, because they may no longer be those of its files. `unwrap(copy=True)` gives a
    private copy to change instead.

    A pickle of it holds which model it is, not the model: what comes back is `get_model` of that
    model in the process that reads it. One that was changed cannot be pickled (`TypeError`).
    """

    def __init__(self, registry: ModelRegistry, spec: ModelSpec, cache: VectorCache) -> None:
        source = cache.policy.source(registry, spec)
        # Past our own __setattr__, which sets things on the model.
        vars(self).update(_cache=cache, _source=source, _encoder=TextEncoder(source, cache))

    if TYPE_CHECKING:
        _cache: VectorCache
        _encoder: TextEncoder

    def __repr__(self) -> str:
        where = "no store" if self._cache.store is None else "stored vectors"
        return f"<CachedModel {self.name!r} with {where}>"

    def encode(
        self,
        inputs: Any = _MISSING,
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
        sentences = kwargs.pop("sentences", _MISSING)
        if inputs is _MISSING and (inputs := sentences) is _MISSING:
            raise TypeError("encode() is missing its argument 'inputs'")
        task = kwargs.pop("task", None)
        call = Call(prompt_name, prompt, task, normalize_embeddings, truncate_dim, kwargs)
        options = {"batch_size": batch_size, "show_progress_bar": show_progress_bar}
        options |= {"device": device, "chunk_size": chunk_size}

        def straight(texts: Sequence[str] | None = None) -> Any:
            """The whole call to the model, its errors and all."""
            from pytest_embedcache.models.watching import watched  # a hit has no use for it

            form = {"precision": precision, "pool": pool}
            form |= {"convert_to_numpy": convert_to_numpy, "convert_to_tensor": convert_to_tensor}

            def ask(model: Any) -> Any:
                arguments = self._inner(model, call, options | form)
                with watched(self.name, texts):
                    return model.encode(inputs, output_value=output_value, **arguments)

            found = self._source.handle("encode() of what cannot be stored").call(ask)
            if texts is not None and not single and len(found) != len(texts):
                raise EncodeError(self.name, len(texts), tuple(getattr(found, "shape", ())))
            return found

        def compute(model: Any, missing: list[str], quiet: bool) -> Any:
            from pytest_embedcache.vectors.billed import encoded  # a hit has no use for it

            shown = options | ({"show_progress_bar": False} if quiet else {})
            return encoded(model, missing, self._encoder.count, **self._inner(model, call, shown))

        texts, single = read_inputs(inputs)
        whole = output_value == "sentence_embedding" and pool is None
        if texts is None or not whole or isinstance(device, list):
            count = len(inputs) if isinstance(inputs, list | tuple) else 1
            self._cache.tallies.add(self.name, asked=count, bypassed=count)
            return straight()
        if batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        if precision not in (None, *PRECISIONS):
            raise ValueError(f"Precision {precision!r} is not supported, only {PRECISIONS}")
        if not texts:
            keyed = self._source.keyed(call)  # an unknown prompt is an error all the same
            if keyed is None or keyed.state:
                return straight()
            return empty(tensor=convert_to_tensor, numpy=convert_to_numpy)
        matrix = self._encoder.matrix(texts, call, compute, progress=bool(show_progress_bar))
        if matrix is None:
            return straight(texts)
        if precision not in (None, "float32"):
            from pytest_embedcache.models.precision import quantized

            matrix = quantized(matrix, str(precision))
        return converted(
            matrix,
            single=single,
            tensor=convert_to_tensor,
            numpy=convert_to_numpy,
            dtype=self._source.identity.dtype,
            device=self._source.spec.device if device is None else str(device),
        )

    def encode_query(
        self,
        inputs: Any = _MISSING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `encode`, in the role of a query: its own prompt, where the model has one."""
        names = self._in_role("query", prompt_name, prompt)
        return self.encode(inputs, *names, *args, task="query", **kwargs)

    def encode_document(
        self,
        inputs: Any = _MISSING,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """As `encode`, in the role of a document: its own prompt, where the model has one."""
        names = self._in_role("document", prompt_name, prompt)
        return self.encode(inputs, *names, *args, task="document", **kwargs)

    async def aencode(self, *args: Any, **kwargs: Any) -> Any:
        """`encode` beside the event loop. Cancelling it cancels nothing that others wait for."""
        return await beside_loop(self.encode, *args, **kwargs)

    async def aencode_query(self, *args: Any, **kwargs: Any) -> Any:
        """`encode_query` beside the event loop."""
        return await beside_loop(self.encode_query, *args, **kwargs)

    async def aencode_document(self, *args: Any, **kwargs: Any) -> Any:
        """`encode_document` beside the event loop."""
        return await beside_loop(self.encode_document, *args, **kwargs)

    def get_embedding_dimension(self) -> int | None:
        """Columns of what `encode` returns, `truncate_dim` considered; needs no load."""
        metadata = self._source.identity.metadata
        handle = self._source.loaded()
        if handle is None and metadata.dimension is not None:
            cut = metadata.truncate_dim
            return metadata.dimension if cut is None else min(metadata.dimension, cut)
        with (handle or self._source.handle("its dimension")).held() as model:
            ask = getattr(model, "get_embedding_dimension", None)
            found: int | None = ask() if ask else model.get_sentence_embedding_dimension()
            return found

    def get_sentence_embedding_dimension(self) -> int | None:
        """The older name of `get_embedding_dimension`."""
        return self.get_embedding_dimension()

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Each of the first with each of the second: a tensor of shape (n, m); needs no load.

        By the model's `similarity_fn_name`. Where torch is not installed, an array.
        """
        from pytest_embedcache.vectors.similarity import similarity

        return similarity(self.similarity_fn_name, embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """The i-th of the first with the i-th of the second: shape (n,)."""
        from pytest_embedcache.vectors.similarity import pairwise

        return pairwise(self.similarity_fn_name, embeddings1, embeddings2)

    @property
    def name(self) -> str:
        """The model's one name: the repository's, or the real path of its directory."""
        return self._source.identity.name

    @property
    def spec(self) -> ModelSpec:
        """Which model this is; resolved, unless its files are gone or its device was left open."""
        return self._source.spec

    @property
    def fingerprint(self) -> str:
        """The identity under which its vectors are stored (64 hexadecimal digits)."""
        return self._source.identity.fingerprint

    @property
    def is_loaded(self) -> bool:
        """Whether the model behind is in memory."""
        return self._source.loaded() is not None

    def keys(self, texts: Iterable[str], *, role: str | None = None, **kwargs: Any) -> list[bytes]:
        """The keys (32 bytes each) under which `encode(texts, **kwargs)` looks into the store.

        With `role`, as `encode_query` or `encode_document`. Empty where nothing can be stored.
        """
        keyed = self._keyed(role, kwargs)
        return [] if keyed is None else keyed.maker.keys(texts)

    def key_fields(self, *, role: str | None = None, **kwargs: Any) -> KeyFields | None:
        """What goes into the keys of `keys(…, role=role, **kwargs)` beside the text, if any can."""
        keyed = self._keyed(role, kwargs)
        return None if keyed is None else keyed.maker.fields

    def invalidate(self, texts: str | Iterable[str], **kwargs: Any) -> int:
        """Forget the stored vectors of `texts`, in every role; returns how many there were.

        The keyword arguments are those of the `encode` that stored them.

        Raises:
            TypeError: Something else than strings is among the texts.
            StoreError: A store could not be reached, and may still have them.
        """
        listed = [texts] if isinstance(texts, str) else list(texts)
        if not all(isinstance(text, str) for text in listed):
            raise TypeError("only the vectors of texts are stored, and can be forgotten")
        if self._cache.store is None:
            return 0
        keys = {key for role in (None, *ROLES) for key in self.keys(listed, role=role, **kwargs)}
        return self._cache.store.delete_many(self.fingerprint, sorted(keys))

    def clear(self) -> int:
        """Forget all stored vectors of this model; returns how many there were."""
        return self._cache.store.clear(self.fingerprint) if self._cache.store else 0

    def _keyed(self, role: str | None, options: dict[str, Any]) -> Keyed | None:
        if role is not None:
            name, prompt = self._in_role(role, options.get("prompt_name"), options.get("prompt"))
            options = options | {"task": role, "prompt_name": name, "prompt": prompt}
        return self._source.keyed(Call.of(options))

    def _in_role(
        self, role: str, prompt_name: str | None, prompt: str | None
    ) -> tuple[str | None, str | None]:
        """Prompt name and prompt of a call in a role, given those of the caller."""
        if prompt_name is None and prompt is None:
            prompt_name = prompt_name_of(role, self.prompts)
            if prompt_name is None and self.default_prompt_name is not None:
                prompt = ""  # a role without a prompt does not take the default one
        return prompt_name, prompt

    def _inner(self, model: Any, call: Call, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments for the model itself, less those not set: older versions know fewer."""
        knows_roles = hasattr(model, "encode_query") or self._source.identity.metadata.has_roles
        given = {name: value for name, value in options.items() if value is not None}
        return given | call.inner(with_task=knows_roles)

    def __reduce__(self) -> tuple[Any, ...]:
        handle = self._source.loaded()
        if handle is not None and (handle.may_be_changed or handle.state()):
            raise TypeError(
                f"{self!r} was changed, or handed out to be changed, and a pickle of it would be "
                "the model of its files; pickle unwrap() instead"
            )
        return _again, (self._source.asked.replace(token=None),)


def _again(spec: ModelSpec) -> CachedModel:
    from pytest_embedcache.models.registry import default_registry
    from pytest_embedcache.vectors.api import cached_model, default_cache

    return cached_model(default_registry(), default_cache(), spec)
