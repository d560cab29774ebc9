"""What a model's directory holds: its modules, the weights that torch reads, and what is missing.

Plain reading of the disk, as sentence-transformers does it: modules.json lists the modules, each
with a folder and a class; a router's folder lists modules of its own.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_embedcache.weights import DamagedWeightsError, read_header

__all__ = [
    "FOR_PEOPLE",
    "OTHER_ENGINES",
    "OTHER_ENGINES_DIRECTORIES",
    "adapter_bases",
    "code_repositories",
    "matches",
    "module_directories",
    "names_in",
    "problems",
    "weights_of",
]

#: Suffixes and directories of formats that torch does not read, and of files for people.
OTHER_ENGINES = (
    *(".onnx", ".onnx_data", ".h5", ".msgpack", ".ot", ".tflite", ".gguf", ".mlmodel", ".xml"),
)
OTHER_ENGINES_DIRECTORIES = ("onnx", "openvino", "coreml")
FOR_PEOPLE = (".md", ".png", ".jpg")

#: Any of these in a model's root says what it is.
_ROOT_FILES = ("modules.json", "config.json", "adapter_config.json")
_OURS = "sentence_transformers."
#: Class of module -> the file, or one of the files, without which it cannot be.
_NEEDED = {
    "Transformer": ("config.json", "adapter_config.json"),
    "Router": ("router_config.json", "config.json"),
    "Asym": ("config.json", "router_config.json"),
    "CNN": ("cnn_config.json",),
    "LSTM": ("lstm_config.json",),
    "WordEmbeddings": ("wordembedding_config.json",),
} | dict.fromkeys(
    ("Pooling", "Dense", "LayerNorm", "WeightedLayerPooling", "BoW", "WordWeights"),
    ("config.json",),
)
_WITH_WEIGHTS = ("Transformer", "Dense", "StaticEmbedding", "LayerNorm", "CNN", "LSTM")
#: Any of these is a tokenizer, or what an image or sound has in its place.
_TOKENIZERS = (
    *("tokenizer*.json", "vocab.*", "merges.txt", "*.model", "*.tiktoken"),
    *("*processor_config.json", "tokenization_*.py"),
)
_ADAPTERS = ("adapter_model.*",)
_INDEXED = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
#: A tokenizer's JSON takes milliseconds to parse; a cut-off one does not end in a bracket.
LARGE_JSON_BYTES = 65536


def names_in(directory: str | os.PathLike[str]) -> list[str]:
    """What lies in a directory; nothing in one that is not there, or not to be read."""
    # Listed once: a glob for each pattern takes twenty times as long, in every process.
    try:
        return os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether one of the patterns, in which only `*` is special, is that of a file's name.

    Without `fnmatch`, which compiles each to a regular expression: milliseconds, in every process.
    """
    name = os.path.normcase(name)
    exact, others = _split(patterns)
    return name in exact or any(_fits(name, *other) for other in others)


@functools.cache
def _split(patterns: tuple[str, ...]) -> tuple[frozenset[str], list[tuple[str, str, list[str]]]]:
    """The patterns without a `*`, and the others as what is before, behind and between theirs."""
    split = [os.path.normcase(pattern).split("*") for pattern in patterns]
    exact = frozenset(parts[0] for parts in split if len(parts) == 1)
    return exact, [(parts[0], parts[-1], parts[1:-1]) for parts in split if len(parts) > 1]


def _fits(name: str, first: str, last: str, between: list[str]) -> bool:
    if not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in between:
        if (found := name.find(part, at, end)) < 0:
            return False
        at = found + len(part)
    return at <= end


def module_directories(root: Path) -> Iterator[tuple[Path, str]]:
    """The directories of the model's modules, with their types, the routers' own modules too.

    A model without modules.json is one transformer in the root. Raises `ValueError` where a list
    of modules cannot be read, or leads outside the model.
    """
    listed = _json(root / "modules.json", default=None)
    if listed is None:
        yield root, "Transformer"
        return
    if not isinstance(listed, list) or not all(isinstance(module, dict) for module in listed):
        raise ValueError("modules.json is not a list of modules")
    for module in listed:
        yield from _with_routes(root, str(module.get("path", "")), str(module.get("type", "")))


def _with_routes(
    root: Path, subfolder: str, kind: str, routers: tuple[Path, ...] = ()
) -> Iterator[tuple[Path, str]]:
    directory = root / subfolder
    if not _is_inside(root, directory, subfolder):
        raise ValueError(f"modules.json names {subfolder!r}, which lies outside the model")
    if directory in routers:
        raise ValueError(f"the router in {subfolder!r} leads back to itself")
    yield directory, kind
    file = directory / "router_config.json"
    if not os.path.exists(file):
        if kind.rpartition(".")[2] not in ("Asym", "Router"):
            return
        file = directory / "config.json"  # the name from when routers were called Asym
    routes = _json(file, default={})
    types = routes.get("types", {}) if isinstance(routes, dict) else None
    if not isinstance(types, dict):
        raise ValueError(f"{file.relative_to(root)} has no table of types")
    for route, route_kind in types.items():
        inner = os.path.join(subfolder, route)
        yield from _with_routes(root, inner, str(route_kind), (*routers, directory))


def _is_inside(root: Path, directory: Path, subfolder: str) -> bool:
    plain = subfolder == os.path.basename(subfolder) != os.pardir
    if plain and not os.path.islink(directory):
        return True  # nearly always, and asked a dozen times in every process
    return directory.resolve().is_relative_to(root.resolve())


