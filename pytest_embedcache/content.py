"""What of a model's files decides a vector, part by part.

Read is what sentence-transformers reads, and left out is what cannot change a vector: who wrote a
configuration and with what, prompts (they are in a vector's key), formats for other engines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from pytest_embedcache.encoding import canonical_json, digest
from pytest_embedcache.errors import SnapshotError
from pytest_embedcache.layout import (
    FOR_PEOPLE,
    OTHER_ENGINES,
    OTHER_ENGINES_DIRECTORIES,
    matches,
    module_directories,
    names_in,
    weights_of,
)
from pytest_embedcache.weights import HashMemo

__all__ = ["model_files", "parts_of"]

#: Who wrote a configuration and with what; `dtype` is a part of its own.
_PROVENANCE = frozenset(
    (
        "_name_or_path",
        "name_or_path",
        "transformers_version",
        "__version__",
        "_commit_hash",
        "dtype",
        "torch_dtype",
    )
)
#: Of config_sentence_transformers.json: in a vector's key, or without influence on a vector.
_IN_KEY = frozenset(("prompts", "default_prompt_name", "similarity_fn_name"))
#: What transformers reads in a model's root, where a repository also keeps what nobody reads.
_READ_IN_ROOT = (
    "config.json",
    "sentence_*_config.json",
    "router_config.json",
    "adapter_config.json",
    "*processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "*vocab*",
    "merges.txt",
    "dict.txt",
    "bpe.codes",
    "*.model",
    "*.spm",
    "*.tiktoken",
)
_TEMPLATES = "additional_chat_templates"
_CONFIGURATIONS = ("modules.json", "config_sentence_transformers.json")
#: The names under which `weights_of` looks; other files of weights count like any file.
_WEIGHTS = (
    "model*.safetensors",
    "model.safetensors.index.json",
    "pytorch_model*",
    "adapter_model.*",
)


def model_files(path: str, *, trust_remote_code: bool = False) -> list[str]:
    """The files that decide a vector, weights included, as sorted paths relative to `path`.

    Raises `SnapshotError` where the list of modules cannot be read.
    """
    root = Path(path)
    try:
        folders = _folders(root)
        weights = [file for folder in folders for file in weights_of(folder)]
        named = {file.relative_to(root).as_posix() for file in weights if os.path.isfile(file)}
        return sorted(named.union(_files(root, folders, trust_remote_code)))
    except ValueError as error:
        remedy = "Copy or fetch the model again."
        raise SnapshotError(path, path, (str(error),), remedy) from error


def parts_of(root: Path, *, trust_remote_code: bool, memo: HashMemo) -> list[tuple[str, str]]:
    """Every file that decides a vector, and the tensors of each module: (label, hash)."""
    parts = []
    folders = _folders(root)
    for label in _files(root, folders, trust_remote_code):
        if (content := _content(root / label, memo)) is not None:
            parts.append((label, content))
    for directory in folders:
        where = os.path.join(os.path.relpath(directory, root), "").removeprefix("./")
        parts += ((f"{where}weights", memo(file).tensors) for file in weights_of(directory))
    return parts


def _folders(root: Path) -> list[Path]:
    return [directory for directory, _ in module_directories(root)]


def _files(root: Path, folders: list[Path], trust_remote_code: bool) -> list[str]:
    """Every file that decides a vector, but for weights, as a sorted list of relative paths."""
    chosen = {"modules.json", "config_sentence_transformers.json"}
    for directory in dict.fromkeys(folders):
        if directory == root:
            chosen.update(name for name in names_in(root) if matches(name, _READ_IN_ROOT))
            chosen.update(f"{_TEMPLATES}/{name}" for name in names_in(root / _TEMPLATES))
        else:
            chosen.update(_everything(directory, f"{directory.relative_to(root).as_posix()}/"))
    if trust_remote_code:
        chosen.update(_everything(root, ""))
    return sorted(
        name
        for name in chosen
        if not matches(file := os.path.basename(name), _WEIGHTS)
        and not file.endswith(OTHER_ENGINES + FOR_PEOPLE)
        and os.path.isfile(os.path.join(root, name))
    )


def _everything(directory: Path, where: str) -> Iterator[str]:
    """The paths of all files in `directory`, which is called `where`."""
    for folder, names, files in os.walk(directory):
        skipped = (*OTHER_ENGINES_DIRECTORIES, "__pycache__")
        names[:] = [n for n in names if n not in skipped and not n.startswith(".")]
        inner = Path(folder).relative_to(directory).as_posix() if folder != str(directory) else ""
        below = f"{where}{inner}/" if inner else where
        yield from (f"{below}{name}" for name in files if not name.startswith("."))


def _content(file: Path, memo: HashMemo) -> str | None:
    """Digest of one file; None for a configuration that holds nothing but provenance."""
    if file.suffix in (".safetensors", ".bin"):
        return memo(file).tensors
    raw = file.read_bytes()
    # Configurations only: the keys of a vocabulary are tokens, and a tokenizer's JSON is large.
    if not file.name.endswith("config.json") and file.name not in _CONFIGURATIONS:
        return digest(raw)
    value = json.loads(raw)
    if isinstance(value, dict):
        dropped = _PROVENANCE
        if file.name == "config_sentence_transformers.json":
            dropped |= _IN_KEY
            if value.get("model_type") == "SentenceTransformer":  # the same as not to say so
                dropped |= {"model_type"}
        value = {key: item for key, item in value.items() if key not in dropped}
    return digest(canonical_json(value)) if value else None
