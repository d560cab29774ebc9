"""`embedcache recordings show|unused|diff|check`: the vectors in a repository."""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.cli.options import add_directory, count
from pytest_embedcache.errors import RecordingError

if TYPE_CHECKING:
    from pytest_embedcache.vectors.recording_file import Recording
    from pytest_embedcache.vectors.recordings import ModelFolder

__all__ = ["add_commands"]

_DEFAULT = os.path.join("tests", "embeddings")


def add_commands(commands: Any) -> None:
    """Add the command, with its own commands, to argparse's subparsers."""
    recordings = commands.add_parser("recordings", help="look at the vectors in a repository")
    own = recordings.add_subparsers(required=True, metavar="COMMAND")

    show = _add(own, "show", "list the recorded models and texts", _show)
    show.add_argument("text", nargs="?", help="only texts that contain this")

    _add(own, "unused", "list what the last complete run did not use", _unused)

    diff = _add(own, "diff", "compare with other recordings, such as another branch's", _diff)
    diff.add_argument("other", metavar="DIRECTORY", help="the others")

    check = _add(own, "check", "compute recorded texts anew on the real model", _check)
    check.add_argument("--sample", type=count, default=100, help="how many of a model (100)")
    check.add_argument("--all", action="store_true", help="all of them")
    check.add_argument("--threshold", type=float, help="tolerated, of the largest component")
    check.add_argument("--model", help="name or directory of the real model, for all")
    check.add_argument("--device", default="cpu", help="default: cpu")


def _add(commands: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text)
    parser.add_argument(
        "--recordings",
        metavar="DIRECTORY",
        default=os.environ.get("EMBEDCACHE_RECORDINGS") or _DEFAULT,
        help="default: EMBEDCACHE_RECORDINGS, or %(default)s",
    )
    add_directory(parser)
    parser.set_defaults(run=run)
    return parser


def _folders(directory: str) -> list[ModelFolder]:
    """Raises `RecordingError` for a damaged header, `NotADirectoryError` where there are none."""
    from pytest_embedcache.vectors.recordings import RecordingsStore

    found = list(RecordingsStore(directory, strict=True).folders().values())
    if not found:
        raise NotADirectoryError(
            f"there are no recordings in {directory}: name their directory with --recordings or "
            "EMBEDCACHE_RECORDINGS, or record some (pytest --embedcache-mode=record)"
        )
    return found


def _shown(recording: Recording) -> str:
    from pytest_embedcache.vectors.replay_misses import shortened

    told = {"role": recording.role, "prompt": recording.prompt}
    told |= dict(recording.options) | dict(recording.state)
    given = ", ".join(f"{name}={value!r}" for name, value in told.items() if value is not None)
    return shortened(recording.text) + (f"  ({given})" if given else "")


def _all(folder: ModelFolder) -> Iterator[tuple[bytes, Recording | RecordingError]]:
    for key in folder.recorded():
        try:
            yield key, folder.read(key)
        except RecordingError as error:
            yield key, error


def _show(options: argparse.Namespace) -> int:
    damaged = 0
    for folder in _folders(options.recordings):
        listed = sorted(folder.recorded())
        size = sum(os.path.getsize(folder.file(key)) for key in listed)
        print(f"{folder.header.described}: {len(listed)} texts, {size / 1000:.1f} kB")
        for key, found in _all(folder):
            if isinstance(found, RecordingError):
                damaged += 1
                print(f"  {key.hex()[:8]}  {found}")
            elif options.text is None or options.text in found.text:
                print(f"  {key.hex()[:8]}  {_shown(found)}")
    return int(damaged > 0)


def _unused(options: argparse.Namespace) -> int:
    from pytest_embedcache.files import cache_directory
    from pytest_embedcache.vectors.recordings_used import last_noted, last_used, unused

    _folders(options.recordings)
    directory = Path(options.recordings)
    cache = cache_directory(options.dir)
    used = last_used(cache, directory)
    if used is None:
        print(
            "no complete run has used these recordings on this machine: run the whole suite, "
            "nothing deselected or skipped, and ask again"
        )
        return 1
    noted = last_noted(cache, directory)
    number = younger = 0
    for folder, key in unused(directory, used):
        if os.stat(folder.file(key)).st_mtime_ns > noted:
            younger += 1
            continue
        number += 1
        print(f"{folder.file(key)}  {_shown(folder.read(key))}")
    if younger:
        print(f"{younger} left out: recorded after the last complete run")
    print(f"{number} unused; --embedcache-prune-recordings drops them in a complete run")
    return 0


def _diff(options: argparse.Namespace) -> int:
    from pytest_embedcache.vectors.codec import same
    from pytest_embedcache.vectors.drift import cosine, difference

    here = {folder.header.fingerprint: folder for folder in _folders(options.recordings)}
    there = {folder.header.fingerprint: folder for folder in _folders(options.other)}
    differences = 0
    for fingerprint in {**here, **there}:
        mine, other = here.get(fingerprint), there.get(fingerprint)
        known: ModelFolder = mine or other  # type: ignore[assignment]
        ours = set(mine.recorded()) if mine else set()
        others = set(other.recorded()) if other else set()
        changed = []
        for key in sorted(ours & others):
            assert mine is not None
            assert other is not None
            a, b = mine.read(key), other.read(key)
            if not same(a.vector, b.vector):
                apart = difference(a.vector, b.vector), cosine(a.vector, b.vector)
                changed.append((a, apart))
        print(
            f"{known.header.described}: {len(ours - others)} only here, "
            f"{len(others - ours)} only there, {len(changed)} with another vector"
        )
        for sign, folder, keys in (("+", mine, ours - others), ("-", other, others - ours)):
            for key in sorted(keys):
                assert folder is not None
                print(f"  {sign} {_shown(folder.read(key))}")
        for recording, (largest, angle) in changed:
            print(f"  ~ {_shown(recording)}: {largest:.2g} apart, cosine {angle:.6f}")
        differences += len(ours ^ others) + len(changed)
    return int(differences > 0)


def _check(options: argparse.Namespace) -> int:
    from pytest_embedcache.cli.recordings_check import too_far

    drifted = 0
    for folder in _folders(options.recordings):
        keys = sorted(folder.recorded())
        if not options.all and options.sample < len(keys):
            # The same in every job: a drift that was seen is seen again.
            keys = random.Random(0).sample(keys, options.sample)
        drifted += too_far(folder, keys, options)
    return int(drifted > 0)
