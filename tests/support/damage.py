"""Changes to files, as small as they can be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path


def flip_byte(file: Path) -> None:
    """Change one byte: of JSON one that leaves it JSON of another value, else the last one.

    Where a file is a link, as in a Hub cache, what it leads to is changed.
    """
    content = bytearray(file.read_bytes())
    if file.suffix != ".json":
        content[-1] ^= 1
        rewrite(file, bytes(content))
        return
    before = json.loads(bytes(content))
    for at in range(len(content)):
        changed = content.copy()
        changed[at] ^= 1
        try:
            if json.loads(bytes(changed)) != before:
                rewrite(file, bytes(changed))
                return
        except ValueError:
            pass
    raise AssertionError(f"{file} cannot be another JSON by one byte")


def rewrite(file: Path, content: bytes) -> None:
    """Write `content`, and go on until the file system's clock has seen it.

    Two writes within one tick of it cannot be told apart by any time stamp.
    """
    before = os.stat(file).st_ctime_ns
    while os.stat(file).st_ctime_ns == before:
        file.write_bytes(content)


def put(name: str, content: str = "anything") -> Callable[[Path], None]:
    """A change to a model: the file `name` is there, with that content."""

    def write(model: Path) -> None:
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(content)

    return write
