"""What several commands take, and what it stands for."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.vectors.api import StoreSettings
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel
    from pytest_embedcache.vectors.redis import RedisStore
    from pytest_embedcache.vectors.sqlite import SqliteStore

__all__ = [
    "DEFAULT_MODEL",
    "add_directory",
    "add_json",
    "add_model",
    "add_spec",
    "add_texts",
    "amount",
    "byte_count",
    "count",
    "model_of",
    "redis_of",
    "rounds",
    "settings_of",
    "slowdown",
    "spec_of",
    "store_of",
]

DEFAULT_MODEL = "all-MiniLM-L6-v2"


def add_directory(parser: argparse.ArgumentParser, *, default: Any = argparse.SUPPRESS) -> None:
    """`--dir`; after the command as well as before it."""
    parser.add_argument(
        "--dir",
        default=default,
        help="the cache directory (default: EMBEDCACHE_DIR, or the user's)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """`--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_spec(parser: argparse.ArgumentParser) -> None:
    """What decides, beside its name, which model is meant."""
    parser.add_argument("--revision", help="branch, tag or commit (default: main)")
    parser.add_argument("--dtype", help="float32, float16, … (default: as transformers chooses)")
    parser.add_argument("--trust-remote-code", action="store_true", help="let its own code run")


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model` and how it is loaded."""
    model = os.environ.get("EMBEDCACHE_MODEL") or DEFAULT_MODEL
    device = os.environ.get("EMBEDCACHE_DEVICE") or "cpu"
    parser.add_argument(
        "--model", default=model, metavar="MODEL", help="default: EMBEDCACHE_MODEL, or %(default)s"
    )
    parser.add_argument(
        "--device", default=device, help="cpu, cuda, … or auto (default: EMBEDCACHE_DEVICE, or cpu)"
    )
    add_spec(parser)


def add_texts(parser: argparse.ArgumentParser) -> None:
    """How files of texts are read."""
    parser.add_argument("--role", choices=("query", "document"), help="of texts that name none")
    parser.add_argument(
        "--jsonl", action="store_true", help="lines are JSON whatever a file's name, and in stdin"
    )


def amount(text: str) -> float:
    """A number of days, from 0 up."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(text)
    return value


def count(text: str) -> int:
    """A whole number, from 0 up."""
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def byte_count(text: str) -> int:
    """A number of bytes, from 0 up."""
    try:
        return count(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of bytes: give a whole number from 0 up"
        ) from None


def rounds(text: str) -> int:
    """A whole number, from 1 up."""
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def slowdown(text: str) -> float:
    """How many times slower, from 1 up."""
    value = float(text)
    if not 1 <= value < float("inf"):
        raise ValueError(text)
    return value


def settings_of(options: argparse.Namespace) -> StoreSettings:
    """The settings of this machine's stores, by the environment."""
    from pytest_embedcache.vectors.api import StoreSettings

    return StoreSettings.from_environment(options.dir)


def store_of(options: argparse.Namespace, **bounds: Any) -> SqliteStore:
    """This machine's store, with its bounds; opening it makes no file."""
    from pytest_embedcache.vectors.sqlite import SqliteStore

    settings = settings_of(options)
    set_here = {"max_bytes": settings.cache_max_size, "ttl": settings.cache_ttl}
    return SqliteStore(settings.directory, **(set_here | bounds))


def redis_of(options: argparse.Namespace) -> RedisStore | None:
    """The Redis of the environment, if one is set."""
    from pytest_embedcache.vectors.api import open_redis

    return open_redis(settings_of(options))


def spec_of(options: argparse.Namespace) -> ModelSpec:
    """The model that the options name."""
    from pytest_embedcache.spec import ModelSpec

    device = getattr(options, "device", "cpu")
    return ModelSpec(
        options.model,
        device=None if device == "auto" else device,
        revision=options.revision,
        dtype=options.dtype,
        trust_remote_code=options.trust_remote_code,
    )


def model_of(
    options: argparse.Namespace, *, live: bool = False
) -> tuple[CachedModel, VectorCache, Any]:
    """That model over the machine's stores, or without any; its cache and its registry."""
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.vectors.api import open_cache
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

    registry = ModelRegistry(cache_dir=options.dir)
    cache = VectorCache(None) if live else open_cache(settings_of(options))
    return CachedModel(registry, spec_of(options), cache), cache, registry
