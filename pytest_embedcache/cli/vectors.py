"""`embedcache stats|warm|prune|clear|verify`: the vectors of this machine."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.texts import read_texts
from pytest_embedcache.errors import ModelNotFoundError

if TYPE_CHECKING:
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel
    from pytest_embedcache.vectors.sqlite import SqliteStore

__all__ = ["add_commands"]

#: Texts that are stored together: what an interrupt can lose.
_CHUNK = 1024
#: Largest difference of a recomputed component, of the vectors' scale: encoders differ by about
#: 1e-7 between batches, and by up to 1e-5 between machines.
_TOLERANCE = 1e-5


def add_commands(commands: Any) -> None:
    """Add the commands to argparse's subparsers."""
    stats = commands.add_parser("stats", help="show what is stored")
    stats.add_argument("--memory", action="store_true", help="also the memory of reading it")
    stats.add_argument("--json", action="store_true", help="print JSON")
    stats.set_defaults(run=_stats)

    warm = commands.add_parser("warm", help="store the vectors of texts; can be interrupted")
    warm.add_argument(
        "files", nargs="+", metavar="FILE", help="texts, one a line, or .jsonl; - is stdin"
    )
    warm.add_argument("--model", default="all-MiniLM-L6-v2", help="default: all-MiniLM-L6-v2")
    warm.add_argument("--device", default="cpu", help="default: cpu")
    warm.add_argument("--role", choices=("query", "document"), help="of texts that name none")
    warm.add_argument("--quiet", action="store_true", help="no progress bar")
    warm.set_defaults(run=_warm)

    prune = commands.add_parser("prune", help="remove what has expired or is above the bound")
    prune.add_argument("--older-than", type=float, metavar="DAYS", help="also what is older")
    prune.add_argument("--max-size", type=int, metavar="BYTES", help="as if this were the bound")
    prune.set_defaults(run=_prune)

    clear = commands.add_parser("clear", help="remove a model's vectors, or all")
    clear.add_argument("model", nargs="?", metavar="MODEL", help="default: all models")
    clear.set_defaults(run=_clear)

    verify = commands.add_parser("verify", help="check every stored vector")
    verify.add_argument("--repair", action="store_true", help="remove the damaged ones")
    verify.add_argument("--texts", nargs="+", metavar="FILE", help="also compute these texts anew")
    verify.add_argument("--model", default="all-MiniLM-L6-v2", help="default: all-MiniLM-L6-v2")
    verify.add_argument("--sample", type=int, default=100, help="how many of the texts (100)")
    verify.set_defaults(run=_verify)


def _store(options: argparse.Namespace, **bounds: Any) -> SqliteStore:
    from pytest_embedcache.vectors.sqlite import SqliteStore

    return SqliteStore(options.dir, **bounds)


def _model(options: argparse.Namespace, *, live: bool = False) -> tuple[CachedModel, VectorCache]:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.vectors.api import StoreSettings, open_cache
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

    spec = ModelSpec(options.model, device=getattr(options, "device", "cpu"))
    cache = VectorCache(None) if live else open_cache(StoreSettings.from_environment(options.dir))
    return CachedModel(ModelRegistry(cache_dir=options.dir), spec, cache), cache


def _stats(options: argparse.Namespace) -> int:
    from pytest_embedcache.vectors import history

    store = _store(options)
    exists = store.path.exists()  # looking makes no store
    past = history.read(store.path.parent)
    shown: dict[str, Any] = {"path": str(store.path), "entries": 0, "bytes": 0, "models": []}
    if exists:
        found = store.stats()
        shown |= {"entries": found.entries, "bytes": found.bytes, **found.details}
        for use in store.models():
            model = past.get(use.label or "")
            rate = sum(model.found.values()) / model.asked if model and model.asked else None
            shown["models"].append(
                {
                    "model": use.label,
                    "fingerprint": use.fingerprint,
                    "entries": use.entries,
                    "bytes": use.bytes,
                    "hit_rate": rate,
                }
            )
        store.close()
    if options.memory:
        shown["memory_bytes"] = _resident()
    print(json.dumps(shown, indent=2) if options.json else "\n".join(_stats_lines(shown)))
    return 0


def _stats_lines(shown: dict[str, Any]) -> Iterator[str]:
    yield f"{shown['path']}: {shown['entries']} vectors, {_size(shown['bytes'])}"
    for model in shown["models"]:
        rate = "no reads yet" if model["hit_rate"] is None else f"{model['hit_rate']:.1%} found"
        name = model["model"] or f"model {model['fingerprint'][:16]}"
        yield f"  {name}: {model['entries']} vectors, {_size(model['bytes'])}, {rate}"
    if "memory_bytes" in shown:
        yield f"memory of this process: {_size(shown['memory_bytes'])}"


