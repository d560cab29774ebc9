"""Where a model's files are on this machine.

Plain reading of the disk: no network, nothing heavy imported. The layout of the Hub cache is
`models--<org>--<name>/{refs/<revision>, snapshots/<commit>/…, blobs/…}`
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_embedcache.encoding import is_hex
from pytest_embedcache.errors import ModelNotFoundError, SnapshotError
from pytest_embedcache.hub_names import ROOT_NAMES
from pytest_embedcache.layout import adapter_bases, problems
from pytest_embedcache.spec import ModelSpec

__all__ = [
    "Place",
    "bases_of",
    "check",
    "hub_cache",
    "hub_cache_around",
    "is_commit",
    "locate",
    "repository_of",
]

#: Organisation of the names without one.
ORGANISATION = "sentence-transformers"


class Place(NamedTuple):
    """Where a name leads.

    `repository` is None for a local directory. `path` is the real path of the files, None where
    they are not on this machine; `commit` may be known without them. `looked_in` is for errors.
    """

    repository: str | None
    commit: str | None
    path: str | None
    looked_in: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The one name of the model: the repository's, or the real path."""
        return self.repository or self.path or ""


def repository_of(name: str) -> str:
    """The full name on the Hub: `all-MiniLM-L6-v2` is `sentence-transformers/all-MiniLM-L6-v2`."""
    if "/" in name or name.lower() in ROOT_NAMES:
        return name
    return f"{ORGANISATION}/{name}"


def hub_cache(cache_folder: str | None = None) -> Path:
    """The directory in which sentence-transformers and huggingface_hub keep what they fetched."""
    environment = os.environ
    home = environment.get("HF_HOME") or os.path.join(
        environment.get("XDG_CACHE_HOME") or "~/.cache", "huggingface"
    )
    chosen = (
        cache_folder
        or environment.get("SENTENCE_TRANSFORMERS_HOME")
        or environment.get("HF_HUB_CACHE")
        or environment.get("HUGGINGFACE_HUB_CACHE")
        or os.path.join(home, "hub")
    )
    return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(chosen))))


def hub_cache_around(path: str) -> Path | None:
    """The Hub cache in which the snapshot `path` lies; None for any other directory."""
    # <cache>/models--…/snapshots/<commit>
    return Path(path).parents[2] if _as_snapshot(path) else None


def is_commit(revision: str) -> bool:
    """Whether this is the full name of a commit, which is one content for ever."""
    return is_hex(revision, 40)


def _as_snapshot(path: str) -> tuple[str, str] | None:
    """Repository and commit of a snapshot's path."""
    *_, folder, snapshots, commit = ("", "", *path.replace("\\", "/").split("/"))
    if snapshots != "snapshots" or not folder.startswith("models--") or not is_commit(commit):
        return None
    return folder.removeprefix("models--").replace("--", "/"), commit


def locate(spec: ModelSpec) -> Place:
    """Find the files of `spec` on this machine; those of a resolved one are at its path.

    Raises `ModelNotFoundError` for a path that leads nowhere; a name on the Hub that is not here
    gives a `Place` without a path.
    """
    resolved = spec.path is not None and os.path.isdir(spec.path)
    name = spec.path if resolved and spec.path else os.path.expanduser(spec.name)
    if os.path.isdir(name):
        real = os.path.realpath(name)
        if inside := _as_snapshot(real):
            return Place(*inside, real)
        return Place(None, None, real)
    if _is_path(name):
        what = (
            "is a file, not a directory" if os.path.isfile(name) else "there is no such directory"
        )
        raise ModelNotFoundError(
            spec.name,
            what,
            "Give the directory that holds modules.json or config.json, or a name on the Hub such "
            "as 'all-MiniLM-L6-v2'.",
            (os.path.abspath(name),),
        )
    repository = repository_of(name)
    cache = hub_cache(spec.cache_folder)
    folder = cache / f"models--{repository.replace('/', '--')}"
    revision = spec.revision or "main"
    commit = revision if is_commit(revision) else _read_ref(folder / "refs" / revision)
    snapshot = folder / "snapshots" / commit if commit else None
    found = snapshot is not None and snapshot.is_dir()
    return Place(
        repository,
        commit,
        os.path.realpath(snapshot) if found and snapshot else None,
        (str(folder),),
    )


def _is_path(name: str) -> bool:
    return (
        os.path.isabs(name)
        or name.startswith((".", "~"))
        or name.count("/") > 1
        or "\\" in name
        or os.path.isfile(name)
    )


def _read_ref(path: Path) -> str | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return text if is_commit(text) else None


def bases_of(root: Path) -> Iterator[Place]:
    """Where the models are that adapters in `root` change: in the Hub cache that holds those."""
    around = hub_cache_around(str(root))
    for name in adapter_bases(root):
        yield locate(ModelSpec(name, cache_folder=str(around) if around else None))


def check(name: str, place: Place) -> None:
    """Raise `SnapshotError` where the files at `place` are incomplete or damaged."""
    assert place.path is not None
    if found := problems(place.path, complete=place.repository is not None):
        remedy = (
            f"Delete {place.path} and run once with network access."
            if place.repository
            else "Copy the model again; what sentence-transformers saves has all files."
        )
        raise SnapshotError(name, place.path, found, remedy)
