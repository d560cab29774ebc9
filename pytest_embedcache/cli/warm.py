"""`embedcache warm|verify`: storing vectors, and checking those that are stored."""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli import progress
from pytest_embedcache.cli.options import (
    add_directory,
    add_model,
    add_texts,
    count,
    model_of,
    store_of,
)
from pytest_embedcache.cli.texts import read_texts

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["add_commands"]

#: Texts that are stored together: what an interrupt can lose.
_CHUNK = 1024
#: Largest difference of a recomputed component, as a part of the vector's largest, by the dtype in
#: which the model computes: float32 encoders differ by about 1e-7 between batches, and by 1e-5
#: between machines; the others have 11 and 8 bits.
_TOLERANCE = {"float16": 5e-3, "bfloat16": 4e-2}
_TOLERANCE_FLOAT32 = 1e-4

Text = tuple[str | None, str]


def add_commands(commands: Any) -> None:
    """Add the commands to argparse's subparsers."""
    warm = commands.add_parser("warm", help="store the vectors of texts; can be interrupted")
    warm.add_argument(
        "files", nargs="+", metavar="FILE", help="texts, one a line, or .jsonl; - is stdin"
    )
    add_texts(warm)
    add_model(warm)
    warm.add_argument("--quiet", action="store_true", help="no progress bar")
    add_directory(warm)
    warm.set_defaults(run=_warm)

    verify = commands.add_parser("verify", help="check every stored vector")
    verify.add_argument("--repair", action="store_true", help="remove the damaged ones")
    verify.add_argument("--texts", nargs="+", metavar="FILE", help="also compute these texts anew")
    verify.add_argument(
        "--sample", type=count, default=100, help="how many of the texts that are stored (100)"
    )
    add_texts(verify)
    add_model(verify)
    add_directory(verify)
    verify.set_defaults(run=_verify)


def _texts(options: argparse.Namespace, files: list[str]) -> list[Text]:
    return [(own or options.role, text) for own, text in read_texts(files, jsonl=options.jsonl)]


def _warm(options: argparse.Namespace) -> int:
    from pytest_embedcache.files import cache_directory
    from pytest_embedcache.vectors import history

    texts = _texts(options, options.files)
    model, cache, registry = model_of(options)
    done = 0
    try:
        for chunk in _chunks(texts):
            if not options.quiet:
                progress.show(done, len(texts))
            for role, part in _by_role(chunk):
                _encode(model, role, part)
            done += len(chunk)
        if texts and not options.quiet:
            progress.show(done, len(texts))
    finally:
        tallies = cache.tallies.as_dict()
        rows = history.rows_of(tallies, registry.stats().as_dict()["models"])
        history.append(cache_directory(options.dir), rows)
        failed = _failed(cache)
        cache.close()
    counts = {key: sum(t[key] for t in tallies.values()) for key in ("asked", "computed", "shared")}
    found = sum(sum(tally["found"].values()) for tally in tallies.values())
    repeated = f", {counts['shared']} repeated" if counts["shared"] else ""
    print(f"{len(texts)} texts: {found} were stored, {counts['computed']} computed{repeated}")
    passed_by = counts["asked"] - found - counts["computed"] - counts["shared"]
    if passed_by:
        failed = [*failed, f"{passed_by} vectors are of a kind that no store holds"]
    for problem in failed:
        print(f"embedcache: {problem}", file=sys.stderr)
    return int(bool(failed))


def _failed(cache: VectorCache) -> list[str]:
    """What was not stored, in a line for each store."""
    assert cache.store is not None
    return [
        f"not everything could be kept in the store {tier.name} (see above): run this again"
        for tier in cache.store.tier_stats()
        if tier.errors or tier.skipped
    ]


def _encode(model: CachedModel, role: str | None, texts: list[str]) -> np.ndarray:
    """Their vectors, as float32 of shape (n, dimension)."""
    encode: Any = model.encode
    if role is not None:
        encode = model.encode_query if role == "query" else model.encode_document
    found: np.ndarray = encode(texts, show_progress_bar=False)
    return found


