"""What a model's configuration files say about it: no torch, nothing loaded.

Everything here is also what the loaded model says before anybody changed it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from pytest_embedcache.files import read_json
from pytest_embedcache.layout import matches, module_directories, names_in, weights_of
from pytest_embedcache.weights import read_header

__all__ = ["ModelMetadata", "read_metadata"]

SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")

#: Modules that treat a query and a document alike; of others one cannot know.
_PLAIN_MODULES = frozenset(
    ("Transformer", "Pooling", "Normalize", "Dense", "StaticEmbedding", "LayerNorm", "Dropout")
)
#: Of a transformer's own configuration: a length, or an expansion, for one role.
_ROLE_KEYS = ("query_length", "document_length", "query_expansion")
#: Where a transformer's length is; the kind of model is in the name.
_LENGTHS = ("sentence_*_config.json",)
_PLAIN_TASK = "feature-extraction"
_NEUTRAL = frozenset(("Normalize", "LayerNorm", "Dropout"))
#: By the name that sentence-transformers gives it, the key of its older configurations.
_POOLING_NAMES = {
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class ModelMetadata:
    """Facts about a model.

    Attributes:
        dimension: Columns of its vectors, before `truncate_dim`; None where the files do not tell.
        max_seq_length: Its limit in tokens, None where the files do not tell.
        similarity: `cosine`, `dot`, `euclidean` or `manhattan`.
        prompts: Prompt by name; a role without a prompt is not listed.
        default_prompt_name: The prompt of a call that names none.
        truncate_dim: Dimension to which vectors are cut by default.
        has_roles: Whether query and document may be treated differently other than by a prompt:
            there is a router, or a module that is not known to be plain.
        pooling: How tokens become one vector (`mean`, `cls`, …; several are joined by `+`), None
            where nothing is pooled.
        parameters: Numbers in the weights, None where only reading all of them would tell.
        size: Bytes of the weights on the disk.
    """

    dimension: int | None = None
    max_seq_length: int | None = None
    similarity: str = "cosine"
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    truncate_dim: int | None = None
    has_roles: bool = False
    # For people: keys have nothing to do with these.
    pooling: str | None = field(default=None, compare=False)
    parameters: int | None = field(default=None, compare=False)
    size: int | None = field(default=None, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types."""
        return asdict(self)

    def for_keys(self) -> dict[str, Any]:
        """What can be in a key, in built-in types."""
        return {f.name: asdict(self)[f.name] for f in fields(self) if f.compare}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`; facts that are not known are left out."""
        return cls(**{f.name: facts[f.name] for f in fields(cls) if f.name in facts})


def read_metadata(path: str) -> ModelMetadata:
    """Read the facts from the model's directory `path`."""
    root = Path(path)
    found = list(module_directories(root))
    modules = [(directory, kind.rpartition(".")[2]) for directory, kind in found]
    config = _read(root / "config_sentence_transformers.json")
    saved = config.get("similarity_fn_name")
    prompts = config.get("prompts")
    first = modules[0][0] if modules else root
    parameters, size = _weights(modules)
    return ModelMetadata(
        dimension=_dimension(modules),
        max_seq_length=_max_seq_length(first),
        similarity=saved if saved in SIMILARITIES else "cosine",
        prompts={k: v for k, v in prompts.items() if v is not None} if prompts else {},
        default_prompt_name=config.get("default_prompt_name"),
        truncate_dim=config.get("truncate_dim"),
        has_roles=any(_knows_roles(directory, kind) for directory, kind in found),
        pooling=_pooling(modules),
        parameters=parameters,
        size=size,
    )


def _knows_roles(directory: Path, kind: str) -> bool:
    """Whether a module may do something else for a query than for a document."""
    package, _, name = kind.rpartition(".")
    # A class of the model's own may have any name: `custom_st.Transformer` is one that has tasks.
    if name not in _PLAIN_MODULES or not f"{package}.".startswith(("sentence_transformers.", ".")):
        return True
    if name != "Transformer":
        return False
    names = names_in(directory)
    for name in names:
        if not matches(name, _LENGTHS):
            continue
        config = _read(directory / name)
        if any(config.get(key) is not None for key in _ROLE_KEYS):
            return True
        if config.get("transformer_task", _PLAIN_TASK) != _PLAIN_TASK:
            return True
    # A chat template may ask for the task; whether it is used at all is not looked into.
    templates = [directory / name for name in names if name.startswith("chat_template")]
    more = directory / "additional_chat_templates"
    templates += [more / name for name in names_in(more)]
    templates.append(directory / "tokenizer_config.json")
    return any(_speaks_of_tasks(file) for file in templates)


def _speaks_of_tasks(file: Path) -> bool:
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return b"task" in content and (b"chat_template" in content or "template" in file.name)


def _read(file: Path) -> dict[str, Any]:
    found = read_json(file)
    return found if isinstance(found, dict) else {}


def _max_seq_length(directory: Path) -> int | None:
    for name in sorted(names_in(directory)):
        if not matches(name, _LENGTHS):
            continue
        if isinstance(found := _read(directory / name).get("max_seq_length"), int):
            return found
    return None


def _dimension(modules: list[tuple[Path, str]]) -> int | None:
    """That of the last module which has one; sentence-transformers asks in the same order."""
    for directory, kind in reversed(modules):
        if kind in _NEUTRAL:
            continue
        config = _read(directory / "config.json")
        if kind == "Pooling":
            return _pooled(config)
        if kind == "Dense":
            found = config.get("out_features")
        elif kind == "Transformer":
            found = config.get("hidden_size")
        elif kind == "StaticEmbedding":
            found = _columns(directory)
        else:
            return None
        return found if isinstance(found, int) else None
    return None


def _weights(modules: list[tuple[Path, str]]) -> tuple[int | None, int | None]:
    """How many numbers the weights have, by their headers, and how many bytes."""
    parameters: int | None = 0
    size = 0
    for directory in dict.fromkeys(directory for directory, _ in modules):
        try:
            for file in weights_of(directory):
                size += file.stat().st_size
                if file.suffix != ".safetensors":
                    parameters = None
                elif parameters is not None:
                    table, _ = read_header(file)
                    parameters += sum(math.prod(entry["shape"]) for entry in table.values())
        except (OSError, ValueError):  # damaged: whoever loads it will be told
            return None, None
    return (parameters, size) if size else (None, None)


def _pooling(modules: list[tuple[Path, str]]) -> str | None:
    for directory, kind in modules:
        if kind == "Pooling":
            config = _read(directory / "config.json")
            modes = config.get("pooling_mode")
            if modes is None:
                modes = [name for name, flag in _POOLING_NAMES.items() if config.get(flag)]
            return modes if isinstance(modes, str) else "+".join(map(str, modes)) or None
    return None


def _pooled(config: dict[str, Any]) -> int | None:
    width = config.get("embedding_dimension", config.get("word_embedding_dimension"))
    modes = config.get("pooling_mode")
    if modes is None:
        count = sum(bool(config.get(flag)) for flag in _POOLING_NAMES.values())
    else:
        count = 1 if isinstance(modes, str) else len(modes)
    return width * max(1, count) if isinstance(width, int) else None


def _columns(directory: Path) -> int | None:
    for file in weights_of(directory):
        if file.suffix == ".safetensors":
            shape = read_header(file)[0].get("embedding.weight", {}).get("shape")
            if shape:
                return int(shape[1])
    return None
