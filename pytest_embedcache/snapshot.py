"""Where a model's files are on this machine, and whether they are all there.

Plain reading of the disk: no network, nothing heavy imported. The layout of the Hub cache is
`models--<org>--<name>/{refs/<revision>, snapshots/<commit>/…, blobs/…}`
(https://huggingface.co/docs/huggingface_hub/guides/manage-cache).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import ModelNotFoundError, SnapshotError
from pytest_embedcache.hub_names import ROOT_NAMES
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import DamagedWeightsError, read_header

__all__ = [
    "Place",
    "check",
    "hub_cache",
    "locate",
    "module_directories",
    "problems",
    "repository_of",
    "weights_of",
]

COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOT = re.compile(
    r"models--(?P<repository>[^/\\]+)[/\\]snapshots[/\\](?P<commit>[0-9a-f]{40})"
)

#: Organisation of the names without one.
ORGANISATION = "sentence-transformers"
#: Any of these is a tokenizer.
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "tokenizer_config.json")
#: A tokenizer's JSON takes milliseconds to parse; a cut-off one does not end in a bracket.
LARGE_JSON_BYTES = 65536
_INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")


@dataclass(frozen=True)
class Place:
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


def locate(spec: ModelSpec) -> Place:
    """Find the files of `spec` on this machine.

    Raises `ModelNotFoundError` for a path that leads nowhere; a name on the Hub that is not here
    gives a `Place` without a path.
    """
    name = os.path.expanduser(spec.name)
    if os.path.isdir(name):
        real = os.path.realpath(name)
        inside = _SNAPSHOT.search(real)
        if inside and real.endswith(inside["commit"]):
            repository = inside["repository"].replace("--", "/")
            return Place(repository, inside["commit"], real)
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
    commit = revision if COMMIT.fullmatch(revision) else _read_ref(folder / "refs" / revision)
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
    return text if COMMIT.fullmatch(text) else None


def module_directories(path: Path) -> Iterator[tuple[Path, str]]:
    """The directories of the model's modules, with their types, the routers' own modules too.

    A model without modules.json is one transformer in the root.
    """
    listed = _json(path / "modules.json", default=None)
    if listed is None:
        yield path, "Transformer"
        return
    for module in listed:
        yield from _with_routes(path, str(module.get("path", "")), str(module.get("type", "")))


def _with_routes(root: Path, subfolder: str, kind: str) -> Iterator[tuple[Path, str]]:
    directory = root / subfolder
    if not directory.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"modules.json names {subfolder!r}, which lies outside the model")
    yield directory, kind
    routes = _json(directory / "router_config.json", default={})
    for route, route_kind in routes.get("types", {}).items():
        yield from _with_routes(root, os.path.join(subfolder, route), str(route_kind))


def weights_of(directory: Path) -> list[Path]:
    """The one set of weights files in `directory` that torch reads: safetensors before pickle.

    Raises `ValueError` for a shard that an index names outside the directory.
    """
    for single, index in (("model.safetensors", _INDEXED[0]), ("pytorch_model.bin", _INDEXED[1])):
        if (directory / single).exists():
            return [directory / single]
        if (directory / index).exists():
            shards = sorted(set(_json(directory / index).get("weight_map", {}).values()))
            if any(os.path.basename(shard) != shard for shard in shards):
                raise ValueError(f"{index} names a file outside its directory")
            return [directory / shard for shard in shards]
    return sorted(directory.glob("adapter_model.*"))


def problems(path: str, *, complete: bool = True) -> tuple[str, ...]:
    """What is missing or damaged in the model's files, one line each; empty where all is well.

    Finds what a broken download or copy leaves: missing and dangling files, JSON that does not
    parse, weights whose length is not the one their header promises. `complete` also asks for a
    tokenizer beside each transformer, as a Hub repository has it.
    """
    root = Path(path)
    found = [
        f"{entry.relative_to(root)} is a link to nothing"
        for entry in sorted(root.rglob("*"))
        if entry.is_symlink() and not entry.exists()
    ]
    for name in ("modules.json", "config.json"):
        if (root / name).exists():
            break
    else:
        return (*found, "there is neither modules.json nor config.json")
    try:
        for directory, kind in module_directories(root):
            found += _module_problems(root, directory, kind.rpartition(".")[2], complete)
    except ValueError as error:
        found.append(str(error))
    return tuple(dict.fromkeys(found))


def _module_problems(root: Path, directory: Path, kind: str, complete: bool) -> Iterator[str]:
    label = "" if directory == root else f"{directory.relative_to(root)}/"
    if kind in ("Transformer", "Pooling", "Dense") and not (directory / "config.json").exists():
        yield f"{label}config.json is missing"
    for config in sorted(directory.glob("*.json")):
        try:
            _parse_or_glance(config)
        except ValueError as error:
            yield f"{label}{error}"
    weights = weights_of(directory)
    if kind in ("Transformer", "Dense", "StaticEmbedding") and not weights:
        yield f"{label}model.safetensors is missing"
    for file in weights:
        if not file.exists():
            yield f"{label}{file.name} is missing"
        elif file.suffix == ".safetensors":
            try:
                read_header(file)
            except DamagedWeightsError as error:
                yield f"{label}{error}"
        elif not file.stat().st_size:
            yield f"{label}{file.name} is empty"
    if (
        complete
        and kind == "Transformer"
        and not any(True for pattern in _TOKENIZERS for _ in directory.glob(pattern))
    ):
        yield f"{label}tokenizer.json is missing"


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


def _parse_or_glance(path: Path) -> None:
    """Raise `ValueError` where a JSON file was cut off; a large one is only looked at its end."""
    if path.stat().st_size < LARGE_JSON_BYTES:
        _json(path)
        return
    with path.open("rb") as stream:
        stream.seek(-64, os.SEEK_END)
        if not stream.read().rstrip().endswith((b"}", b"]")):
            raise ValueError(f"{path.name} is cut off")


_REQUIRED: Any = object()


def _json(path: Path, default: Any = _REQUIRED) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        if default is _REQUIRED:
            raise ValueError(f"{path.name} is missing") from None
        return default
    except ValueError as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from error
