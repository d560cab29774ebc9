"""Reading one call of `encode`: which texts, and what changes their vectors."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Self

from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.roles import prompts_as_loaded

__all__ = ["PRECISIONS", "Call", "beside_loop", "read_inputs"]

#: The arguments of `encode` that `Call` has, and those that change no vector.
_NAMED = frozenset(
    (
        *("prompt_name", "prompt", "task", "normalize_embeddings", "truncate_dim"),
        *("batch_size", "show_progress_bar", "output_value", "precision", "convert_to_numpy"),
        *("convert_to_tensor", "device", "pool", "chunk_size"),
    )
)
PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")
_NONE: Mapping[str, Any] = {}
_PLAIN = frozenset((str, type(None)))


class Call:
    """One call with its arguments as they were given.

    `task` is the role (`query`, `document`) or None. `extra` are keyword arguments beyond those of
    `encode`'s signature.
    """

    __slots__ = ("extra", "normalize", "prompt", "prompt_name", "task", "truncate_dim")

    def __init__(
        self,
        prompt_name: str | None = None,
        prompt: str | None = None,
        task: str | None = None,
        normalize: bool = False,
        truncate_dim: int | None = None,
        extra: Mapping[str, Any] = _NONE,
    ) -> None:
        # In the key and for the model one and the same: a subclass of str may add its own way.
        if isinstance(prompt, str) and type(prompt) is not str:
            prompt = str.__str__(prompt)
        if truncate_dim is not None:  # TypeError for what the model could not cut by either
            truncate_dim = operator.index(truncate_dim)
        self.prompt_name = prompt_name
        self.prompt = prompt
        self.task = task
        self.normalize = normalize
        self.truncate_dim = truncate_dim
        self.extra = extra

    def told(self) -> tuple[Any, ...] | None:
        """All of it, by which the same call is known again; None where that is not simple."""
        prompts = (self.prompt_name, self.prompt, self.task)
        if self.extra or not _PLAIN.issuperset(map(type, prompts)):
            return None
        return (*prompts, bool(self.normalize), self.truncate_dim)

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Self:
        """The call that `encode(texts, **options)` is."""
        return cls(
            options.get("prompt_name"),
            options.get("prompt"),
            options.get("task"),
            bool(options.get("normalize_embeddings")),
            options.get("truncate_dim"),
            {name: value for name, value in options.items() if name not in _NAMED},
        )

    def inner(self, *, with_task: bool) -> dict[str, Any]:
        """The arguments for the model itself.

        Those that are not set are left out, since older versions of sentence-transformers do not
        know all of them; so is the task, for a version that knows no roles.
        """
        found = {
            "prompt_name": self.prompt_name,
            "prompt": self.prompt,
            "task": self.task if with_task else None,
            "normalize_embeddings": self.normalize or None,
            "truncate_dim": self.truncate_dim,
            **self.extra,
        }
        return {name: value for name, value in found.items() if value is not None}

    def resolved_prompt(self, prompts: Mapping[str, str], default: str | None) -> str | None:
        """The text that is put before each input, by sentence-transformers' own rules.

        Raises `ValueError` for a prompt name that the model does not have.
        """
        if self.prompt is not None:
            return self.prompt
        if self.prompt_name is not None:
            if self.prompt_name not in prompts:
                raise ValueError(
                    f"Prompt name {self.prompt_name!r} not found in the configured prompts "
                    f"dictionary with keys {list(prompts)!r}."
                )
            return prompts[self.prompt_name]
        return prompts.get(default) if default is not None else None

    def key_options(self, metadata: ModelMetadata) -> dict[str, Any] | None:
        """What of this call goes into a key; None where an argument's influence is not known."""
        if self.extra.keys() - {"processing_kwargs"}:
            return None
        options = dict(self.extra)
        if self.normalize:
            options["normalize"] = True
        cut = self.truncate_dim if self.truncate_dim is not None else metadata.truncate_dim
        if cut is not None:
            options["truncate_dim"] = cut
        return options

    def role_and_prompt(self, metadata: ModelMetadata) -> tuple[str | None, str | None]:
        """Role and prompt as they go into a key.

        A model without prompts and router treats every role alike, and a role's empty prompt as
        none. An empty prompt that the caller gives stays one: older versions pool it differently.
        """
        prompts = prompts_as_loaded(metadata.prompts)
        prompt = self.resolved_prompt(prompts, metadata.default_prompt_name)
        if metadata.has_roles or any(metadata.prompts.values()):
            return self.task, prompt
        return None, prompt if self.prompt is not None else prompt or None


def read_inputs(inputs: Any) -> tuple[list[str] | None, bool]:
    """(texts, whether it was a single one); texts is None where something else is in the inputs.

    As sentence-transformers reads them: a list, a tuple or a numpy array of strings is a batch.
    All texts are plain strings: a subclass may join itself to a prompt in a way of its own (a
    `Markup` escapes it), and its vector would be that of another text.
    """
    if isinstance(inputs, str):
        return [str.__str__(inputs)], True
    if isinstance(inputs, list | tuple):
        texts = list(inputs)
    elif type(inputs).__module__ == "numpy" and getattr(inputs, "ndim", 0) == 1:
        if inputs.dtype.kind not in "UO":
            return None, False
        texts = inputs.tolist()
    else:
        return None, False
    kinds = set(map(type, texts))
    if kinds <= {str}:
        return texts, False
    if all(issubclass(kind, str) for kind in kinds):
        return [str.__str__(text) for text in texts], False
    return None, False


async def beside_loop(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The call, in a thread: whoever awaits it keeps no event loop waiting."""
    import asyncio  # 11 ms, for those who have a loop and so have imported it

    return await asyncio.to_thread(function, *args, **kwargs)
