"""The identity of the model behind a vector: SHA-256 over a versioned list of its parts.

In the list: modules.json, the modules' configurations (without provenance), the tokenizer, the
tensors of the weights that the backend reads, the dtype they are loaded in, the form, and the
code where remote code is trusted. Not in it: README, prompts (they are in a vector's key), weight
formats that are not read, device, batch size.

Only the standard library is used, so that a process that has the vectors needs no model.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.encoding import canonical_json, digest
from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.files import cache_directory, read_json, write_json
from pytest_embedcache.snapshot import Place, check, locate, module_directories, weights_of
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.weights import HashMemo, read_header

__all__ = ["Fingerprint", "default_dtype", "dtype_keyword", "fingerprint_of", "model_files"]

VERSION = "embedcache-model-1"

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
_IN_KEY = frozenset(("prompts", "default_prompt_name", "similarity_fn_name", "model_type"))
#: What transformers reads in a model's root, where a repository also keeps what nobody reads.
_READ_IN_ROOT = (
    "config.json",
    "sentence_*_config.json",
    "router_config.json",
    "adapter_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer*.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.*",
    "vocab.*",
    "merges.txt",
    "*.model",
)
#: Formats for other engines, and what is for people.
_NOT_READ = (".onnx", ".h5", ".msgpack", ".ot", ".tflite", ".xml", ".md", ".png", ".jpg", ".gguf")
_NOT_READ_DIRECTORIES = frozenset(("onnx", "openvino", "coreml"))
_CONFIGURATIONS = ("modules.json", "config_sentence_transformers.json")
_WEIGHTS = ("*.safetensors", "*.safetensors.index.json", "pytorch_model*", "model.bin")
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16", "F64": "float64"}


@dataclass(frozen=True)
class Fingerprint:
    """`digest` (64 hex digits) and the `parts` that went in, as (label, short description)."""

    digest: str
    parts: tuple[tuple[str, str], ...]
    #: "content", or "remembered" where the files are gone.
    source: str = "content"


def fingerprint_of(
    spec: ModelSpec,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    memo: HashMemo | None = None,
) -> Fingerprint:
    """Return the fingerprint of `spec`, resolved or not.

    Computed from the files where they are here. Where they are gone, the cache directory answers
    what was computed for that repository and commit when they were.

    Raises:
        ModelNotFoundError: Neither the files nor such a memory are here.
        SnapshotError: The files are incomplete or damaged.
    """
    directory = cache_directory(cache_dir)
    place = locate(spec.replace(name=spec.path, path=None) if spec.path else spec)
    if place.path is None:
        return _remembered(directory, spec, place)
    check(spec.name, place)
    found = _compute(
        Path(place.path),
        dtype=spec.dtype or default_dtype(place.path),
        form=spec.form,
        trust_remote_code=spec.trust_remote_code,
        memo=memo or _memo(directory),
    )
    if place.repository and place.commit:
        _remember(directory, spec, place, found)
    return found


@functools.cache
def _memo(directory: Path) -> HashMemo:
    return HashMemo(directory)


def default_dtype(path: str) -> str:
    """The dtype in which the installed transformers loads the checkpoint at `path` by default.

    From version 5 on that is the checkpoint's own (its configuration's, else that of its first
    floating-point tensor); before, float32.
    """
    return _checkpoint_dtype(Path(path)) if _keeps_dtype() else "float32"


def dtype_keyword() -> str:
    """What the installed transformers calls the dtype in the keyword arguments of a model."""
    return "dtype" if _keeps_dtype() else "torch_dtype"


@functools.cache
def _keeps_dtype() -> bool:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return int(version("transformers").partition(".")[0]) >= 5
    except PackageNotFoundError:
        return True  # nothing here loads it, so what the newest version would do


def _checkpoint_dtype(root: Path) -> str:
    for directory, _ in module_directories(root):
        config = read_json(directory / "config.json")
        if isinstance(config, dict):
            named = str(config.get("dtype") or config.get("torch_dtype") or "")
            if named.removeprefix("torch.") in _DTYPES.values():
                return named.removeprefix("torch.")
        for file in weights_of(directory):
            if file.suffix == ".safetensors":
                for entry in read_header(file)[0].values():
                    if entry["dtype"] in _DTYPES:
                        return _DTYPES[entry["dtype"]]
    return "float32"


def _compute(
    root: Path, *, dtype: str, form: str, trust_remote_code: bool, memo: HashMemo
) -> Fingerprint:
    parts = [("dtype", dtype), ("form", form)]
    for label in _files(root, trust_remote_code):
        if (content := _content(root / label)) is not None:
            parts.append((label, content))
    for directory, _ in module_directories(root):
        hashes = sorted(memo(file).tensors for file in weights_of(directory))
        where = os.path.join(os.path.relpath(directory, root), "").removeprefix("./")
        parts += ((f"{where}weights", tensors) for tensors in hashes)
        parts += _adapter_base(directory, dtype=dtype, form=form, memo=memo)
    parts.sort()
    return Fingerprint(digest(VERSION, *(item for part in parts for item in part)), tuple(parts))


def _files(root: Path, trust_remote_code: bool) -> list[str]:
    """Every file that decides a vector, but for weights, as a sorted list of relative paths."""
    chosen = {root / "modules.json", root / "config_sentence_transformers.json"}
    modules = {directory for directory, _ in module_directories(root)}
    for directory in modules:
        if directory == root:
            chosen.update(file for pattern in _READ_IN_ROOT for file in root.glob(pattern))
        else:
            chosen.update(_everything(directory))
    if trust_remote_code:
        chosen.update(_everything(root))
    return sorted(
        file.relative_to(root).as_posix()
        for file in chosen
        if file.is_file() and not any(file.match(pattern) for pattern in _WEIGHTS)
    )


def model_files(path: str, *, trust_remote_code: bool = False) -> list[str]:
    """The files that decide a vector, weights included, as sorted paths relative to `path`."""
    root = Path(path)
    weights = (file for directory, _ in module_directories(root) for file in weights_of(directory))
    named = {file.relative_to(root).as_posix() for file in weights if file.is_file()}
    return sorted(named.union(_files(root, trust_remote_code)))


def _everything(directory: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(directory):
        names[:] = [n for n in names if n not in _NOT_READ_DIRECTORIES and n[0] not in "._"]
        for name in files:
            if not name.endswith(_NOT_READ) and not name.startswith("."):
                yield Path(folder) / name


def _content(file: Path) -> str | None:
    """Digest of one file; None for a configuration that holds nothing but provenance."""
    raw = file.read_bytes()
    # Configurations only: the keys of a vocabulary are tokens, and a tokenizer's JSON is large.
    if not file.name.endswith("config.json") and file.name not in _CONFIGURATIONS:
        return digest(raw)
    value = json.loads(raw)
    if isinstance(value, dict):
        dropped = _PROVENANCE
        if file.name == "config_sentence_transformers.json":
            dropped |= _IN_KEY
        value = {key: item for key, item in value.items() if key not in dropped}
    return digest(canonical_json(value)) if value else None


def _adapter_base(directory: Path, **options: Any) -> Iterator[tuple[str, str]]:
    """An adapter's vectors are also its base model's, which lies elsewhere."""
    config = read_json(directory / "adapter_config.json")
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    if not base or (directory / "model.safetensors").exists():
        return
    place = locate(ModelSpec(base, revision=config.get("revision")))
    if place.path is None:
        raise ModelNotFoundError(
            base,
            f"it is the base of the adapter in {directory} and not on this machine",
            "Load the adapter once with network access.",
            place.looked_in,
        )
    yield "adapter base", _compute(Path(place.path), trust_remote_code=False, **options).digest


def _memory(directory: Path, spec: ModelSpec, repository: str, revision: str) -> Path:
    asked = (repository, revision, spec.dtype or f"default:{_keeps_dtype()}", spec.form)
    name = digest(VERSION, *asked, str(spec.trust_remote_code))[:32]
    return directory / "fingerprints" / f"{name}.json"


def _remember(directory: Path, spec: ModelSpec, place: Place, found: Fingerprint) -> None:
    assert place.repository is not None
    assert place.commit is not None
    entry = {"repository": place.repository, "commit": place.commit, "fingerprint": found.digest}
    # Under the branch too: where the Hub cache is gone, so is its note of what `main` was.
    for revision in {place.commit, spec.revision or "main"}:
        file = _memory(directory, spec, place.repository, revision)
        if read_json(file) != entry:
            try:
                write_json(file, entry)
            except OSError as error:
                notices.degraded(
                    f"cannot remember fingerprints below {directory}: {error.strerror}"
                )
                return


def _remembered(directory: Path, spec: ModelSpec, place: Place) -> Fingerprint:
    assert place.repository
    revision = place.commit or spec.revision or "main"
    entry = read_json(_memory(directory, spec, place.repository, revision))
    if isinstance(entry, dict) and entry.get("repository") == place.repository:
        found = str(entry.get("fingerprint"))
        return Fingerprint(found, (("commit", str(entry.get("commit"))),), "remembered")
    raise ModelNotFoundError(
        spec.name,
        "its files are not on this machine and its fingerprint was never computed here",
        "Load the model once with network access, or give the directory of its files.",
        place.looked_in,
    )
