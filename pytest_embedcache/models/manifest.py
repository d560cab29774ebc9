"""The manifest of an artifact: which files it is made of, and how they were when they were hashed.

It is published last, whole, and carries a checksum of itself: what it names is complete.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pytest_embedcache.encoding import canonical_json, digest
from pytest_embedcache.files import read_json, write_json
from pytest_embedcache.weights import stat_key

__all__ = ["Manifest"]

_FORMAT = 1
_FILE = "manifest.json"


class Manifest(NamedTuple):
    """`root` is absolute, or the name of a directory beside the manifest.

    `files` maps a path below it to its `stat` (size, times, inode) and `sha256`; `details` are
    the builder's.
    """

    root: str
    files: Mapping[str, Mapping[str, Any]]
    details: Mapping[str, Any]

    @classmethod
    def read(cls, directory: Path) -> Self | None:
        """The manifest in `directory`, None where there is none, or one of another format.

        Raises `ValueError` where it is damaged.
        """
        found = read_json(directory / _FILE)
        if found is None and not (directory / _FILE).exists():
            return None
        try:
            if found["format"] != _FORMAT:
                return None
            if found["check"] == _checksum(found):
                return cls(found["root"], found["files"], found["details"])
        except (KeyError, TypeError):
            pass
        raise ValueError("its manifest is damaged")

    @classmethod
    def describe(
        cls,
        root: str,
        names: Iterable[str],
        details: Mapping[str, Any],
        sha256: Callable[[str], str],
    ) -> Self:
        """That of the files `names` below `root`, as they are now."""
        files = {}
        for name in names:
            path = os.path.join(root, name)
            files[name] = {"stat": list(stat_key(path)), "sha256": sha256(path)}
        return cls(root, files, details)

    def write(self, directory: Path) -> None:
        """Publish it in `directory`. Raises `OSError`."""
        content = {"format": _FORMAT, **self._asdict()}
        if os.path.dirname(self.root) == str(directory):  # so that the directory can be moved
            content["root"] = os.path.basename(self.root)
        write_json(directory / _FILE, {**content, "check": _checksum(content)})

    def absolute_root(self, directory: Path) -> str:
        """Where the files are."""
        return os.path.join(directory, self.root)

    def changed(self, root: str) -> list[str]:
        """Files whose size, times or inode are others now. Raises `ValueError` if one is gone."""
        try:
            return [
                name
                for name, file in self.files.items()
                if list(stat_key(os.path.join(root, name))) != file["stat"]
            ]
        except FileNotFoundError as error:
            raise ValueError(f"{error.filename} is gone") from None


def _checksum(content: Mapping[str, Any]) -> str:
    return digest(canonical_json({k: v for k, v in content.items() if k != "check"}))