def _chunks(items: Iterable[Text]) -> Iterator[list[Text]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, _CHUNK)):
        yield chunk


def _by_role(texts: Iterable[Text]) -> Iterator[tuple[str | None, list[str]]]:
    listed = list(texts)
    for role in dict.fromkeys(role for role, _ in listed):
        yield role, [text for own, text in listed if own == role]


def _verify(options: argparse.Namespace) -> int:
    texts = _texts(options, options.texts) if options.texts else None  # a bad file first of all
    damaged, moved = _check(options)
    drifted = texts is not None and _recompute(options, texts)
    return int(damaged > 0 or moved or drifted)


def _check(options: argparse.Namespace) -> tuple[int, bool]:
    """How many values are damaged still, and whether all of the database was, and is begun anew."""
    store = store_of(options)
    if not store.path.exists():
        print("nothing is stored")
        return 0, False
    damaged: dict[str, list[bytes]] = {}
    for fingerprint, key in store.verify():
        damaged.setdefault(fingerprint, []).append(key)
    found = store.stats()
    number = sum(map(len, damaged.values()))
    fate = ""
    if number and not options.repair:
        fate = " (left in place; --repair removes them)"
    elif number:
        removed = sum(store.delete_many(*place) for place in damaged.items())
        number, fate = number - removed, f" ({removed} removed)"
    store.close()
    print(f"{found.entries} vectors checked, {sum(map(len, damaged.values()))} damaged{fate}")
    moved = bool(found.details["moved_aside"])
    if moved:
        print("the database itself was damaged: it was moved aside, and is empty now")
    return number, moved


def _recompute(options: argparse.Namespace, texts: list[Text]) -> bool:
    """Compare stored vectors with freshly computed ones; True where they drifted apart."""
    stored, name = _stored(options, texts)
    if not stored:
        print(f"none of the {len(texts)} texts is stored: nothing to compare")
        return False
    chosen = random.sample(list(stored), min(options.sample, len(stored)))
    model = model_of(options, live=True)[0]
    tolerance = _TOLERANCE.get(name, _TOLERANCE_FLOAT32)
    worst, lowest, drifted = 0.0, 1.0, 0
    for role, part in _by_role(chosen):
        for text, fresh in zip(part, _encode(model, role, part), strict=True):
            difference, cosine = _apart(stored[role, text], fresh)
            worst, lowest = max(worst, difference), min(lowest, cosine)
            drifted += difference > tolerance
    print(
        f"{len(chosen)} of {len(stored)} stored texts computed anew: {drifted} drifted; largest "
        f"difference {worst:.1e} of a vector's largest component (tolerated: {tolerance:.0e}), "
        f"smallest cosine {lowest:.6f}"
    )
    return drifted > 0


def _stored(options: argparse.Namespace, texts: list[Text]) -> tuple[dict[Text, np.ndarray], str]:
    """The stored vectors of `texts`, by role and text; and the dtype of the model."""
    model, cache, _ = model_of(options)
    assert cache.store is not None
    found: dict[Text, np.ndarray] = {}
    for role, part in _by_role(dict.fromkeys(texts)):
        keys = model.keys(part, role=role)
        if not keys:  # of a kind that no store holds
            continue
        vectors = cache.store.get_many(model.fingerprint, keys)
        known = {key: (role, text) for key, text in zip(keys, part, strict=True)}
        found.update({known[key]: vector for key, vector in vectors.items()})
    cache.close()
    return found, model.spec.dtype or "float32"


def _apart(stored: np.ndarray, fresh: np.ndarray) -> tuple[float, float]:
    """The largest difference, as a part of the largest component, and the cosine."""
    import numpy as np

    if stored.shape != fresh.shape:
        return float("inf"), 0.0
    scale = max(1e-12, float(np.abs(fresh).max()))
    lengths = max(1e-12, float(np.linalg.norm(fresh) * np.linalg.norm(stored)))
    return float(np.abs(fresh - stored).max()) / scale, float(fresh @ stored) / lengths
