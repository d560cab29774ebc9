"""Which loaded models a name or a spec speaks of, told without asking the disk for their files."""

from __future__ import annotations

import os
from collections.abc import Callable

from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.snapshot import locate, repository_of
from pytest_embedcache.spec import ModelSpec

__all__ = ["fitting"]


def fitting(wanted: ModelSpec | str) -> Callable[[ModelSpec], bool]:
    """A test for specs, resolved ones and spellings alike, that mean a model of `wanted`.

    What a spec leaves open (revision, device, dtype) fits any; a name as a string fits all of that
    name.
    """
    spec = wanted if isinstance(wanted, ModelSpec) else ModelSpec(wanted)
    names = _names(spec)
    path = os.path.expanduser(spec.name)
    if os.path.isdir(path):
        names.add(os.path.realpath(path))
    if spec is not wanted:
        return lambda other: not names.isdisjoint(_names(other))

    revisions = {spec.revision, _commit(spec) or spec.revision} if spec.revision else None

    def fits(other: ModelSpec) -> bool:
        return (
            not names.isdisjoint(_names(other))
            and (revisions is None or other.revision in revisions)
            and spec.device in (None, other.device)
            and spec.dtype in (None, other.dtype)
            and (spec.backend, spec.form) == (other.backend, other.form)
            and spec.trust_remote_code == other.trust_remote_code
        )

    return fits


def _names(spec: ModelSpec) -> set[str]:
    return {spec.name, repository_of(spec.name), *([spec.path] if spec.path else [])}


def _commit(spec: ModelSpec) -> str | None:
    try:
        return locate(spec).commit
    except ModelNotFoundError:
        return None