def _resident() -> int | None:
    """Bytes that this process holds in memory at most, None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _size(count: int | None) -> str:
    if count is None:
        return "unknown"
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def _warm(options: argparse.Namespace) -> int:
    texts = list(read_texts(options.files))
    model, cache = _model(options)
    done = 0
    for chunk in _chunks(texts):
        for role in dict.fromkeys(own or options.role for own, _ in chunk):
            part = [text for own, text in chunk if (own or options.role) == role]
            if role == "query":
                model.encode_query(part, show_progress_bar=False)
            elif role == "document":
                model.encode_document(part, show_progress_bar=False)
            else:
                model.encode(part, show_progress_bar=False)
        done += len(chunk)
        if not options.quiet:
            _progress(done, len(texts))
    computed = sum(tally["computed"] for tally in cache.tallies.as_dict().values())
    cache.close()
    print(f"{len(texts)} texts: {len(texts) - computed} were stored, {computed} computed")
    return 0


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        filled = 40 * done // max(1, total)
        bar = "#" * filled + "." * (40 - filled)
        print(f"\r[{bar}] {done}/{total}", end="\n" if done == total else "", file=sys.stderr)


def _chunks(items: Iterable[Any]) -> Iterator[list[Any]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _prune(options: argparse.Namespace) -> int:
    bounds: dict[str, Any] = {}
    if options.older_than is not None:
        bounds["ttl"] = options.older_than * 86400
    if options.max_size is not None:
        bounds["max_bytes"] = options.max_size
    store = _store(options, **bounds)
    if not store.path.exists():
        print("nothing is stored")
        return 0
    removed = store.prune()
    freed = store.vacuum()
    store.close()
    print(f"removed {removed} vectors, freed {_size(freed)}")
    return 0


def _clear(options: argparse.Namespace) -> int:
    store = _store(options)
    if not store.path.exists():
        print("nothing is stored")
        return 0
    fingerprint = _fingerprint(options, store) if options.model else None
    removed = store.clear(fingerprint)
    store.vacuum()
    store.close()
    print(f"removed {removed} vectors")
    return 0


def _fingerprint(options: argparse.Namespace, store: SqliteStore) -> str:
    """Of the model as it is here, else of the one that is stored under that name or fingerprint."""
    from pytest_embedcache.fingerprint import fingerprint_of
    from pytest_embedcache.spec import ModelSpec

    stored = store.models()
    try:
        found = fingerprint_of(ModelSpec(options.model), cache_dir=options.dir).digest
        if any(use.fingerprint == found for use in stored):
            return found
    except ModelNotFoundError:
        found = None
    for use in stored:
        if options.model in (use.label, (use.label or "").rpartition("/")[2]):
            return use.fingerprint
        if len(options.model) >= 8 and use.fingerprint.startswith(options.model):
            return use.fingerprint
    if found is not None:
        return found  # known, with nothing stored
    known = ", ".join(use.label or use.fingerprint[:16] for use in stored) or "none"
    raise ModelNotFoundError(
        options.model, "nothing is stored under that name", f"Stored are: {known}."
    )


def _verify(options: argparse.Namespace) -> int:
    store = _store(options)
    damaged: list[tuple[str, bytes]] = []
    entries = 0
    if store.path.exists():
        damaged = list(store.verify())
        entries = store.stats().entries
        for fingerprint, key in damaged if options.repair else ():
            store.delete_many(fingerprint, [key])
    store.close()
    fate = "removed" if options.repair else "left in place; --repair removes them"
    print(f"{entries} vectors checked, {len(damaged)} damaged" + (f" ({fate})" if damaged else ""))
    drifted = _recompute(options) if options.texts else False
    return int(bool(damaged and not options.repair) or drifted)


def _recompute(options: argparse.Namespace) -> bool:
    """Compare stored vectors with freshly computed ones; True where they drifted apart."""
    import numpy as np

    texts = [text for _, text in islice(read_texts(options.texts), options.sample)]
    model, cache = _model(options)
    assert cache.store is not None
    keys = model.keys(texts)
    found = cache.store.get_many(model.fingerprint, keys)
    known = {text: found[key] for key, text in zip(keys, texts, strict=True) if key in found}
    cache.close()
    if not known:
        print(f"none of the {len(texts)} texts is stored: nothing to compare")
        return False
    fresh = _model(options, live=True)[0].encode(list(known), show_progress_bar=False)
    stored = np.stack(list(known.values()))
    worst = float(np.abs(fresh - stored).max())
    scale = max(1e-12, float(np.abs(fresh).max()))
    lengths = np.linalg.norm(fresh, axis=1) * np.linalg.norm(stored, axis=1)
    cosine = float(((fresh * stored).sum(axis=1) / lengths).min())
    print(
        f"{len(known)} of {len(texts)} texts computed anew: largest difference {worst:.2g}, "
        f"smallest cosine {cosine:.6f} (tolerated: {_TOLERANCE:.0e} of the scale {scale:.2g})"
    )
    return worst > _TOLERANCE * scale
