"""`python benchmarks/installed_size.py NAME=ENVIRONMENT…`: what virtual environments take on disk.

What replaying needs beside what the real model needs. Standard library only, so that any of the
environments can run it; one that does not exist is said to be missing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path


def size_of(folder: Path) -> int | None:
    """Bytes of all files below the environment's site-packages, None where it has none."""
    found = [*folder.glob("lib/python3*/site-packages"), *folder.glob("Lib/site-packages")]
    if not found:
        return None
    files = (Path(root, name) for root, _, names in os.walk(found[0]) for name in names)
    return sum(file.lstat().st_size for file in files)


def main(arguments: list[str]) -> None:
    sizes: dict[str, int] = {}
    for argument in arguments:
        name, _, folder = argument.partition("=")
        size = size_of(Path(folder))
        if size is None:
            print(f"{name}: not installed here")
            continue
        sizes[name] = size
        print(f"{name}: {size / 1e6:,.0f} MB installed")
    if len(sizes) > 1:
        first, *_, last = sizes.values()
        print(f"{next(iter(sizes))} takes {first / last:.1%} of {list(sizes)[-1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