def weights_of(directory: Path) -> list[Path]:
    """The one set of weights files in `directory` that torch reads: safetensors before pickle.

    An adapter's come with those of the model beside it. Raises `ValueError` for a shard that an
    index names outside the directory.
    """
    found = _model_weights(directory)
    if not found or os.path.exists(os.path.join(directory, "adapter_config.json")):
        names = names_in(directory)
        found += [directory / name for name in sorted(names) if matches(name, _ADAPTERS)]
    return found


def _model_weights(directory: Path) -> list[Path]:
    for single, index in (("model.safetensors", _INDEXED[0]), ("pytorch_model.bin", _INDEXED[1])):
        if os.path.exists(os.path.join(directory, single)):
            return [directory / single]
        if os.path.exists(os.path.join(directory, index)):
            table = _json(directory / index)
            shards = table.get("weight_map") if isinstance(table, dict) else None
            if not isinstance(shards, dict) or not all(isinstance(s, str) for s in shards.values()):
                raise ValueError(f"{index} has no table of shards")
            if any(os.path.basename(shard) != shard for shard in shards.values()):
                raise ValueError(f"{index} names a file outside its directory")
            return [directory / shard for shard in sorted(set(shards.values()))]
    return []


def adapter_bases(root: Path) -> Iterator[str]:
    """The name of each model that an adapter in `root` changes and that lies elsewhere.

    Its revision is `main`: that in the adapter's configuration is not what transformers loads.
    """
    for directory, _ in module_directories(root):
        config = _json(directory / "adapter_config.json", default=None)
        base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
        # With a configuration beside it, transformers takes the base to be there as well.
        if base and not ((directory / "config.json").exists() and _model_weights(directory)):
            yield str(base)


def code_repositories(root: Path) -> set[str]:
    """The other repositories in which code of the model lies, which transformers fetches itself."""
    found = set()
    for directory, _ in module_directories(root):
        for name in ("config.json", "tokenizer_config.json"):
            config = _json(directory / name, default=None)
            classes = config.get("auto_map") if isinstance(config, dict) else None
            for named in classes.values() if isinstance(classes, dict) else ():
                # "org/name--module.Class"; a tokenizer's is a list of two, of which one may be null
                for one in named if isinstance(named, list) else [named]:
                    repository, elsewhere, _ = str(one).partition("--")
                    found.update([repository] if elsewhere else [])
    return found


def problems(path: str, *, complete: bool = True) -> tuple[str, ...]:
    """What is missing or damaged in the model's files, one line each; empty where all is well.

    Finds what a broken download or copy leaves: missing and dangling files, JSON that does not
    parse, weights whose length is not the one their header promises. `complete` also asks for a
    tokenizer beside each transformer, as a Hub repository has it.
    """
    root = Path(path)
    if not any(os.path.lexists(root / name) for name in _ROOT_FILES):
        return ("there is neither modules.json nor config.json",)
    found = list(_dangling(root, root))
    try:
        for config in (root / "modules.json", root / "config_sentence_transformers.json"):
            _json(config, default=None)
        for directory, kind in module_directories(root):
            found += _module_problems(root, directory, _class_of(kind), complete)
    except ValueError as error:
        found.append(str(error))
    except OSError as error:
        found.append(f"{error.filename or path} cannot be read ({error.strerror})")
    return tuple(dict.fromkeys(found))


def _class_of(kind: str) -> str:
    """The name of a class of sentence-transformers; of others it is not known what they need."""
    return kind.rpartition(".")[2] if kind.startswith(_OURS) or kind == "Transformer" else ""


def _dangling(root: Path, directory: Path) -> Iterator[str]:
    if not os.path.isdir(directory):
        return
    with os.scandir(directory) as entries:
        links = sorted(entry.name for entry in entries if entry.is_symlink())
    for name in links:
        read = not name.endswith(OTHER_ENGINES + FOR_PEOPLE) and name[0] != "."
        if read and not os.path.exists(os.path.join(directory, name)):
            yield f"{(directory / name).relative_to(root)} is a link to nothing"


def _module_problems(root: Path, directory: Path, kind: str, complete: bool) -> Iterator[str]:
    label = "" if directory == root else f"{directory.relative_to(root)}/"
    yield from _dangling(root, directory)
    needed = _NEEDED.get(kind)
    if needed and not any(os.path.exists(os.path.join(directory, name)) for name in needed):
        yield f"{label}{needed[0]} is missing"
    for name in sorted(names_in(directory)):
        config = directory / name
        if matches(name, ("*.json",)) and config.exists():
            try:
                _parse_or_glance(config)
            except ValueError as error:
                yield f"{label}{error}"
    weights = weights_of(directory)
    if kind in _WITH_WEIGHTS and not weights:
        yield f"{label}model.safetensors is missing"
    for file in weights:
        if trouble := _weights_problem(file):
            yield f"{label}{trouble}"
    if complete and kind == "Transformer" and not _has_tokenizer(directory):
        yield f"{label}tokenizer.json is missing"


def _has_tokenizer(directory: Path) -> bool:
    return any(matches(name, _TOKENIZERS) for name in names_in(directory))


def _weights_problem(file: Path) -> str | None:
    if not file.exists():
        return f"{file.name} is missing"
    if file.suffix == ".safetensors":
        try:
            read_header(file)
        except DamagedWeightsError as error:
            return str(error)
        return None
    if not file.stat().st_size:
        return f"{file.name} is empty"
    import zipfile  # safetensors have no use for it

    with file.open("rb") as stream:
        is_archive = stream.read(4) == b"PK\x03\x04"  # what torch writes since version 1.6
    # An archive's table of contents is at its end.
    return f"{file.name} is cut off" if is_archive and not zipfile.is_zipfile(file) else None


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
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path.name} is not JSON ({error})") from error
