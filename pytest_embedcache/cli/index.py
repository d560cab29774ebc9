"""`embedcache index`: texts that are found by meaning and by word."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import (
    DEFAULT_MODEL,
    add_directory,
    add_json,
    add_spec,
    rounds,
    settings_of,
    spec_of,
)
from pytest_embedcache.models.strategies import STRATEGIES

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_embedcache.search.semantic.index import SemanticIndex
    from pytest_embedcache.search.semantic.results import Results
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["add_command"]

#: How many vectors were computed.
Done = Callable[[], int]

#: Seconds to wait for a model before what the keywords find is shown.
_PATIENCE = 0.5
#: Of a text, so much is shown in a line.
_WIDTH = 72


def add_command(commands: Any) -> None:
    """Add the command to argparse's subparsers."""
    index = commands.add_parser("index", help="build an index of texts, and search it")
    verbs = index.add_subparsers(required=True, metavar="build|rebuild|search|stats")

    build = verbs.add_parser("build", help="let the index hold the texts of a file")
    build.add_argument(
        "file", metavar="FILE", help="texts, one a line, or .jsonl, .csv; - is stdin"
    )
    build.add_argument("--jsonl", action="store_true", help="lines are JSON whatever its name")
    _add_model(build)
    _finish(build, _build, quiet=True)

    rebuild = verbs.add_parser("rebuild", help="make the index anew from its own texts")
    _add_model(rebuild)
    _finish(rebuild, _rebuild, quiet=True)

    search = verbs.add_parser("search", help="find entries")
    search.add_argument("query", metavar="QUERY")
    search.add_argument("-k", type=rounds, default=10, metavar="N", help="how many (10)")
    how = search.add_mutually_exclusive_group()
    how.add_argument("--hybrid", action="store_true", help="by meaning and by keyword together")
    how.add_argument("--keywords", action="store_true", help="by keyword alone, without the model")
    search.add_argument(
        "--filter",
        action=_Filter,
        default={},
        type=_pair,
        metavar="NAME=VALUE",
        help="only entries whose metadata has this; may be given again, for another name",
    )
    _add_model(search)
    _finish(search, _search)

    stats = verbs.add_parser("stats", help="show what is in the index")
    stats.add_argument("--memory", action="store_true", help="also the memory of reading it")
    _finish(stats, _stats)


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        metavar="MODEL",
        help=f"default: that of the index, else EMBEDCACHE_MODEL, or {DEFAULT_MODEL}",
    )
    parser.add_argument("--device", default=os.environ.get("EMBEDCACHE_DEVICE") or "cpu")
    parser.add_argument(
        "--strategy",
        choices=tuple(STRATEGIES),
        help="as for get_model (default: EMBEDCACHE_STRATEGY, or cached)",
    )
    add_spec(parser)


def _finish(parser: argparse.ArgumentParser, run: Any, *, quiet: bool = False) -> None:
    parser.add_argument(
        "--index", metavar="DIRECTORY", help="default: EMBEDCACHE_INDEX, or in the cache directory"
    )
    parser.add_argument(
        "--vector-backend", metavar="NAME", help="exact, sqlite-vec, approximate or auto"
    )
    if quiet:
        parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_json(parser)
    add_directory(parser)
    parser.set_defaults(run=run)


class _Filter(argparse.Action):
    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, pair: Any, *_: object
    ) -> None:
        wanted = getattr(options, self.dest)
        if pair[0] in wanted:
            raise argparse.ArgumentError(self, f"{pair[0]} is given twice, and has one value")
        setattr(options, self.dest, {**wanted, pair[0]: pair[1]})


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ValueError(text)
    try:
        read = json.loads(value, parse_constant=int)  # NaN and Infinity are words to it
    except ValueError:
        return name, value
    return name, value if isinstance(read, dict | list) else read


# ---------------------------------------------------------------------------------- what they do


def _build(options: argparse.Namespace) -> int:
    from pytest_embedcache.cli.entry_files import read_entries
    from pytest_embedcache.search.semantic.index import SemanticIndex

    started = time.perf_counter()
    entries = list(read_entries(options.file, jsonl=options.jsonl))
    with _model(options, None) as (model, why, done):
        index = SemanticIndex.build(
            _directory(options),
            entries,
            model,
            vector_backend=options.vector_backend,
            why_none=why,
            progress=_told(options, len(entries)),
        )
        _say_made(options, index, done, started)
    return 0


