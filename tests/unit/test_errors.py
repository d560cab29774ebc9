"""An error says what happened and what to do, and arrives whole wherever it is sent."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest

from pytest_embedcache import errors
from pytest_embedcache.errors import EmbedCacheError

#: By annotation, so that an error which is added is held to the same.
_EXAMPLES: dict[str, Any] = {
    "str": "given",
    "str | None": "given",
    "bytes": b"given",
    "object": "given",
    "int": 3,
    "int | None": 429,
    "float": 12.5,
    "float | None": 12.5,
    "bool": True,
    "tuple[str, ...]": ("one", "two"),
    "tuple[int, ...]": (2, 3),
}
_CLASSES = sorted(
    (
        member
        for member in vars(errors).values()
        if inspect.isclass(member)
        and issubclass(member, EmbedCacheError)
        and member is not EmbedCacheError
    ),
    key=lambda member: member.__name__,
)
_TRIPS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda error: pickle.loads(pickle.dumps(error)),
    "old pickle": lambda error: pickle.loads(pickle.dumps(error, protocol=2)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}

each = pytest.mark.parametrize("cls", _CLASSES, ids=lambda cls: cls.__name__)


def make(cls: type[EmbedCacheError]) -> EmbedCacheError:
    taken = list(inspect.signature(cls).parameters.values())
    values = {p.name: _EXAMPLES[str(p.annotation)] for p in taken}
    return cls(**values)


def attributes(cls: type[EmbedCacheError]) -> list[str]:
    """The names that its docstring promises, or that of the error it is a kind of."""
    documented = [base.__doc__ or "" for base in cls.__mro__ if issubclass(base, EmbedCacheError)]
    promised = (doc.partition("Attribute")[2].partition("\n\n")[0] for doc in documented)
    return [name for text in promised for name in re.findall(r"`(\w+)`", text)]


def test_all_errors_are_listed() -> None:
    """`__all__` names every error of the module, and nothing else."""
    assert sorted(errors.__all__) == sorted(["EmbedCacheError", *(c.__name__ for c in _CLASSES)])


@each
def test_an_error_is_also_the_builtin_that_a_caller_would_catch(
    cls: type[EmbedCacheError],
) -> None:
    """Every error derives from a built-in one that says more than `Exception`."""
    builtin = [b for b in cls.__mro__ if b.__module__ == "builtins"]
    assert set(builtin) - {Exception, BaseException, object}


@each
def test_an_error_has_the_attributes_that_it_promises(cls: type[EmbedCacheError]) -> None:
    """Every attribute in the docstring is there, and what was given is in it or in the message."""
    error = make(cls)
    for name in attributes(cls):
        assert getattr(error, name) is not None, name
    assert attributes(cls) or not vars(error)


@each
@pytest.mark.parametrize("trip", _TRIPS)
def test_an_error_arrives_whole(cls: type[EmbedCacheError], trip: str) -> None:
    """Type, message, attributes, notes and the built-in's own part survive."""
    error = make(cls)
    error.add_note("seen on worker gw1")
    arrived = _TRIPS[trip](error)
    assert type(arrived) is cls
    assert str(arrived) == str(error)
    assert arrived.args == error.args
    assert vars(arrived) == vars(error)
    assert arrived.__notes__ == ["seen on worker gw1"]
    for inherited in ("msg", "errno", "strerror"):
        assert getattr(arrived, inherited, None) == getattr(error, inherited, None)


@each
def test_an_error_has_one_line_that_ends_in_what_to_do(cls: type[EmbedCacheError]) -> None:
    """The message is one line, and a given remedy is its end."""
    message = str(make(cls))
    assert "\n" not in message
    if "remedy" in inspect.signature(cls).parameters:
        assert message.endswith("given")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (
            errors.MissingExtraError("the backend 'torch'", "torch", "sentence-transformers"),
            "pip install 'pytest-embedcache[sentence-transformers]'",
        ),
        (
            errors.LockTimeoutError("a model", "/x.lock", "process 3 on here", 9.6),
            "raise EMBEDCACHE_LOCK_TIMEOUT (seconds)",
        ),
        (errors.UnresolvedBindingError("users", "it is a default"), "Look the class up"),
    ],
)
def test_an_error_that_knows_its_remedy_says_it(error: EmbedCacheError, remedy: str) -> None:
    """Where the remedy is always the same, it is in the class."""
    assert remedy in str(error)


def test_a_bad_value_is_kept_as_text() -> None:
    """A value that cannot be pickled does not keep the error from being sent."""
    error = errors.ModelSpecError("device", lambda: None, "use 'cpu'")
    assert pickle.loads(pickle.dumps(error)).value == error.value
    assert error.value.startswith("<function")


def test_an_error_names_the_places_that_were_searched() -> None:
    """`looked_in` is in the message, and nothing is said about places where there were none."""
    searched = errors.ModelNotFoundError("m", "is gone", "Do this.", ("/a", "/b"))
    assert str(searched) == "model 'm': is gone. Looked in: /a, /b. Do this."
    assert str(errors.ModelNotFoundError("m", "is gone", "Do this.")) == (
        "model 'm': is gone. Do this."
    )
