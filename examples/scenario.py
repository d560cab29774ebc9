"""What the scenarios share: a model to run on, targets, and the closing line."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

from real_model import MODEL, real_model

from pytest_embedcache import EmbedCacheError

__all__ = ["MissedTargetError", "Scenario", "run"]


class MissedTargetError(Exception):
    """A scenario did not do what it claims."""


class Scenario:
    """Given to a scenario: the model's name, and the means to claim something."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.model: str = options.model

    def count(self, what: str, found: int, expected: int) -> None:
        """Claim a number.

        Raises `MissedTargetError` if it is another one.
        """
        print(f"  {what}: {found}")
        if found != expected:
            raise MissedTargetError(f"{what}: {found}, and should be {expected}")

    def under(self, what: str, seconds: float, limit: float) -> None:
        """Claim a duration; with --only-counts it is printed, and decides nothing."""
        self._claim(seconds < limit, f"{what}: {duration(seconds)}", f"under {duration(limit)}")

    def faster(self, what: str, baseline: float, seconds: float, at_least: float) -> None:
        """Claim a ratio of durations; with --only-counts it is printed, and decides nothing."""
        ratio = baseline / max(seconds, 1e-9)
        self._claim(ratio >= at_least, f"{what}: {ratio:,.0f} times", f"at least {at_least:g}")

    def same(self, what: str, equal: bool) -> None:
        """Claim that things are equal."""
        print(f"  {what}: {'the same' if equal else 'different'}")
        if not equal:
            raise MissedTargetError(f"{what}: different, and should be the same")

    def _claim(self, met: bool, found: str, target: str) -> None:
        print(f"  {found} (target: {target})")
        if not met and not self.options.only_counts:
            raise MissedTargetError(
                f"{found}, and should be {target}. On a busy machine, try again, or leave the "
                "seconds out with --only-counts."
            )


def duration(seconds: float) -> str:
    """As people write it: 3.21 s, 4.5 ms, 12 µs."""
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e6:.0f} µs"


def run(
    story: Callable[[Scenario], str],
    *,
    about: str | None,
    arguments: Callable[[argparse.ArgumentParser], object] = lambda parser: None,
) -> None:
    """Run a scenario from the command line; `story` returns what was achieved, for the last line.

    Exits with 1 and a message where a target is missed or the model cannot be had.
    """
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]  # ✅ on any console
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("model", nargs="?", help=f"a name or a directory (default: {MODEL})")
    parser.add_argument(
        "--only-counts", action="store_true", help="seconds are printed, but no target"
    )
    arguments(parser)
    options = parser.parse_args()
    logging.basicConfig(stream=sys.stdout, format="  log: %(message)s")
    logging.getLogger("pytest_embedcache").setLevel(logging.INFO)
    # Read when huggingface_hub is imported: no bar per load between the figures.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    print((about or "").strip(), end="\n\n")
    try:
        with real_model(options.model) as options.model:
            achieved = story(Scenario(options))
    except (EmbedCacheError, MissedTargetError) as error:
        sys.exit(f"❌ {error}")
    except ImportError as error:
        sys.exit(f"❌ {error}. Install it: pip install 'pytest-embedcache[sentence-transformers]'")
    print(f"\n✅ SUCCESS: {achieved}")
