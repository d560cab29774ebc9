"""Which constructor calls go through the store, and as which spec."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache import ModelSpec
from pytest_embedcache.dropin import asked
from pytest_embedcache.dropin.asked import Asked, read_call


class Similarity(enum.Enum):
    """As the library's own."""

    DOT = "dot"


#: Arguments, and the spec and the view that they mean.
OURS: dict[str, tuple[dict[str, Any], ModelSpec, dict[str, Any]]] = {
    "nothing": ({}, ModelSpec("m"), {}),
    "all of a spec": (
        {"revision": "r", "trust_remote_code": True, "cache_folder": "/c", "device": "cuda:1"},
        ModelSpec("m", revision="r", trust_remote_code=True, cache_folder="/c", device="cuda:1"),
        {},
    ),
    "a dtype": ({"model_kwargs": {"dtype": "float16"}}, ModelSpec("m", dtype="float16"), {}),
    "an older name of it": (
        {"model_kwargs": {"torch_dtype": "torch.bfloat16"}},
        ModelSpec("m", dtype="bfloat16"),
        {},
    ),
    "views": (
        {"prompts": {"a": "b"}, "default_prompt_name": "a", "truncate_dim": 3},
        ModelSpec("m"),
        {"prompts": {"a": "b"}, "default_prompt_name": "a", "truncate_dim": 3},
    ),
    "a similarity": (
        {"similarity_fn_name": Similarity.DOT},
        ModelSpec("m"),
        {"similarity_fn_name": "dot"},
    ),
    "what means nothing": (
        {
            **dict.fromkeys(("modules", "model_kwargs", "config_kwargs", "model_card_data")),
            "backend": "torch",
            "prompts": None,
            "device": None,
            "processor_kwargs": {},
        },
        ModelSpec("m"),
        {},
    ),
}
#: Arguments that are for the real class, and which of them it is.
THEIRS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((), {}, "model_name_or_path"),
    (("",), {}, "model_name_or_path"),
    ((Path("m"),), {}, "model_name_or_path"),
    (("~/m",), {}, "model_name_or_path"),
    (("hkunlp/instructor-base",), {}, "model_name_or_path"),
    (("m", []), {}, "positional"),
    (("m",), {"modules": [1]}, "modules"),
    (("m",), {"backend": "onnx"}, "backend"),
    (("m",), {"model_kwargs": {"dtype": "auto"}}, "model_kwargs"),
    (("m",), {"model_kwargs": {"dtype": "float16", "a": 1}}, "model_kwargs"),
    (("m",), {"processor_kwargs": {"a": 1}}, "processor_kwargs"),
    (("m",), {"tokenizer_kwargs": {"a": 1}}, "tokenizer_kwargs"),
    (("m",), {"config_kwargs": {"a": 1}}, "config_kwargs"),
    (("m",), {"model_card_data": 1}, "model_card_data"),
    (("m",), {"use_auth_token": "t"}, "use_auth_token"),
    (("m",), {"prompts": ["a"]}, "prompts"),
    (("m",), {"prompts": {"a": None}}, "prompts"),
    (("m",), {"default_prompt_name": 1}, "default_prompt_name"),
    (("m",), {"truncate_dim": 0}, "truncate_dim"),
    (("m",), {"truncate_dim": True}, "truncate_dim"),
    (("m",), {"similarity_fn_name": "maxsim"}, "similarity_fn_name"),
    (("m",), {"device": "GPU 0"}, "arguments"),
    (("m",), {"trust_remote_code": "yes"}, "arguments"),
    (("m",), {"unheard_of": None}, "unheard_of"),
]


@pytest.fixture(autouse=True)
def _newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asked, "installed_version", lambda package: None)


@pytest.mark.parametrize("name", OURS)
def test_what_a_spec_and_a_view_can_say_is_ours(name: str) -> None:
    """Whether the model's name has a name or not."""
    arguments, spec, view = OURS[name]
    assert read_call(("m",), arguments) == Asked(spec, view)
    assert read_call((), {"model_name_or_path": "m", **arguments}) == Asked(spec, view)


@pytest.mark.parametrize(("args", "kwargs", "said"), THEIRS)
def test_anything_else_is_for_the_real_class(
    args: tuple[Any, ...], kwargs: dict[str, Any], said: str
) -> None:
    """The answer names the argument."""
    found = read_call(args, kwargs)
    assert isinstance(found, str)
    assert said in found


def test_a_token_is_in_neither_comparison_nor_repr() -> None:
    """It is in the spec all the same."""
    found = read_call(("m",), {"token": "secret"})
    assert isinstance(found, Asked)
    assert found == Asked(ModelSpec("m"))
    assert found.spec.token == "secret"
    assert "secret" not in repr(found)


def test_older_versions_cut_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """There `encode` does not know `truncate_dim`."""
    monkeypatch.setattr(asked, "installed_version", lambda package: "5.9.1")
    assert read_call(("m",), {"truncate_dim": 3}) == "truncate_dim"
