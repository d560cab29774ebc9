"""Runs benchmarks and prints what they measured; nothing passes or fails by them."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module

from benchmarks.harness import load, machine

#: NAME -> module with a `run()` that prints.
BENCHMARKS: dict[str, str] = {}


def main() -> None:
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)  # type: ignore[union-attr]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"one of {', '.join(BENCHMARKS)}; without any, all of them",
    )
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := [name for name in names if name not in BENCHMARKS]:
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    print(*machine(), sep="\n")
    for name in names:
        module = import_module(BENCHMARKS[name])
        print(f"\n---- {name}: {(module.__doc__ or '').splitlines()[0]}\n")
        start = time.perf_counter()
        module.run()
        print(f"\n(took {time.perf_counter() - start:.0f} s; {load()})")


if __name__ == "__main__":
    main()