def _rebuild(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    index = _open(options)
    with _model(options, index.model_name) as (model, why, done):
        index.use(model, why_none=why)
        index.rebuild(progress=_told(options, len(index)))
        _say_made(options, index, done, started)
    return 0


def _told(options: argparse.Namespace, total: int) -> Callable[[int], object] | None:
    if options.quiet:
        return None
    from pytest_embedcache.cli import progress

    if total:
        progress.show(0, total)  # a model may have to be prepared before anything is done
    return lambda done: progress.show(done, total)


def _say_made(options: argparse.Namespace, index: Any, done: Done, started: float) -> None:
    found = index.stats()
    index.close()
    computed = done()
    if options.json:
        seconds = time.perf_counter() - started
        print(json.dumps(found.as_dict() | {"computed": computed, "seconds": seconds}, indent=2))
        return
    print(f"{found.path}: {found.entries} entries, {computed} vectors computed")
    if found.lacking:
        print(f"{found.lacking} of them have no vector, and are found by keyword only")


def _search(options: argparse.Namespace) -> int:
    started = time.perf_counter()
    index = _open(options)
    if options.keywords:
        found = index.keyword_search(options.query, options.k, filter=options.filter)
    else:
        with _model(options, index.model_name) as (model, why, _):
            index.use(model, why_none=why)
            answers = index.search_as_ready(
                options.query,
                options.k,
                filter=options.filter,
                hybrid=options.hybrid,
                patience=_PATIENCE,
            )
            for found in answers:
                _say_notice(found)
                if not found.final and not options.json:
                    # On the side: what is printed are the results.
                    print(*_lines(found), sep="\n", file=sys.stderr)
    index.close()
    if options.json:
        seconds = time.perf_counter() - started
        print(json.dumps(found.as_dict() | {"seconds": seconds}, indent=2, ensure_ascii=False))
    else:
        print(*_lines(found), sep="\n")
    return 0


def _say_notice(found: Results) -> None:
    if found.notice is not None:
        print(f"embedcache: {found.notice}", file=sys.stderr)


def _lines(found: Results) -> Iterator[str]:
    if not found:
        yield "nothing was found"
    width = max((len(result.id) for result in found), default=0)
    for result in found:
        text = " ".join(result.text.split())
        shown = text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
        yield f"{result.score:7.3f}  {result.id:{width}}  {shown}"


def _stats(options: argparse.Namespace) -> int:
    from pytest_embedcache.cli.stats import resident, size

    index = _open(options)
    shown = index.stats().as_dict()
    index.close()
    if options.memory:
        shown["memory_bytes"] = resident()
    if options.json:
        print(json.dumps(shown, indent=2))
        return 0
    model = f"{shown['model']}, {shown['dimension']} dimensions" if shown["model"] else "no vectors"
    print(f"{shown['path']}: {shown['entries']} entries, {size(shown['bytes'])}; {model}")
    if shown["lacking"]:
        print(f"  {shown['lacking']} entries have no vector, and are found by keyword only")
    if (vectors := shown["vectors"]) is not None:
        print(f"  searched by {vectors['backend']}: {vectors['reason']}")
    if options.memory:
        print(f"  the memory of this process: {size(shown['memory_bytes'])} at most")
    return 0


# ---------------------------------------------------------------------------------- what they use


def _directory(options: argparse.Namespace) -> Path:
    from pathlib import Path

    from pytest_embedcache.files import cache_directory

    given = options.index or os.environ.get("EMBEDCACHE_INDEX")
    return Path(given) if given else cache_directory(options.dir) / "index"


def _open(options: argparse.Namespace) -> SemanticIndex:
    from pytest_embedcache.search.semantic.index import SemanticIndex

    return SemanticIndex(_directory(options), create=False, vector_backend=options.vector_backend)


@contextlib.contextmanager
def _model(
    options: argparse.Namespace, of_index: str | None
) -> Iterator[tuple[CachedModel | None, str | None, Done]]:
    """The model, or why there is none; and what says how many vectors were computed."""
    from pytest_embedcache.errors import FetchError, ModelNotFoundError, SnapshotError
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.models.strategies import strategy_named
    from pytest_embedcache.vectors.api import by_strategy, open_cache

    name = options.model or of_index or os.environ.get("EMBEDCACHE_MODEL") or DEFAULT_MODEL
    named = options.strategy or os.environ.get("EMBEDCACHE_STRATEGY")
    # Whoever has it prepared starts without torch; without the extra, torch serves.
    strategy = strategy_named(named) if named else strategy_named("cached")
    options.model = name
    cache = open_cache(settings_of(options))
    registry = ModelRegistry(cache_dir=options.dir)
    model: CachedModel | None = None
    why = None
    try:
        spec = spec_of(options)
        backend, form = strategy.kind(None, None, chosen=True)
        model = by_strategy(registry, cache, spec.replace(backend=backend, form=form), strategy)
    except (FetchError, ModelNotFoundError, SnapshotError) as error:
        why = str(error)
    try:
        yield model, why, lambda: _computed(cache)
    finally:
        cache.close()


def _computed(cache: VectorCache) -> int:
    return sum(tally["computed"] for tally in cache.tallies.as_dict().values())
