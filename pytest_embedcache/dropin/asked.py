"""What a constructor call of `SentenceTransformer` asks for, if a `CachedModel` can give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from pytest_embedcache.installed import installed_version
from pytest_embedcache.models.metadata import SIMILARITIES
from pytest_embedcache.spec import ModelSpec

__all__ = ["Asked", "read_call", "views_are_exact"]

#: Arguments that decide which model it is, and how a spec has them.
_SPEC = ("revision", "trust_remote_code", "cache_folder", "token")
#: Arguments that a loaded model can be seen through.
_VIEW = ("prompts", "default_prompt_name", "truncate_dim", "similarity_fn_name")
#: Arguments that ask for nothing where they have one of these values.
_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "modules": (None,),
    "use_auth_token": (None,),
    "model_kwargs": (None, {}),
    "processor_kwargs": (None, {}),
    "tokenizer_kwargs": (None, {}),
    "config_kwargs": (None, {}),
    "model_card_data": (None,),
    "backend": ("torch",),
    "local_files_only": (False, True),
}
#: Their constructor changes the model by its name.
_BY_NAME = ("hkunlp/instructor",)
_DTYPE_KEYS = ("dtype", "torch_dtype")


class Asked(NamedTuple):
    """One call.

    Attributes:
        spec: The model.
        view: Those of the arguments that are no part of it, as they were given.
        only_local: Whether nothing may be fetched.
    """

    spec: ModelSpec
    view: Mapping[str, Any] = MappingProxyType({})
    only_local: bool = False


def read_call(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Asked | str:
    """The call `SentenceTransformer(*args, **kwargs)`, or the argument that is for the real class.

    Nothing is looked up; a value that only the real class can judge is for it, too.
    """
    given = dict(kwargs)
    if len(args) > 1:
        return "more than one positional argument"
    name = args[0] if args else given.pop("model_name_or_path", None)
    if not isinstance(name, str) or not name.strip() or name.startswith(("~", *_BY_NAME)):
        return "model_name_or_path"
    dtype = _dtype(given)
    for label, values in _NOTHING.items():
        if label in given and given.pop(label) not in values:
            return label
    spec = {label: given.pop(label) for label in _SPEC if given.get(label) is not None}
    device = given.pop("device", None)
    view = {label: given.pop(label) for label in _VIEW if given.get(label) is not None}
    if (wrong := _not_a_view(view)) is not None:
        return wrong
    for label, value in given.items():
        if label not in (*_SPEC, *_VIEW) or value is not None:
            return label  # not known, or given as None where that means nothing
    if "similarity_fn_name" in view:  # an enum, too
        said = view["similarity_fn_name"]
        view["similarity_fn_name"] = getattr(said, "value", said)
    try:
        made = ModelSpec(name, device=None if device is None else str(device), dtype=dtype, **spec)
    except (TypeError, ValueError):  # the real class says it in its own way
        return "the arguments"
    return Asked(made, view, bool(kwargs.get("local_files_only")))


def _dtype(given: dict[str, Any]) -> str | None:
    """Take the dtype out of the model's keyword arguments, where there is nothing else in them."""
    options = given.get("model_kwargs")
    if not isinstance(options, dict) or len(options) != 1:
        return None
    ((label, value),) = options.items()
    text = str(value).removeprefix("torch.")
    if label not in _DTYPE_KEYS or text not in ("float32", "float16", "bfloat16", "float64"):
        return None
    del given["model_kwargs"]
    return text


def _not_a_view(view: Mapping[str, Any]) -> str | None:
    prompts = view.get("prompts", {})
    if not isinstance(prompts, dict) or not all(
        isinstance(part, str) for item in prompts.items() for part in item
    ):
        return "prompts"
    if not isinstance(view.get("default_prompt_name", ""), str):
        return "default_prompt_name"
    cut = view.get("truncate_dim", 1)
    if type(cut) is not int or cut < 1 or ("truncate_dim" in view and not views_are_exact()):
        return "truncate_dim"
    said = view.get("similarity_fn_name", "cosine")
    if getattr(said, "value", said) not in SIMILARITIES:
        return "similarity_fn_name"
    return None


def views_are_exact() -> bool:
    """Whether the installed sentence-transformers merges prompts and cuts vectors as is done here.

    From version 6 on; where none is installed, the newest counts.
    """
    version = installed_version("sentence-transformers")
    return version is None or int(version.partition(".")[0]) >= 6
