"""`ModelSpec`: every parameter that decides which model is loaded."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from pytest_embedcache.errors import ModelSpecError

__all__ = ["DTYPES", "FORMS", "ModelSpec"]

DTYPES = ("float32", "float16", "bfloat16", "float64")
#: What each backend can load, the usual first. Another backend, a test's own, says it itself.
FORMS = {
    "torch": ("float32",),
    "onnx": ("float32", "int8", "int8-dynamic", "shipped"),
    "openai": ("float32",),
}
_ALL_FORMS = tuple(dict.fromkeys(form for forms in FORMS.values() for form in forms))

#: Of these a machine has one: with an index or without, they are one device.
_SINGLE_DEVICES = ("cpu", "mps", "meta")
#: What a path was resolved from.
_LEADS_TO_PATH = frozenset(("name", "revision", "cache_folder", "backend", "form"))


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Which model, how it is loaded, and where.

    What a single call can choose (a prompt, normalisation, truncation) is not part of it. A spec
    is *resolved* when `path` is set and `device` and `dtype` are concrete: then `name` is the full
    name (or the real path of a local model), `revision` the commit, and two specs of one model are
    equal and have one hash. A registry resolves what it is given.

    Attributes:
        name: A name on the Hub, short (`all-MiniLM-L6-v2`) or full, or a directory. A directory
            of that name wins over the Hub, as in sentence-transformers.
        revision: Branch, tag or commit; `None` is `main`.
        backend: How the model comes to be: `torch` is sentence-transformers, `onnx` a prepared
            export of the model that needs neither torch nor transformers to load, `openai` a model
            behind OpenAI's API or a compatible one, whose `revision` is a version of your own.
        form: What is loaded: `float32`, or with the backend `onnx` also `int8` (a quarter of the
            size), `int8-dynamic` (faster and coarser) or `shipped` (the ONNX file of the model's
            own repository). A form changes vectors.
        device: `cpu`, `cuda`, `cuda:1`, `mps`, …; `None` is the best one that is there.
        dtype: `float32`, `float16`, `bfloat16`, `float64`; `None` is what the installed
            transformers would choose for this checkpoint.
        trust_remote_code: Whether code from the model's repository may run.
        cache_folder: The Hub cache to look in; `None` is the one that huggingface_hub uses.
        token: For private models; in neither equality, hash, repr nor logs.
        path: The real path of the model's files, or the URL of its API; set by resolution.

    Raises:
        ModelSpecError: A value cannot be used; the error names it and says what can.
    """

    name: str
    revision: str | None = None
    backend: str = "torch"
    form: str = "float32"
    device: str | None = None
    dtype: str | None = None
    trust_remote_code: bool = False
    cache_folder: str | None = None
    token: str | bool | None = field(default=None, repr=False, compare=False)
    path: str | None = None
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        change = object.__setattr__
        name: object = self.name
        if isinstance(name, os.PathLike):
            # A Path is a directory, never a name on the Hub.
            name = os.path.abspath(os.path.expanduser(os.fspath(name)))
            change(self, "name", name)
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise ModelSpecError(
                "model", name, "give a name such as 'all-MiniLM-L6-v2', or a directory"
            )
        if self.cache_folder is not None:
            change(self, "cache_folder", _directory("cache_folder", self.cache_folder))
        if self.device is not None:
            change(self, "device", _device(self.device))
        if self.dtype is not None:
            change(self, "dtype", _dtype(self.dtype))
        if type(self.trust_remote_code) is not bool:
            raise ModelSpecError("trust_remote_code", self.trust_remote_code, "use True or False")
        for label in ("revision", "backend"):
            value = getattr(self, label)
            if value is not None and (not isinstance(value, str) or not value):
                raise ModelSpecError(label, value, "use a string that is not empty")
        forms = FORMS.get(self.backend, _ALL_FORMS)
        if self.form not in forms:
            whose = f" with the backend {self.backend!r}" if self.form in _ALL_FORMS else ""
            raise ModelSpecError("form", self.form, f"use one of {', '.join(forms)}{whose}")
        if self.backend in ("onnx", "openai"):
            self._compute_on_the_cpu()
        compared = tuple(getattr(self, f.name) for f in fields(self) if f.compare)
        # Once: a registry hashes the spec at every access.
        change(self, "_hash", hash(compared))

    def _compute_on_the_cpu(self) -> None:
        """What is prepared, or behind an API, has nothing else to choose: so it is no key."""
        for label, only in (("device", "cpu"), ("dtype", "float32")):
            value = getattr(self, label)
            if value not in (None, only):
                raise ModelSpecError(
                    label, value, f"the backend {self.backend!r} has {only!r} only"
                )
            object.__setattr__(self, label, only)

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[Callable[..., ModelSpec], tuple[Any, ...]]:
        # Through the constructor: the hash of a string differs from process to process.
        return type(self), tuple(getattr(self, f.name) for f in fields(self) if f.init)

    @property
    def is_resolved(self) -> bool:
        """Whether this spec is a registry's key."""
        return None not in (self.path, self.device, self.dtype)

    def replace(self, **changes: Any) -> Self:
        """A copy in which `changes` hold; not resolved any more where they may lead elsewhere."""
        if not _LEADS_TO_PATH.isdisjoint(changes):
            changes.setdefault("path", None)
        return replace(self, **changes)

    def fingerprint(self, cache_dir: str | os.PathLike[str] | None = None) -> str:
        """Identity of the model behind a vector, from its files' content (64 hex digits).

        Needs neither torch nor the network. See `pytest_embedcache.fingerprint`.

        Raises:
            ModelNotFoundError: The files are not here, and were not when a fingerprint was last
                asked for.
            SnapshotError: The files are incomplete or damaged.
        """
        from pytest_embedcache.fingerprint import fingerprint_of

        return fingerprint_of(self, cache_dir=cache_dir).digest


def _directory(label: str, value: object) -> str:
    if not isinstance(value, (str, os.PathLike)) or not os.fspath(value):
        raise ModelSpecError(label, value, "give a directory, or None for the usual one")
    return os.path.abspath(os.path.expanduser(os.fspath(value)))


def _device(value: object) -> str:
    text = str(value)  # a torch.device, too
    kind, colon, index = text.partition(":")
    named = text.isascii() and kind.isalpha() and kind.islower()
    if not named or index.isdecimal() != bool(colon):
        raise ModelSpecError("device", value, "use 'cpu', 'cuda', 'cuda:1', 'mps', … or None")
    # `cuda` alone is the current one, which resolution has to ask for.
    return kind if not colon or kind in _SINGLE_DEVICES else f"{kind}:{int(index)}"


def _dtype(value: object) -> str:
    text = str(value).removeprefix("torch.")
    if text not in DTYPES:
        raise ModelSpecError("dtype", value, f"use one of {', '.join(DTYPES)}, or None")
    return text
